"""Every architecture learns a batch by heart from shards, and is scored by `evaluate`."""

import json

import pytest

from kinetics_pipeline.workflows.cli.app import run
from tests.builders.motion import build_motion
from tests.builders.training import numbers, session, settings_of

LEARNING = {"steps": 15, "learning_rate": 0.02, "scale_learning_rate": False, "dropout": 0.0, "flip": False}
BATCH = {"batch_size": 4, "frames": 16, "crop": 32}
MODELS = {
    "i3d": {"stream": "flow"},
    "c3d": {"stream": "flow", "learning_rate": 0.005, "steps": 8},
    "convnet_lstm": {"stream": "rgb", "learning_rate": 0.1, "steps": 30},
    "two_stream": {},
    "fused_two_stream": {"steps": 12, "frames": 10},
    "inception2d": {"stream": "rgb"},
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return build_motion(tmp_path_factory.mktemp("motion"), splits={"train": 4, "val": 4}, count=16, size=(32, 32))


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_it_learns_a_batch_from_shards_by_heart(dataset, tmp_path, model):
    flags = {**LEARNING, **BATCH, **MODELS[model]}
    settings = settings_of(dataset, tmp_path / "run", model=model, **flags)
    assert session(settings).reason == "finished"
    lines = numbers(tmp_path / "run")
    assert lines[-1]["top1"] == 1.0
    assert lines[-1]["loss"] < 0.3 * lines[0]["loss"]

    stream = f"--{settings.stream}"
    out = tmp_path / "results.json"
    words = ["evaluate", dataset.store.uri, stream, str(tmp_path / "run"), "--split", "train", "--output", str(out)]
    assert run([*words, "--loaders", "0"]) == 0
    assert json.loads(out.read_text())["scores"][settings.stream]["clips"] == 4
