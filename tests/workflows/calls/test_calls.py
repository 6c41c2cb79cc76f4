"""The jobs as calls from Python: settings, results, errors, and what a notebook shows of them."""

import json
import signal

import cv2
import numpy as np
import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.workflows import (
    BuildConfig,
    EvaluateConfig,
    PredictConfig,
    TrainConfig,
    build,
    evaluate,
    predict,
    show,
    status,
    train,
)
from kinetics_pipeline.workflows.cli.app import run
from tests.builders.clips import CLASSES, asked_clips, built, commit
from tests.builders.motion import build_motion
from tests.builders.trained_streams import save_network

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def motion(tmp_path_factory):
    folder = tmp_path_factory.mktemp("motion")
    return build_motion(folder, splits={"val": 4}, count=12, recipe=Recipe(short_side=32, rgb_quality=95))


@pytest.fixture(scope="module")
def network(motion, tmp_path_factory):
    return save_network(motion, "flow", tmp_path_factory.mktemp("networks") / "flow.pt")


def decoded(sheet):
    return cv2.imdecode(np.frombuffer(sheet._repr_png_(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize(
    ("config", "settings", "said"),
    [
        (TrainConfig, {"run": "r", "stream": "depth"}, "stream is 'depth'; allowed: 'rgb', 'flow'"),
        (TrainConfig, {"run": "r", "steps": 2.5}, "steps is 2.5; allowed: a whole number or None"),
        (TrainConfig, {"run": 3}, "run is 3; allowed: a path"),
        (TrainConfig, {"run": "r", "flip": 1}, "flip is 1; allowed: True or False"),
        (BuildConfig, {"output": "o", "max_wait": "soon"}, 'max_wait: "soon" is not a duration; write it as 45s'),
        (BuildConfig, {"output": "o", "source": 3}, "source is 3; allowed: a list, each of it a text"),
        (EvaluateConfig, {"rgb": "r", "crops": 4}, "crops is 4; allowed: 1, 3, 10 or None"),
    ],
)
def test_a_setting_of_a_wrong_type_is_named_with_what_is_allowed(config, settings, said):
    with pytest.raises(UserError) as error:
        config(**settings)
    assert str(error.value).startswith(said)


def test_settings_may_be_given_as_python_has_them(tmp_path):
    config = BuildConfig(
        output=tmp_path / "o", source=tmp_path, classes=["a", "b"], max_wait="2m", max_disk="3GB", cache="c", fps=12
    )
    assert (config.output, config.source, config.classes) == (str(tmp_path / "o"), (str(tmp_path),), ("a", "b"))
    assert (config.max_wait, config.max_disk, config.fps, config.cache.name) == (120, 3_000_000_000, 12, "c")
    assert config.cache.is_absolute()


@pytest.mark.parametrize(
    "call",
    [
        lambda folder: build([], BuildConfig(output=folder / "o")),
        lambda folder: build(folder / "absent.csv", BuildConfig(output=folder / "o")),
        lambda folder: status(folder),
        lambda folder: train(folder, TrainConfig(run=folder / "r")),
        lambda folder: evaluate(folder, EvaluateConfig(rgb=folder / "r")),
        lambda folder: predict("x" * 300, PredictConfig(rgb=folder / "r")),
        lambda folder: show("clip", folder),
    ],
    ids=["build", "absent", "status", "train", "evaluate", "predict", "show"],
)
def test_wrong_input_is_an_exception_of_one_line_and_the_process_is_left_as_it_was(call, tmp_path, capsys):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(UserError) as error:
        call(tmp_path)
    assert len(str(error.value).splitlines()) == 1
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert capsys.readouterr() == ("", "")


def test_status_gives_what_the_command_prints(tmp_path, capsys):
    clips = asked_clips(5)
    built(tmp_path / "d", 5, recipe=Recipe(short_side=48, flow="none"), outcomes={clips[0].clip_id: "gone"})
    found = status(tmp_path / "d")
    assert capsys.readouterr() == ("", "")
    assert run(["status", str(tmp_path / "d"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {name: getattr(found, name) for name in document} == document
    assert (found.ok, found.failed) == (4, {"gone": 1})
    assert ">gone<" in found._repr_html_()


def test_evaluate_and_predict_give_what_the_commands_write_and_print(motion, network, tmp_path, capsys):
    config = EvaluateConfig(flow=network, crop=32, loaders=0, output=tmp_path / "e.json")
    result = evaluate(motion.store.uri, config)
    seen = predict("val000", PredictConfig(flow=network, dataset=motion.store.uri, top=2))
    assert capsys.readouterr().out == ""
    document = json.loads((tmp_path / "e.json").read_text())
    assert result.scores == document["scores"]
    assert f"{document['scores']['flow']['top1']:.1%}" in result._repr_html_()
    assert result.predictions.is_file()
    assert run(["predict", "val000_000000_000002", "--flow", str(network), "--dataset", motion.store.uri]) == 0
    printed = capsys.readouterr().out
    assert all(f"{name:<5}  {value:6.1%}" in printed for name, value in seen.best)
    assert decoded(seen.picture()).shape == seen.picture().pixels.shape


def test_a_clip_is_shown_by_its_id_or_that_of_its_video_and_a_sample_with_what_it_holds(motion):
    clips = ClipDataset(motion.store.uri, stream="both", frames=4, crop=32, train=False)
    whole = show("val000_000000_000002", motion.store.uri)
    assert np.array_equal(decoded(whole), show("val000", clips).pixels)
    both, flow = (show(sample, clips, frames=2) for sample in (clips[0], {**clips[0], "video": clips[0]["flow"]}))
    assert both.pixels.shape[0] > flow.pixels.shape[0] > 120
    stored = ClipDataset(motion.store.uri, frames=4, crop=32, train=False, raw=True)
    finished = ClipDataset(motion.store.uri, frames=4, crop=32, train=False)
    assert np.array_equal(show(stored[0]).pixels, show(finished[0]).pixels)


def test_a_name_that_is_not_one_clip_is_refused_with_the_clips_there_are(tmp_path):
    dataset = built(tmp_path / "d", 2, recipe=Recipe(short_side=48, flow="none"))
    clip = asked_clips(1)[0]
    twin = type(clip)(**{**vars(clip), "clip_id": "v000_000020_000030", "time_start": 20, "time_end": 30})
    commit(dataset, "train-00009", [twin], outcomes={twin.clip_id: "gone"})
    with pytest.raises(UserError, match=f"'v000' has 2 clips .* one of {clip.clip_id}, {twin.clip_id}$"):
        show("v000", dataset.store.uri)
    with pytest.raises(UserError, match="is gone; allowed: clips that are ok"):
        show(twin.clip_id, dataset.store.uri)
    with pytest.raises(UserError, match="'v7' has no record"):
        show("v7", dataset.store.uri)


@pytest.mark.parametrize(
    "clip",
    [{"video": np.zeros((4, 2, 8, 8)), "label": 0, "clip_id": "a"}, {"video": 0}, 3],
    ids=["shape", "keys", "int"],
)
def test_what_is_not_a_clip_is_refused(clip):
    with pytest.raises(UserError, match="allowed"):
        show(clip)


def test_datasets_and_records_are_shown_in_few_words_and_hostile_ones_are_inert(tmp_path):
    dataset = built(tmp_path / "d", 7, recipe=Recipe(short_side=48, flow="none"))
    clips = ClipDataset(dataset.store.uri, "train", frames=16, crop=32)
    assert "7 clips of train, 3 classes; rgb, 16 frames of 32x32 px at 25 fps" in repr(clips)
    assert all(f">{name}<" in clips._repr_html_() for name in CLASSES)
    record = type(next(iter(dataset.records().values())))("a", "a", None, None, HOSTILE, "gone", HOSTILE)
    assert "<img" not in record._repr_html_()
    assert "&lt;img" in record._repr_html_()
