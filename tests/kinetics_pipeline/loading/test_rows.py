"""`read_rows`: every row of a dataset as numpy arrays, of any layout and schema version, without torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import DamagedShard, read_rows
from tests.builders.clips import drawn_flow, drawn_frames
from tests.data.make_schema_2 import FRAMES, HEIGHT, WIDTH

DATA = Path(__file__).parents[2] / "data"
WITHOUT_TORCH = """
import sys
for name in ("torch", "ray", "cv2", "numba", "yt_dlp", "av"):
    sys.modules[name] = None
from kinetics_pipeline.loading import read_rows
print(sum(len(row["rgb"]) for row in read_rows(sys.argv[1])))
try:
    from kinetics_pipeline.loading import ClipDataset
except ImportError as error:
    print(error)
"""


@pytest.fixture(params=["schema_1_parquet", "schema_1_array", "schema_2_parquet", "schema_2_array"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy: opening a dataset keeps an index beside it."""
    return Path(shutil.copytree(DATA / request.param, tmp_path / request.param))


def test_the_rows_of_each_clip_are_its_frames_and_its_flow_in_pixels(folder: Path) -> None:
    rows = list(read_rows(folder, stream="both"))
    exact = folder.name.endswith("array")
    for clip_id, count in FRAMES.items():
        mine = [row for row in rows if row["clip_id"] == clip_id]
        assert [row["chunk"] for row in mine] == list(range(-(-count // 16)))
        assert [row["start_frame"] for row in mine] == [0, 16][: len(mine)]
        frames, flow = (np.concatenate([row[name] for row in mine]) for name in ("rgb", "flow"))
        number = int(clip_id[1:4])
        assert (frames.dtype, flow.dtype) == (np.uint8, np.float32)
        error = np.abs(frames.astype(int) - drawn_frames(number, count, HEIGHT, WIDTH))
        assert error.mean() < (0.01 if exact else 4)
        assert np.abs(flow - drawn_flow(number, count, HEIGHT, WIDTH)).mean() < (0.1 if exact else 0.4)


def test_a_row_says_where_it_comes_from(folder: Path) -> None:
    [row, _] = read_rows(folder, "val")
    said = {name: value for name, value in row.items() if name != "rgb"}
    assert said == {
        "clip_id": "v003_000003_000013",
        "video_id": "v003",
        "time_start": 3.0,
        "time_end": 13.0,
        "split": "val",
        "label": "left",
        "class": 0,
        "chunk": 0,
        "start_frame": 0,
    }


def test_rows_are_chosen_by_class_and_by_clip(folder: Path) -> None:
    assert {row["clip_id"][:4] for row in read_rows(folder, classes=["up"])} == {"v002"}
    assert {row["clip_id"] for row in read_rows(folder, clips=["v003_000003_000013"])} == {"v003_000003_000013"}


def test_what_cannot_be_is_refused_before_the_first_row(folder: Path) -> None:
    with pytest.raises(UserError, match="split is 'test'"):
        read_rows(folder, "test")
    with pytest.raises(UserError, match="stream is 'sound'; allowed: rgb, flow, both"):
        read_rows(folder, stream="sound")  # type: ignore[arg-type]


def test_a_missing_data_file_is_named(folder: Path) -> None:
    [path] = [path for path in folder.glob("shards/val-*") if path.suffix != ".json"]
    path.unlink()
    with pytest.raises(DamagedShard, match="val-00000"):
        list(read_rows(folder))


def test_rows_are_read_without_torch_and_what_needs_it_says_so(tmp_path: Path) -> None:

    folder = shutil.copytree(DATA / "schema_2_parquet", tmp_path / "data")
    words = [sys.executable, "-c", WITHOUT_TORCH, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == [
        str(sum(FRAMES.values())),
        "kinetics_pipeline.loading.ClipDataset needs PyTorch: pip install 'kinetics-pipeline[torch]'",
    ], done.stderr
