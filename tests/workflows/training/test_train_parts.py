"""Order of batches, shares of a cluster, learning rates, metrics: the parts of training that need no network."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import ClipDataset, ClipSampler
from kinetics_pipeline.workflows.flags.training_flags import TrainConfig
from kinetics_pipeline.workflows.training.data import EndlessBatches, Position
from kinetics_pipeline.workflows.training.feeding import cores_for, loaders_for
from kinetics_pipeline.workflows.training.metrics import MetricsFollower, SpeedMeter, _cut
from kinetics_pipeline.workflows.training.run_folder import RunFolder
from kinetics_pipeline.workflows.training.settings import Settings
from kinetics_pipeline.workflows.training.share import Share, share
from tests.builders.motion import build_motion


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    dataset = build_motion(tmp_path_factory.mktemp("motion"), splits={"train": 11}, count=9)
    return ClipDataset(dataset.store.uri, "train", "rgb", 9, 32)


@given(
    batch=st.integers(1, 7),
    world=st.integers(1, 4),
    steps=st.integers(0, 12),
    more=st.integers(1, 6),
)
def test_the_batches_after_a_position_are_those_an_undisturbed_run_takes_there(clips, batch, world, steps, more):
    def taken(rank, start, count):
        sampler = ClipSampler(clips, rank=rank, world_size=world, seed=3)
        batches = iter(EndlessBatches(sampler, batch, start, len(clips)))
        return [[(int(i), i.epoch) for i in next(batches)] for _ in range(count)]

    position = Position()
    for _ in range(steps):
        position = position.after(batch, len(clips), world)
    for rank in range(world):
        assert taken(rank, position, more) == taken(rank, Position(), steps + more)[steps:]


def test_every_clip_comes_once_an_epoch(clips):
    batches = iter(EndlessBatches(ClipSampler(clips, seed=0), 4, Position(), len(clips)))
    drawn = [index for _ in range(11) for index in next(batches)]
    for epoch in range(4):
        assert sorted(drawn[epoch * 11 : epoch * 11 + 11]) == list(range(11))


@pytest.mark.parametrize(
    ("workers", "loaders", "device", "nodes", "expected"),
    [
        (1, 1, "auto", [{"CPU": 2}], Share(2, 0)),
        (2, 1, "auto", [{"CPU": 2}], Share(1, 0)),
        (4, 1, "auto", [{"CPU": 2}], Share(0.5, 0)),
        (2, 1, "auto", [{"CPU": 0}, {"CPU": 8}, {"CPU": 8}], Share(8, 0)),
        (3, 1, "auto", [{"CPU": 8}, {"CPU": 4}], Share(4, 0)),
        (1, 4, "auto", [{"CPU": 16, "GPU": 1}], Share(5, 1)),
        (8, 12, "auto", [{"CPU": 64, "GPU": 8}], Share(8, 1)),
        (1, 4, "cpu", [{"CPU": 16, "GPU": 1}], Share(16, 0)),
    ],
)
def test_workers_share_what_a_cluster_has(workers, loaders, device, nodes, expected):
    assert share(workers, loaders, device, nodes) == expected


@pytest.mark.parametrize(
    ("workers", "device", "nodes"), [(2, "auto", [{"CPU": 8, "GPU": 1}]), (1, "gpu", [{"CPU": 8}])]
)
def test_more_workers_than_gpus_are_refused(workers, device, nodes):
    with pytest.raises(UserError, match=f"--workers is {workers}"):
        share(workers, 1, device, nodes)


@pytest.mark.parametrize(("workers", "loaders"), [(100, 1), (1, 500)])
def test_more_processes_than_the_cores_can_feed_are_refused(workers, loaders):
    with pytest.raises(UserError, match=rf"--workers is {workers} with --loaders {loaders}.*on 2 CPUs: 16 or fewer"):
        share(workers, loaders, "auto", [{"CPU": 2}])


@pytest.mark.parametrize(
    ("asked", "device", "nodes", "expected"),
    [
        ("auto", "auto", [{"CPU": 2}], 1),
        ("auto", "cpu", [{"CPU": 16, "GPU": 1}], 1),
        ("auto", "auto", [{"CPU": 16, "GPU": 1}], 5),
        ("auto", "auto", [{"CPU": 32, "GPU": 8}, {"CPU": 64}], 3),
        ("auto", "gpu", [{"CPU": 1, "GPU": 1}], 1),
        (0, "auto", [{"CPU": 16, "GPU": 1}], 0),
    ],
)
def test_a_gpu_is_given_the_loading_processes_that_feed_it_or_those_there_are(asked, device, nodes, expected):
    assert loaders_for(asked, cores_for("parquet", "rgb"), device, nodes) == expected


def test_the_cores_that_a_gpu_takes_follow_from_the_figures_measured():
    assert cores_for("parquet", "rgb", samples=400) == 11  # 400 x 27 ms
    assert cores_for("array", "rgb") == 1
    assert cores_for("parquet", "rgb", crop=112, samples=100) == 11  # a quarter of the pixels, the same JPEGs


def settings(tmp_path, **flags):
    return Settings(TrainConfig(run=tmp_path, **flags), "uri", ("a", "b"), {}, {}, RunFolder(tmp_path), "t")


def test_the_learning_rate_follows_the_batch_and_the_changes_follow_the_steps(tmp_path):
    full = settings(tmp_path, batch_size=6, workers=64).training_recipe()
    assert (full.learning_rate, full.steps, full.changes) == (0.1, 115_000, ((97_000, 0.01), (108_000, 0.001)))
    half = settings(tmp_path, batch_size=6, workers=16, accumulate=2, steps=1150).training_recipe()
    assert half.learning_rate == pytest.approx(0.05)
    assert [step for step, _ in half.changes] == [970, 1080]
    assert [rate for _, rate in half.changes] == pytest.approx([0.005, 0.0005])
    given_rate = settings(tmp_path, learning_rate=0.02, scale_learning_rate=False, steps=10).training_recipe()
    assert given_rate.learning_rate == pytest.approx(0.02)


def test_batch_norm_forgets_sooner_in_short_runs_only(tmp_path):
    assert settings(tmp_path).batch_norm_momentum(115_000) == 0.001
    assert settings(tmp_path).batch_norm_momentum(200) == pytest.approx(0.05)
    assert settings(tmp_path, batch_norm_momentum=0.3).batch_norm_momentum(200) == 0.3


def test_the_limiting_side_is_the_loader_only_where_steps_wait_for_it():
    meter = SpeedMeter(workers=2, loaders=4)
    meter.step(8, 9.0, 9.0, 0.4)  # the first step, which sets up, does not count
    fed = meter.step(8, 0.001, 1.0, 0.4)
    assert (fed.bound, fed.loader) == ("compute", 160.0)
    assert fed.samples == pytest.approx(16, rel=0.01)
    for _ in range(20):
        starved = meter.step(8, 1.0, 1.0, 8.0)
    assert (starved.bound, starved.samples, starved.compute, starved.loader) == ("loader", 8.0, 16.0, 8.0)


def test_metrics_after_the_step_gone_back_to_and_a_line_cut_short_are_taken_away(tmp_path):
    file = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"kind": "step", "step": step, "time": step}) for step in (1, 2, 3)]
    file.write_text("\n".join(lines) + '\n{"kind": "st')
    _cut(file, 2)
    assert file.read_text().splitlines() == lines[:2]


def test_a_follower_gives_each_line_once_also_when_the_file_is_replaced(tmp_path):
    file = tmp_path / "metrics.jsonl"
    follower = MetricsFollower(file)
    assert follower.new() == []

    def line(step, time):
        return json.dumps({"kind": "step", "step": step, "time": time}) + "\n"

    file.write_text(line(1, 10.0) + line(2, 11.0) + '{"kind":')
    assert [one["step"] for one in follower.new()] == [1, 2]
    other = tmp_path / "other"
    other.write_text(line(1, 10.0) + line(2, 12.0))
    other.replace(file)
    assert [one["time"] for one in follower.new()] == [12.0]
    assert follower.new() == []
    assert np.isfinite(follower._seen)
