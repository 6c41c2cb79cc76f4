"""`predict`: a file, a clip of a dataset, and everything that is neither."""

import re

import cv2
import pytest

from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.workflows.cli.app import run
from kinetics_pipeline.workflows.flags.training_flags import PredictConfig
from kinetics_pipeline.workflows.scoring.predict import predict
from tests.builders.motion import build_motion
from tests.builders.trained_streams import save_network

LOST = "val002_000000_000002"
CLIP = "val000_000000_000002"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("motion")
    recipe = Recipe(short_side=32, rgb_quality=95)
    return build_motion(folder, splits={"val": 4}, count=12, lost=[LOST], recipe=recipe)


@pytest.fixture(scope="module")
def files(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return {stream: save_network(dataset, stream, folder / f"{stream}.pt") for stream in ("rgb", "flow")}


def test_a_file_gives_probabilities_of_all_classes_and_a_picture_of_frames_flow_and_bars(
    videos, files, tmp_path, capsys
):
    video = videos(width=48, height=40, seconds=0.6, fps=20)
    picture = tmp_path / "p.png"
    named = predict(str(video), PredictConfig(**files, picture=picture, top=9))
    assert len(named) == 4
    assert sum(value for _, value in named) == pytest.approx(1, abs=1e-5)
    assert [value for _, value in named] == sorted((value for _, value in named), reverse=True)
    said = capsys.readouterr().out
    assert "15 frames" in said  # 0.6 s at 25 a second
    assert "rgb and flow" in said
    height, width, _ = cv2.imread(str(picture)).shape
    assert height > 2 * 120
    assert width >= 480


def test_a_clip_of_a_dataset_gives_what_evaluate_saw(dataset, files, capsys):
    first = predict(CLIP, PredictConfig(**files, dataset=dataset.store.uri))
    assert "labelled down" in capsys.readouterr().out
    again = predict(CLIP, PredictConfig(**files, dataset=dataset.store.uri, fuse="softmax"))
    assert first != again
    assert {name for name, _ in first} == {name for name, _ in again}


def test_a_piece_of_a_file_is_as_long_as_asked(videos, files, capsys):
    video = videos(width=48, height=40, seconds=2, fps=25)
    assert run(["predict", str(video), "--rgb", str(files["rgb"]), "--start", "0.5", "--end", "1.3"]) == 0
    assert "20 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["absent.mp4"], "absent.mp4"),
        (["notes.mp4"], "notes.mp4 cannot be decoded"),
        (["short.mp4", "--start", "30", "--end", "40"], "short.mp4"),
        (["short.mp4", "--start", "1", "--end", "0.5"], "--end is 0.5"),
        ([CLIP], "--dataset"),
        ([LOST, "--dataset", "DATASET"], f"{LOST} of .* is gone"),
        (["nobody_000000_000010", "--dataset", "DATASET"], "nobody_000000_000010"),
    ],
)
def test_what_cannot_be_predicted_is_said_in_one_line(
    arguments, named, dataset, files, videos, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.mp4").write_text("not a video")
    (tmp_path / "short.mp4").symlink_to(videos(width=48, height=40, seconds=0.6, fps=20))
    given = [dataset.store.uri if word == "DATASET" else word for word in arguments]
    assert run(["predict", *given, "--rgb", str(files["rgb"])]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert re.search(named, said)
