"""The way of one clip: from the files that may hold it, through frames and flow, to encoded rows or an outcome."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.flow.parameters import NO_MOTION
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, FrameFacts, Outcome, most_hopeful
from kinetics_pipeline.sources.base import Media
from kinetics_pipeline.video.container import VideoStream
from kinetics_pipeline.video.frames import BrokenVideo, TooShort, read_clip

DECODE_TIMEOUT = 300.0
"""Wall-clock seconds to decode one clip from one file; ten seconds of 1080p take about one."""


@dataclass(frozen=True)
class ClipResult:
    """What became of a clip, and its rows when it is `ok`."""

    outcome: Outcome
    detail: str = ""
    """One line. Of an `ok` clip: which files before were no good, and what the reader had to choose or mend."""
    source: str = ""
    """The source whose file gave the frames; empty when none did."""
    frames: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """Spent on `decode` (all files tried), `flow`, `encode`."""
    media: Media | None = None
    """The file that gave the frames."""
    payload: bytes = b""
    """The encoded rows (`shards.clip_rows`); empty unless the outcome is `ok`."""
    facts: FrameFacts = field(default_factory=FrameFacts)


def process_clip(
    clip: Clip, candidates: Sequence[Media], recipe: Recipe, label: int, *, decode_timeout: float = DECODE_TIMEOUT
) -> ClipResult:
    """Makes the rows of a clip from the first of `candidates` that holds at least half of it.

    `label` is the class number that the rows carry (-1: none or several). Never raises for a bad file: one that is
    broken is `decode`, one that is sound but too short `too_short`; one that cannot be read, or that takes longer than
    `decode_timeout`, is `internal`, because a slow or full machine looks the same and another attempt may succeed.
    """
    seconds = dict.fromkeys(("decode", "flow", "encode"), 0.0)
    failures: list[_NoFrames] = []
    for media in candidates:
        with _timed(seconds, "decode"):
            notes: list[str] = []
            streams: list[VideoStream] = []
            read = _read(clip, media, recipe, decode_timeout, notes, streams)
        if isinstance(read, _NoFrames):
            failures.append(read)
            continue
        frames = read[: _wanted_frames(clip, recipe)]
        with _timed(seconds, "flow"):
            flow = _flow(read, len(frames), recipe)
        with _timed(seconds, "encode"):
            from kinetics_pipeline.shards.clip_rows import encode_clip

            payload = encode_clip(clip.clip_id, label, frames, flow, recipe)
            facts = _facts(streams, payload, frames, recipe)
        used = [f"used {media.path.name}"] if failures else []
        detail = "; ".join([*(f.detail for f in failures), *used, *notes])
        return ClipResult("ok", detail, media.source, len(frames), seconds, media, payload, facts)

    if not failures:
        return ClipResult("not_found", "no source has it", seconds=seconds)
    detail = "; ".join(f.detail for f in failures)
    return ClipResult(most_hopeful(f.outcome for f in failures), detail, seconds=seconds)


@dataclass(frozen=True)
class _NoFrames:
    outcome: Outcome
    detail: str


def _facts(streams: Sequence[VideoStream], payload: bytes, frames: NDArray[np.uint8], recipe: Recipe) -> FrameFacts:
    from kinetics_pipeline.shards.clip_rows import rows_of
    from kinetics_pipeline.shards.repeats import repeats

    width, height = streams[-1].stored_size or (None, None)
    repeated = int(repeats(rows_of(payload), recipe.layout, frames).sum())
    return FrameFacts(streams[-1].rate, width, height, repeated)


def _read(
    clip: Clip, media: Media, recipe: Recipe, timeout: float, notes: list[str], streams: list[VideoStream]
) -> NDArray[np.uint8] | _NoFrames:
    """The clip's frames in one file, with the one that follows when flow is wanted; or why there are none. `notes` gets
    what the reader chose, for the record's detail; `streams` what it read."""
    outcome: Outcome
    try:
        return read_clip(
            media.path,
            clip.time_start,
            clip.time_end,
            recipe.fps,
            recipe.short_side,
            lookahead=0 if recipe.flow == "none" else 1,
            offset=media.offset,
            duration=media.duration,
            aspect=media.aspect,
            interpolation=recipe.interpolation,
            timeout=timeout,
            notes=notes,
            streams=streams,
        )
    except BrokenVideo as e:
        outcome, reason = "decode", str(e)
    except TooShort as e:
        outcome, reason = "too_short", str(e)
    except TimeoutError:
        outcome, reason = "internal", f"decoding took more than {timeout:g} s"
    except OSError as e:
        outcome, reason = "internal", e.strerror or str(e)
    except MemoryError:
        outcome, reason = "internal", "not enough memory for its frames"
    # Only the file's name: folders may tell whose machine it was.
    reason = reason.replace(f"{media.path.parent}{os.sep}", "")
    return _NoFrames(outcome, " ".join(f"{media.path.name}: {reason}".split()))


def _wanted_frames(clip: Clip, recipe: Recipe) -> int | None:
    """The length of the clip itself, without a lookahead frame; None for a whole video."""
    if clip.time_start is None or clip.time_end is None:
        return None
    return max(1, round((clip.time_end - clip.time_start) * recipe.fps))


def _flow(frames: NDArray[np.uint8], count: int, recipe: Recipe) -> NDArray[np.uint8] | None:
    """uint8 [count, 2, H, W], quantised: of frame t the motion to t + 1, of the last one the motion to the frame after
    the clip. Where the video has no such frame the last flow is repeated; a clip of a single frame does not move."""
    if recipe.flow == "none":
        return None
    if len(frames) == 1:
        return np.full((1, 2, *frames.shape[1:3]), NO_MOTION, np.uint8)
    from kinetics_pipeline.flow import quantised_tvl1

    flow = quantised_tvl1(frames, backend=recipe.flow_backend, **asdict(recipe.flow_parameters))
    return flow if len(flow) == count else np.concatenate([flow, flow[-1:]])


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] += time.perf_counter() - began
