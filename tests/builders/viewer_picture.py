"""Draws the picture of the viewer in README: `python -m tests.builders.viewer_picture .github/viewer.png`.

The dataset has made-up scenes of the demo at 256, with TV-L1 flow; it is shown by the viewer in a real browser.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import sync_playwright

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.flow import tvl1
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.shards.clip_rows import encode_clip
from kinetics_pipeline.shards.writer import write_shard
from kinetics_pipeline.workflows.demo.videos import CLASSES, Rendered, drawing
from tests.builders.clips import record_of
from tests.builders.viewers import serving
from tests.workflows.datasets.conftest import BROWSER

CLIPS, FRAMES, SIZE = 10, 20, (340, 256)
APART = 1 / 75
"""Seconds of a scene between two frames: its motion is slow enough for TV-L1 then."""
SHOWN = 0
"""The clip that is opened."""


def _clip(number: int) -> tuple[Clip, NDArray[np.uint8]]:
    rendered = Rendered(number)
    draw = drawing(rendered, SIZE)
    name = f"scene-{number:05d}"
    clip = Clip(clip_id(name, 4, 14), name, 4, 14, rendered.label, rendered.split)
    return clip, np.stack([draw(0.2 + frame * APART) for frame in range(FRAMES + 1)])


def scenes(folder: Path) -> Dataset:
    """Clips of the demo's classes, 256 pixels high."""
    dataset = Dataset.create(folder / "motions", Recipe(), sorted(CLASSES), {})
    for split in ("train", "val"):
        items = []
        for clip, frames in (_clip(number) for number in _numbers()):
            if clip.split == split:
                rows = encode_clip(
                    clip.clip_id, dataset.classes.index(clip.label), frames[:-1], tvl1(frames), dataset.recipe
                )
                about = replace(record_of(clip, frames=FRAMES), source_fps=25.0, source_width=340, source_height=256)
                items.append((replace(about, repeated=0), rows))
        write_shard(
            dataset.store,
            name=f"{split}-00000",
            plan="00000",
            clips=items,
            recipe=dataset.recipe,
            classes=dataset.classes,
            scratch=folder / "scratch",
            still_current=lambda: True,
        )
    return dataset


def _numbers() -> Iterator[int]:
    """Numbers of clips of the demo for training and validation."""
    yield from range(CLIPS - 4)
    yield from range(24, 28)


def main(picture: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = Path(scratch)
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 960, "height": 780}, color_scheme="light")
        with serving(scenes(folder), folder / "marked-clips.txt") as server:
            tab.goto(server.address)
            tab.locator(".card img").first.wait_for()
            tab.locator(".card").nth(SHOWN).click()
            tab.locator("#now", has_text=re.compile(r"Frame \d+ of")).wait_for()
            tab.locator("#play").click()
            tab.locator("#at").fill("11")
            tab.get_by_text("Frame 12 of").wait_for()
            shot = tab.screenshot()
        browser.close()
    drawn = cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_COLOR)
    cv2.imwrite(str(picture), drawn, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
