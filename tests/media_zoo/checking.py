"""What of a file of the zoo comes out right."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.clip import process_clip
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.sources.base import Media
from kinetics_pipeline.video.frames import BrokenVideo, TooShort, read_clip
from kinetics_pipeline.video.segment import cut_segment
from tests.builders.videos import numbers_of
from tests.media_zoo.entry import Entry
from tests.media_zoo.rendering import encoders

CUT = (0.52, 1.52)
SIDE = 64
RECIPE = Recipe(short_side=SIDE, flow="none", layout="array")
ALIKE = 38.0
"""dB, the least PSNR between frames of the source and of its segment."""


@dataclass
class Found:
    """What is right (`True`), wrong (what came instead), or was not tried (`None`)."""

    entry: Entry
    outcome: str = "ok"
    whole: bool | str | None = None
    cut: bool | str | None = None
    shard: bool | str | None = None
    segment: bool | str | None = None
    export: bool | str | None = None
    second_decoder: bool | str | None = None
    payload: bytes = field(default=b"", repr=False)
    frames: int = 0
    kept: Path | None = None

    def wrong(self) -> list[str]:
        checks = {name: getattr(self, name) for name in CHECKS}
        return [f"{name}: {value}" for name, value in checks.items() if value not in (True, None)]


CHECKS = ("whole", "cut", "shard", "segment", "export", "second_decoder")


def clip_of(entry: Entry) -> Clip:
    video = re.sub(r"[^A-Za-z0-9]", "-", entry.name)
    return Clip(clip_id(video, *CUT), video, *CUT, "zoo", "train")


def check(entry: Entry, folder: Path) -> Found:
    """Makes the file in `folder` and tries everything but the export."""
    found = Found(entry)
    if entry.encoder not in encoders():
        found.outcome = f"not made: the bundled ffmpeg has no encoder {entry.encoder}"
        return found
    path = folder / entry.name
    entry.make(path)
    if entry.refused is not None:
        return _check_refused(found, path)
    try:
        whole = read_clip(path, None, None, short_side=SIDE)
        found.whole = _same(_numbers(entry, whole), entry.shown.on_grid())
        cut = read_clip(path, *CUT, short_side=SIDE)
        found.cut = _same(_numbers(entry, cut), entry.shown.on_grid(*CUT))
        found.shard = _check_shard(found, path)
        found.segment = _check_segment(found, path, cut)
        if entry.second_decoder:
            wanted = [entry.shown.first + k for k in range(len(entry.shown.times))]
            found.second_decoder = _same(numbers_of(_by_pyav(path)), wanted)  # PyAV turns nothing
    except (BrokenVideo, TooShort) as error:
        found.outcome = f"{type(error).__name__}: {error}"
        found.whole = found.whole or found.outcome
    return found


def _check_refused(found: Found, path: Path) -> Found:
    clip = Clip("a", "a", None, None, "zoo", "train")
    done = process_clip(clip, [Media(path, "zoo")], RECIPE, 0)
    found.outcome = f"{done.outcome}: {done.detail}"
    said = re.search(found.entry.refused or "", done.detail.partition(": ")[2])
    found.whole = True if done.outcome == "decode" and said else found.outcome
    return found


def _check_shard(found: Found, path: Path) -> bool | str:
    from kinetics_pipeline.shards.clip_rows import decode_payload

    done = process_clip(clip_of(found.entry), [Media(path, "zoo")], RECIPE, 0)
    if done.outcome != "ok":
        return f"{done.outcome}: {done.detail}"
    found.payload, found.frames = done.payload, done.frames
    frames = np.asarray(decode_payload(done.payload, "rgb", "array"))
    return _same(_numbers(found.entry, frames), found.entry.shown.on_grid(*CUT))


def _check_segment(found: Found, path: Path, cut: NDArray[np.uint8]) -> bool | str:
    """The segment holds the source's frames, each at its time, and the same grid comes out of it."""
    kept = path.parent / "kept" / "train" / f"{clip_of(found.entry).clip_id}.mp4"
    kept.parent.mkdir(parents=True, exist_ok=True)
    cut_segment(path, *CUT, kept)
    found.kept = kept
    entry, shown = found.entry, found.entry.shown
    wanted = shown.between(*CUT)
    with av.open(str(kept)) as container:
        frames = [(float(f.pts * f.time_base), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    numbers = _numbers(entry, np.stack([frame for _, frame in frames]))
    if numbers != [shown.first + k for k in wanted]:
        return f"segment holds {_brief(numbers)}, not {_brief(wanted)}"
    late = [abs(time - max(0.0, shown.times[k] - CUT[0])) for (time, _), k in zip(frames, wanted, strict=True)]
    if frames[0][0] != 0 or max(late) > 0.0021:
        return f"times of the segment's frames are off by {max(late):.4f} s, the first is at {frames[0][0]} s"
    again = read_clip(kept, *CUT, short_side=SIDE, offset=CUT[0])
    if again.shape != cut.shape or _numbers(entry, again) != _numbers(entry, cut):
        return f"rebuilt: {again.shape[:3]} {_brief(_numbers(entry, again))}"
    error = np.square(again.astype(float) - cut).mean()
    alike = 10 * np.log10(255**2 / max(error, 1e-9))
    return True if alike >= ALIKE else f"rebuilt: PSNR {alike:.1f} dB"


def _by_pyav(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    if len({frame.shape for frame in frames}) > 1:
        import cv2

        frames = [cv2.resize(frame, (160, 120), interpolation=cv2.INTER_AREA).astype(np.uint8) for frame in frames]
    return np.stack(frames)


def _numbers(entry: Entry, frames: NDArray[np.uint8]) -> list[int]:
    return numbers_of(np.rot90(frames, entry.turned, axes=(1, 2)))


def _same(got: list[int], wanted: list[int]) -> bool | str:
    return True if got == wanted else f"{_brief(got)}, not {_brief(wanted)}"


def _brief(numbers: list[int]) -> str:
    """`0-11 13-24` for a list of numbers; a number that is shown twice counts as one."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number in (runs[-1][1], runs[-1][1] + 1):
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return f"{len(numbers)} frames " + " ".join(f"{a}-{b}" if a != b else str(a) for a, b in runs)
