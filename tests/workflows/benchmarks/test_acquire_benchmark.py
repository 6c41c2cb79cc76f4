"""The acquisition benchmark, small: every way does the same work, and sections need fewer bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.workflows.benchmarks.acquire import CLIP, acquire

pytestmark = pytest.mark.slow


def test_every_way_brings_the_same_frames_and_sections_fewer_bytes(tmp_path: Path) -> None:
    clips = 2
    measured = {result.what: result for result in acquire(tmp_path, clips, seconds=40)}
    assert list(measured) == ["sections", "mirror", "commands", "decoding"]
    for way in ("sections", "mirror"):
        records = Dataset.open(str(tmp_path / way / "dataset")).records().values()
        assert [(record.outcome, record.frames) for record in records] == [("ok", 25 * CLIP)] * clips
    pictures = [len(list(folder.glob("*.jpg"))) for folder in (tmp_path / "commands").iterdir()]
    assert pictures == [25 * CLIP] * clips
    film = (tmp_path / "film.mp4").stat().st_size
    assert measured["mirror"].bytes == clips * film
    assert clips * film <= measured["commands"].bytes < clips * (film + 5000)
    assert measured["sections"].bytes < 0.8 * clips * film
    assert all(result.clips == clips and result.wall > 0 for result in measured.values())
