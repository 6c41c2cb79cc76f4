"""`Kinetics`: torchvision's dataset of that name, its arguments and what it returns, over a dataset of shards."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.arguments import whole_number
from kinetics_pipeline.loading.clip_dataset import ClipDataset
from kinetics_pipeline.redaction import counted


class Kinetics(TorchDataset[tuple[torch.Tensor, torch.Tensor, int]]):
    """All windows of `frames_per_clip` frames, `step_between_clips` frames apart, of the videos of a split.

    An item is (video, audio, label) as of `torchvision.datasets.Kinetics`: uint8 [T, C, H, W] (or [T, H, W, C] with
    `output_format="THWC"`), float [1, 0] (shards hold no sound) and the class number. Videos shorter than a window have
    none. `frame_rate` takes every so-many-th frame, as torchvision does; None keeps that of the shards. `transform` is
    applied to the video. Frames are those of the shards: resized, and at their rate.

    Raises UserError for arguments that cannot be, and when no window is left.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        frames_per_clip: int,
        split: str = "train",
        frame_rate: float | None = None,
        step_between_clips: int = 1,
        transform: Callable[[torch.Tensor], Any] | None = None,
        *,
        output_format: str = "TCHW",
    ) -> None:
        for name, value in (("frames_per_clip", frames_per_clip), ("step_between_clips", step_between_clips)):
            whole_number(name, value, 1)
        if output_format not in ("TCHW", "THWC"):
            raise UserError(f"output_format is {output_format!r}; allowed: TCHW, THWC")
        if frame_rate is not None and not (isinstance(frame_rate, Real) and 0 < frame_rate < math.inf):
            raise UserError(f"frame_rate is {frame_rate!r}; allowed: a number above 0")
        self.shards = ClipDataset(root, split, "rgb", frames=None, crop=None, train=False, raw=True)
        self.classes = self.shards.classes
        self.class_to_idx = {label: number for number, label in enumerate(self.classes)}
        self.frames_per_clip, self.step_between_clips = frames_per_clip, step_between_clips
        self.transform, self.output_format = transform, output_format
        self._slowness = 1.0 if frame_rate is None else self.shards.recipe.fps / frame_rate
        frames = np.floor(self.shards.index["frames"].to_numpy() / self._slowness).astype(np.int64)
        windows = np.maximum((frames - frames_per_clip) // step_between_clips + 1, 0)
        self._ends = np.cumsum(windows)
        """Windows of all videos up to each."""
        if not len(self):
            raise UserError(f"no clip of {self.shards.uri} is {counted(frames_per_clip, 'frame')} long")

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, idx: int) -> tuple[Any, torch.Tensor, int]:
        idx = operator.index(idx)
        if not -len(self) <= idx < len(self):
            raise IndexError(f"window {idx} of {len(self)}")
        video, start = self.window(idx % len(self))
        # torchvision's `VideoClips._resample_video_idx`.
        numbers = np.floor((start + np.arange(self.frames_per_clip)) * self._slowness).astype(np.int64)
        frames, label = self.shards.frames_of(video, numbers)
        stored = torch.from_numpy(frames).permute(1, 0, 2, 3)
        if self.output_format == "THWC":
            stored = stored.permute(0, 2, 3, 1)
        return (
            stored.contiguous() if self.transform is None else self.transform(stored.contiguous()),
            torch.empty(1, 0),
            label,
        )

    def window(self, idx: int) -> tuple[int, int]:
        """The number of a window's video, and the window's first frame at the requested frame rate."""
        video = int(np.searchsorted(self._ends, idx, side="right"))
        before = 0 if video == 0 else int(self._ends[video - 1])
        return video, (idx - before) * self.step_between_clips
