"""A flag that changes nothing beside the others is said."""

from pathlib import Path

import pytest

from kinetics_pipeline.workflows.cli.app import run
from kinetics_pipeline.workflows.flags.build_flags import BuildConfig, PlanConfig
from kinetics_pipeline.workflows.flags.features_flags import FeaturesConfig
from kinetics_pipeline.workflows.flags.training_flags import EvaluateConfig, PredictConfig, TrainConfig
from kinetics_pipeline.workflows.flags.without_effect import without_effect

HERE = Path("x")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (BuildConfig(output="o", allow_access=("private",)), "--allow-access has no effect without --cookies"),
        (
            BuildConfig(output="o", source=("videos",), proxy=("host:1",)),
            "--proxy has no effect with local sources only",
        ),
        (BuildConfig(output="o", source=("videos",), rate=9), "--rate has no effect without --source youtube"),
        (PlanConfig(flow="none", flow_quality=50), "--flow-quality has no effect with --flow none"),
        (TrainConfig(run=HERE, hold_out=0.1, val_split="test"), "--val-split has no effect with --hold-out"),
        (TrainConfig(run=HERE, model="two_stream", stream="flow"), "--stream has no effect with --model two_stream"),
        (EvaluateConfig(rgb=HERE, fuse="softmax"), "--fuse has no effect with one stream"),
        (EvaluateConfig(rgb=HERE, deepmind_sample=HERE, views="10x3"), "--views has no effect with --deepmind-sample"),
        (PredictConfig(flow=HERE, fuse="softmax"), "--fuse has no effect with one stream"),
        (FeaturesConfig(to=HERE, rgb=HERE, concat=True), "--concat has no effect with one stream"),
    ],
)
def test_a_flag_without_effect_is_named_with_the_reason(config, said):
    (line,) = without_effect(config)
    assert line.startswith(said)


@pytest.mark.parametrize(
    "config",
    [
        BuildConfig(output="o", allow_access=("private",), cookies=HERE, rate=9, proxy=("host:1",)),
        BuildConfig(output="o", source=("videos", "s3://bucket/videos"), allow_private_addresses=True),
        TrainConfig(run=HERE, val_split="test"),
        EvaluateConfig(rgb=HERE, flow=HERE, fuse="softmax", views="sliding", window=16),
    ],
)
def test_flags_with_an_effect_are_not_spoken_of(config):
    assert without_effect(config) == []


def test_the_line_is_on_stderr_and_the_command_goes_on(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("kinetics_pipeline.workflows.building.preview.plan", lambda files, config: asked.append(config))
    assert run(["plan", "asked.csv", "--source", "videos", "--rate", "9"]) == 0
    assert capsys.readouterr().err == "note: --rate has no effect without --source youtube\n"
    assert asked[0].rate == 9
