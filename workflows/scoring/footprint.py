"""What a network sees of a clip in training and in testing: frames, and their seconds (Table 1 of the paper)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import nn

from kinetics_pipeline.models import build_model
from kinetics_pipeline.workflows.scoring.trained import Trained


def footprint(model: nn.Module, stream: str, frames: int, fps: float) -> str:
    """What `model` sees of a clip of so many frames, as `25 rgb, 250 flow, 10 s`; `stream` is what "video" is of it.

    The seconds are those from the first frame that is looked at to the last one.
    """
    used: dict[str, list[int]] = model.frames_used(frames)  # type: ignore[operator]
    counts = [f"{len(set(numbers))} {stream if name == 'video' else name}" for name, numbers in used.items()]
    every = sorted({number for numbers in used.values() for number in numbers})
    step = min((b - a for a, b in pairwise(every)), default=1)
    return f"{', '.join(counts)}, {(every[-1] - every[0] + step) / fps:.3g} s"


def footprints(trained: Trained, lengths: Iterable[int]) -> dict[str, str]:
    """What is seen in training, and in testing on the shortest and the longest of these lengths of views."""
    fps = trained.recipe.fps / trained.stride
    with torch.device("meta"):
        model = build_model(trained.checkpoint.model, **trained.checkpoint.config)
    counts = sorted(set(lengths))
    ends = dict.fromkeys(footprint(model, trained.stream, count, fps) for count in (counts[0], counts[-1]))
    return {"training": footprint(model, trained.stream, trained.frames, fps), "testing": " to ".join(ends)}
