"""Hours and costs of a build before it runs, beside figures made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.workflows.building.forecast.hours import START, Machines, forecast, machines
from kinetics_pipeline.workflows.building.forecast.lines import _feeding
from kinetics_pipeline.workflows.building.forecast.rates import Rates, Usage, cost, parse_rates
from kinetics_pipeline.workflows.building.forecast.timing import Sample, StageTimes, _pairs, stage_times
from kinetics_pipeline.workflows.cli.app import run
from tests.builders.videos import Videos

TIMES = StageTimes(decode=0.002, flow=0.06, encode=0.001, bytes=0.0, how="by hand")


def test_cores_share_the_stages_and_the_network_goes_on_beside_them() -> None:
    found = forecast(10_000, TIMES, Recipe(flow_backend="cpu"), Machines(2, 5, 0, measured=False), fetch=40.0)
    assert (found.decode, found.flow, found.encode) == pytest.approx((2.0, 60.0, 1.0))
    assert found.total == pytest.approx(START + 63.0)
    assert found.limit == "flow"
    slow = forecast(10_000, TIMES, Recipe(flow_backend="cpu"), Machines(2, 5, 0, measured=False), fetch=100.0)
    assert (slow.total, slow.limit) == (pytest.approx(START + 100.0), "fetching")


def test_flow_on_gpus_goes_on_beside_the_cores() -> None:
    times = StageTimes(decode=0.002, flow=0.001, encode=0.001, bytes=0.0, how="")
    found = forecast(10_000, times, Recipe(flow_backend="cuda"), Machines(1, 2, 2, measured=False), fetch=0.0)
    assert (found.decode, found.flow, found.encode) == pytest.approx((10.0, 5.0, 5.0))
    assert (found.work, found.limit) == (pytest.approx(15.0), "decoding")


def test_only_this_machine_counts_as_measured() -> None:
    here = machines(None, None, None, 0)
    assert here.measured
    assert machines(1, here.cores, 0, 0) == here
    assert not machines(2, None, None, 0).measured
    assert not machines(None, here.cores + 1, None, 0).measured
    assert machines(None, None, None, 3).gpus == 3


def test_costs_are_prices_times_what_is_used() -> None:
    paid = cost(Usage(core_hours=10, gpu_hours=2, gb_kept=50, gb_out=20), Rates(0.05, 2.0, 0.02, 0.09))
    assert (paid.cores, paid.gpus, paid.out, paid.a_month) == pytest.approx((0.5, 4.0, 1.8, 1.0))
    assert paid.once == pytest.approx(6.3)


def test_rates_are_words_or_files_and_a_later_one_wins(tmp_path: Path) -> None:
    toml, json = tmp_path / "rates.toml", tmp_path / "rates.json"
    toml.write_text("core-hour = 0.05\ngpu_hour = 2\n")
    json.write_text('{"gb-month": 0.02}')
    assert parse_rates([str(toml), str(json), "gb-out=.09, core-hour=1"]) == Rates(1.0, 2.0, 0.02, 0.09)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("core-hours=1", '"core-hours"; allowed: core-hour, gpu-hour, gb-month, gb-out'),
        ("core-hour=cheap", 'core-hour="cheap"; allowed: a number'),
        ("core-hour=-1", 'core-hour="-1"'),
        ("core-hour=nan", 'core-hour="nan"'),
        ("core-hour=", 'core-hour=""'),
        ("rates.yaml", "core-hour=NUMBER"),
        ("none.toml", "none.toml, which cannot be read: No such file"),
        ("broken.toml", "which is not TOML"),
        ("list.json", "which holds no names"),
        ("deep.json", 'core-hour="{}"'),
    ],
)
def test_wrong_rates_are_one_line_that_names_them(
    words: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.toml").write_text("core-hour =")
    Path("list.json").write_text("[1]")
    Path("deep.json").write_text('{"core-hour": {}}')
    with pytest.raises(UserError) as raised:
        parse_rates([words])
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)


def test_clips_are_timed_and_a_file_that_is_no_video_does_not_count(videos: Videos, tmp_path: Path) -> None:
    recipe = Recipe(short_side=64, flow_backend="cpu")
    (tmp_path / "text.mp4").write_text("no video")
    film = videos()
    found = stage_times(recipe, None, [Sample(tmp_path / "text.mp4"), Sample(film)])
    assert found.how == "by 1 timed clip of the sources"
    assert min(found.decode, found.flow, found.encode, found.bytes) > 0
    assert stage_times(Recipe(short_side=64, flow="none"), None, [Sample(film)]).flow == 0


def test_pairs_that_repeat_a_frame_are_counted_as_free_whichever_pairs_are_timed() -> None:
    still = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    slides = np.stack([np.roll(still, number // 10, axis=1) for number in range(41)])
    a_pair, moves, flows = _pairs(slides, Recipe(short_side=16, flow_backend="cpu"), 12)
    assert moves.tolist() == [9, 19, 29, 39]
    assert len(flows) == 4
    assert a_pair > 0
    assert _pairs(slides[:10], Recipe(short_side=16, flow_backend="cpu"), 12)[0] == 0


def test_plan_says_hours_requests_and_cost_and_that_a_cluster_is_extrapolated(
    videos: Videos, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "asked.csv"
    asked.write_text("label,youtube_id,time_start,time_end,split\n" + f"run,{'a' * 11},0,10,train\n" * 1)
    flags = ["--flow", "none", "--cache", str(tmp_path), "--rates", "core-hour=3600,gb-month=1000"]
    assert run(["plan", str(asked), *flags, "--nodes", "3", "--cores", "4"]) == 0
    out = capsys.readouterr().out
    (told,) = [line for line in out.splitlines() if line.startswith("hours ")]
    assert told.endswith("limited by fetching, on 3 nodes of 4 cores")
    assert "extrapolated from this machine (by a rendered clip, timed)" in out
    assert "1 video asked of YouTube; about 2 objects written" in out
    (paid,) = [line for line in out.splitlines() if line.startswith("cost ")]
    # A video at 300 an hour is 12 s, and 10 s are the start: 22 s of 12 cores. One clip is 4.1 MB.
    assert paid.split()[1:] == ["264.00", "once,", "and", "4.13", "a", "month", "for", "4.1", "MB", "kept"]
    assert run(["plan", str(asked), "--nodes", "0"]) == 2
    assert '--nodes is "0"; allowed: 1 to 100000' in capsys.readouterr().err


def test_the_cores_beside_a_gpu_are_said_for_the_build_and_for_training() -> None:
    times = StageTimes(decode=0.0015, flow=0.001, encode=0.0005, bytes=0.0, how="by hand", gpu=True)
    with_gpu, without = Machines(1, 2, 1, measured=True), Machines(1, 2, 0, measured=True)
    told = list(_feeding(Recipe(flow_backend="cuda"), times, with_gpu))
    assert told[0].strip() == "a GPU computes the flow of 1000 frames a second: 2 cores decode and encode them"
    assert told[1].startswith("training    an H100 takes 5 cores for RGB")
    assert len(list(_feeding(Recipe(flow_backend="cpu"), times, without))) == 1
