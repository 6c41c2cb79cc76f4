"""Segments that a build keeps, and the files that `tools export` makes of a dataset."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.video.container import inspect
from kinetics_pipeline.video.frames import read_clip
from kinetics_pipeline.video.segment import cut_segment
from kinetics_pipeline.workflows.building.state import RUN
from kinetics_pipeline.workflows.cli.app import run
from kinetics_pipeline.workflows.datasets.export import export
from tests.builders.building import FLAGS, Build, Pile
from tests.builders.clips import built, drawn_flow
from tests.builders.videos import Videos, ffmpeg, numbers_of
from tests.fake_youtube import FakeYouTube, Rendition, Video
from tests.fake_youtube.media import render_indexed, render_tone

SOUND = ("-f", "lavfi", "-i", "sine=frequency=440:duration=6")
"""A second input for `render`."""


def test_a_segment_begins_and_ends_with_the_clip_and_keeps_the_sources_size(videos: Videos, tmp_path: Path) -> None:
    source = videos(seconds=6)
    cut_segment(source, 2.2, 4.2, tmp_path / "a.mp4")
    frames = read_clip(tmp_path / "a.mp4", None, None, short_side=120)
    assert frames.shape == (50, 120, 160, 3)
    assert numbers_of(frames) == list(range(55, 105))


def test_a_segment_has_the_sound_of_its_seconds(videos: Videos, tmp_path: Path) -> None:
    source = videos(seconds=6, inputs=SOUND)
    cut_segment(source, 2.0, 4.0, tmp_path / "a.mp4")
    container = inspect(tmp_path / "a.mp4", 10)
    assert container.has_sound
    assert container.end == pytest.approx(2.0, abs=0.05)


def test_a_segment_of_the_same_bytes_has_the_same_bytes(videos: Videos, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        cut_segment(videos(seconds=6, inputs=SOUND), 1.0, 3.0, tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_trimmed_file_and_the_whole_one_give_the_same_pictures(videos: Videos, tmp_path: Path) -> None:
    whole = videos(seconds=6)
    ffmpeg("-ss", "2", "-i", whole, "-t", "2", "-c:v", "libx264", "-crf", "1", "-threads", "1", tmp_path / "trim.mp4")
    cut_segment(tmp_path / "trim.mp4", 2.0, 4.0, tmp_path / "a.mp4", offset=2.0)
    assert numbers_of(read_clip(tmp_path / "a.mp4", None, None, short_side=120)) == list(range(50, 100))


def test_frames_lie_as_denseflow_lays_them(tmp_path: Path) -> None:
    dataset = built(tmp_path / "data", count=4)
    export(dataset.store.uri, "frames", tmp_path / "out", None, None)
    listed = (tmp_path / "out" / "mmaction2_train_rawframes.txt").read_text().splitlines()
    assert len(listed) == 4
    for line in listed:
        folder, frames, label = line.rsplit(" ", 2)
        place = tmp_path / "out" / folder
        assert dataset.classes[int(label)] == Path(folder).parts[1]
        for kind in ("img", "flow_x", "flow_y"):
            assert len(list(place.glob(f"{kind}_*.jpg"))) == int(frames) == 40
            assert (place / f"{kind}_00001.jpg").exists()
    clip = tmp_path / "out" / "train" / dataset.records()["v001_000001_000011"].label / "v001_000001_000011"  # type: ignore[operator]
    picture = cv2.imread(str(clip / "flow_x_00008.jpg"), cv2.IMREAD_GRAYSCALE).astype(float)
    flow = (picture - 128) * 20 / 127
    assert np.abs(flow - drawn_flow(1)[7, 0]).mean() < 0.2


@pytest.mark.parametrize("layout", ["parquet", "array"])
def test_videos_are_encoded_from_the_shards_where_none_was_kept(
    tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe(short_side=48, flow="none", layout=layout)  # type: ignore[arg-type]
    dataset = built(tmp_path / "data", count=3, recipe=recipe, outcomes={"v002_000002_000012": "gone"})
    assert run(["tools", "export", dataset.store.uri, "--format", "mp4", "--to", str(tmp_path / "out")]) == 0
    assert "2 mp4 were encoded from the shards' frames" in capsys.readouterr().out
    rows = (tmp_path / "out" / "slowfast_train.csv").read_text().splitlines()
    assert rows == (tmp_path / "out" / "mmaction2_train_videos.txt").read_text().splitlines()
    assert [row.rsplit(" ", 1)[1] for row in rows] == ["0", "1"]
    for row in rows:
        assert read_clip(tmp_path / "out" / row.rsplit(" ", 1)[0], None, None, short_side=48).shape == (40, 48, 64, 3)


def test_videos_of_the_video_layout_are_its_own_h264(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = built(tmp_path / "data", count=1, recipe=Recipe(short_side=48, flow="none", layout="video"))
    export(dataset.store.uri, "mp4", tmp_path / "out", None, None)
    assert "1 mp4 are the shards' own H.264, not encoded again: 25 fps" in capsys.readouterr().out
    [path] = (tmp_path / "out").rglob("*.mp4")
    stored = ClipDataset(tmp_path / "data", frames=None, crop=None, train=False, raw=True)[0]["video"].numpy()
    with av.open(str(path)) as video:
        assert video.streams.video[0].average_rate == 25
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 40
    assert np.abs(np.stack(frames).astype(int) - stored.transpose(1, 2, 3, 0)).mean() < 0.5
    export(dataset.store.uri, "frames", tmp_path / "pictures", None, None)
    assert len(list((tmp_path / "pictures").rglob("img_*.jpg"))) == 40


def test_export_copies_a_kept_segment_where_there_is_one_encodes_the_rest_and_says_which(
    videos: Videos, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = built(tmp_path / "data", count=2, recipe=Recipe(short_side=48, flow="none"))
    kept = tmp_path / "kept" / "train" / "v001_000001_000011.mp4"
    kept.parent.mkdir(parents=True)
    cut_segment(videos(seconds=6), 1.0, 3.0, kept)
    command = ["tools", "export", dataset.store.uri, "--format", "mp4", "--to", str(tmp_path / "out")]
    assert run([*command, "--kept", str(tmp_path / "misspelt")]) == 2
    assert "misspelt, which is not a folder" in capsys.readouterr().err
    assert run([*command, "--kept", str(tmp_path / "kept")]) == 0
    said = capsys.readouterr().out
    assert "1 mp4 are segments of the sources" in said
    assert "1 mp4 were encoded from the shards' frames: 25 fps, short side 48, no sound" in said
    written = {path.name: path for path in (tmp_path / "out").rglob("*.mp4")}
    assert len(written) == 2
    assert written[kept.name].read_bytes() == kept.read_bytes()
    assert run(command) == 0
    said = capsys.readouterr().out
    assert "2 clips were there already" in said
    assert "encoded" not in said


def test_export_names_the_place_of_the_segments_that_it_was_not_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = built(tmp_path / "data", count=1, recipe=Recipe(short_side=48, flow="none"))
    dataset.store.write(RUN, json.dumps({"command": "build", "config": {"keep_clips": "segments"}}).encode())
    export(dataset.store.uri, "mp4", tmp_path / "out", None, None)
    assert "kept segments in segments; to copy them into an empty folder: --kept PLACE" in capsys.readouterr().out


def test_a_label_never_leads_out_of_the_export(tmp_path: Path) -> None:
    from kinetics_pipeline.workflows.datasets.exports.clips import folders_of

    names = folders_of(["../../etc", "a/b", "a b", "A_B", "..", "drinking beer"])
    assert names == {
        0: "etc",
        1: "a_b_001",
        2: "a_b_002",
        3: "A_B_003",
        4: "class",
        5: "drinking_beer",
        -1: "unlabelled",
    }


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    dataset = built(tmp_path / "data", count=3)
    with pytest.raises(UserError, match="'val'"):
        export(dataset.store.uri, "mp4", tmp_path / "out", "val", None)


@pytest.mark.slow
@pytest.mark.usefixtures("on_one_cluster")
def test_a_build_keeps_the_segments_of_the_clips_that_are_ok_and_export_takes_them(
    pile: Pile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    build = Build(pile, tmp_path, [str(pile.folder)], (*FLAGS, "--keep-clips", str(kept)))
    build.run()
    build.require_finished()
    outcomes = Dataset.open(build.output).outcomes()
    wanted = {clip for clip, outcome in outcomes.items() if outcome == "ok"}
    assert {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()} == {
        f"train/{clip}.mp4" for clip in wanted
    }
    assert read_clip(kept / "train" / f"{min(wanted)}.mp4", None, None, short_side=48).shape == (25, 48, 64, 3)
    capsys.readouterr()
    export(str(build.output), "mp4", tmp_path / "out", None, str(kept))
    assert f"{len(wanted)} mp4 are segments of the sources" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("on_one_cluster")
def test_a_build_from_youtube_keeps_the_sound_and_a_clip_whose_sound_is_broken_without(tmp_path: Path) -> None:
    pictures = render_indexed(tmp_path / "pictures.mp4", 160, 120, 20)
    good, broken = render_tone(tmp_path / "good.m4a", 20, 0.0), tmp_path / "broken.m4a"
    broken.write_bytes(bytes(range(256)) * 200)
    videos = {
        name: Video(
            [Rendition(pictures, 134, 160, 120), Rendition(sound, 140, 0, 0, vcodec=None, acodec="mp4a.40.2")],
            duration=20,
        )
        for name, sound in {"soundgood01": good, "soundbroken": broken}.items()
    }
    asked, kept = tmp_path / "asked.csv", tmp_path / "kept"
    rows = "".join(f"running,{name},10,12,train\n" for name in videos)
    asked.write_text(f"label,youtube_id,time_start,time_end,split\n{rows}")
    mine = Pile(tmp_path, asked, tuple(f"{name}_000010_000012" for name in videos))
    with FakeYouTube(videos) as youtube:
        through = ("--proxy", youtube.url, "--rate", "100000", "--flow", "none", "--short-side", "32")
        options = [w for n, v in youtube.ytdlp_options.items() for w in ("--ytdlp-option", f"{n}={json.dumps(v)}")]
        build = Build(mine, tmp_path, ["youtube"], (*through, *options, "--keep-clips", str(kept)))
        build.run()
    records = {clip: record for clip, (record,) in build.entries().items()}
    assert {record["outcome"] for record in records.values()} == {"ok"}
    for clip, record in records.items():
        with av.open(str(kept / "train" / f"{clip}.mp4")) as file:
            assert bool(file.streams.audio) == clip.startswith("soundgood")
        assert ("kept without sound" in record["detail"]) == clip.startswith("soundbroken")
