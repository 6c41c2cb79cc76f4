"""The formats that the loader is measured against hold the same clips, and the counters count."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinetics_pipeline.loading.clip_dataset import EpochIndex
from kinetics_pipeline.workflows.benchmarks.loader import make, stored
from kinetics_pipeline.workflows.benchmarks.loader_clips import drawn_clip
from kinetics_pipeline.workflows.benchmarks.loader_formats import OURS, clip_images
from kinetics_pipeline.workflows.benchmarks.loader_process import FormatBenchmark


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("formats")
    count, quality = make(found, itertools.islice((drawn_clip(k)[:100] for k in itertools.count()), 1))
    assert count == 1
    assert quality["array"].psnr() == "exact"
    assert float(quality["parquet"].psnr()) > float(quality["mp4"].psnr()) > 30
    return found


def sample(folder: Path, name: str) -> dict[str, Any]:
    return OURS[name].samples(folder, folder / name, "rgb")[EpochIndex(0, 2)]


def test_formats_take_the_same_frames_and_crops(folder: Path) -> None:
    exact = sample(folder, "array")["video"].numpy().astype(int)
    for name in ("parquet", "mp4 files, PyAV"):
        pytest.importorskip("av")
        other = sample(folder, name)["video"].numpy()
        assert other.shape == exact.shape == (3, 64, 224, 224)
        assert np.abs(other - exact).mean() < 3


def test_the_peers_get_the_shards_own_images(folder: Path) -> None:
    [(name, images)] = clip_images(folder)
    assert name == "clip0000"
    assert {stream: len(some) for stream, some in images.items()} == {"rgb": 100, "flow": 100}
    size = sum(map(len, images["flow"]))
    assert size < stored(folder, "parquet", "flow") < 1.1 * size


def test_bytes_read_are_those_of_the_crop(folder: Path) -> None:
    measured = FormatBenchmark("array", folder / "a", 1)
    lines = 64 * 224 * 340 * 3
    assert lines < measured.bytes("rgb", 1) < 1.1 * lines
    measured = FormatBenchmark("parquet", folder / "p", 1)
    images = sum(map(len, next(clip_images(folder))[1]["rgb"]))
    assert 0.6 * images < measured.bytes("rgb", 1) < images
