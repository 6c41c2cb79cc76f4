"""What lies in the cache is whole, is what it says, and is written by one process at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.http.partial_file import Piece, downloaded_media, locked

CLIP = Clip("v_000005_000015", "v", 5, 15, "running", "train")


def finished(folder: Path, **changes: object) -> Piece:
    piece = Piece(folder / "v.1.mp4", "v", "mirror", **{"total": 4, **changes})  # type: ignore[arg-type]
    piece.save()
    piece.part.write_bytes(b"data")
    return piece


def test_a_file_that_was_whole_but_not_yet_named_is_found(tmp_path: Path) -> None:
    piece = finished(tmp_path)
    assert downloaded_media(tmp_path, "v", "mirror", [CLIP])[CLIP.clip_id].path == piece.path
    assert piece.path.read_bytes() == b"data"


@pytest.mark.parametrize("total", [3, 5, None])
def test_a_file_of_another_size_is_not_whole(tmp_path: Path, total: int | None) -> None:
    finished(tmp_path, total=total)
    assert not downloaded_media(tmp_path, "v", "mirror", [CLIP])


def test_a_named_file_of_the_wrong_size_is_taken_away(tmp_path: Path) -> None:
    piece = finished(tmp_path)
    piece.commit()
    piece.path.write_bytes(b"dat")
    assert not downloaded_media(tmp_path, "v", "mirror", [CLIP])
    assert not piece.path.exists()


@pytest.mark.parametrize(("video_id", "source"), [("v.1", "mirror"), ("v", "another"), ("w", "mirror")])
def test_the_files_of_other_videos_and_sources_are_left_alone(tmp_path: Path, video_id: str, source: str) -> None:
    piece = finished(tmp_path)
    assert not downloaded_media(tmp_path, video_id, source, [CLIP])
    assert piece.part.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"path": 1}', json.dumps({"unknown": 1})])
def test_a_description_that_is_damaged_describes_nothing(tmp_path: Path, text: str) -> None:
    piece = finished(tmp_path)
    piece.about.write_text(text)
    assert not downloaded_media(tmp_path, "v", "mirror", [CLIP])


def test_a_description_cannot_point_outside_of_the_cache(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"data")
    piece = finished(folder)
    piece.about.write_text(json.dumps({**json.loads(piece.about.read_text()), "path": "../secret"}))
    assert {media.path for media in downloaded_media(folder, "v", "mirror", [CLIP]).values()} == {piece.path}


@pytest.mark.parametrize(
    ("begins", "ends", "duration", "serves"),
    [(4, 16, 60, True), (4.5, 16, 60, False), (4, 15.5, 60, False), (4, 15.5, 15.5, True), (4, 16, None, True)],
)
def test_a_section_serves_a_clip_with_a_second_around_it(
    tmp_path: Path, begins: float, ends: float, duration: float | None, serves: bool
) -> None:
    piece = Piece(tmp_path / "v.1.mp4", "v", "youtube", begins=begins, ends=ends, duration=duration)
    assert piece.holds(CLIP) is serves


HOLDER = """
import sys, time
from pathlib import Path
from kinetics_pipeline.sources.http.partial_file import locked
with locked(Path(sys.argv[1]), "v"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_video_is_written_by_one_process_and_free_when_that_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TimeoutError), locked(tmp_path, "v", patience=0.2):
            pass
        with locked(tmp_path, "w", patience=0.2):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        with locked(tmp_path, "v", patience=5):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert not list(tmp_path.iterdir())
