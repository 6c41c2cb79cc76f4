"""What trained streams see in a video or a clip: printed by the command, returned by the call."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.redaction import counted, html_table, visible
from kinetics_pipeline.shards import codec
from kinetics_pipeline.workflows.pictures.sheets import Sheet, annotated


@dataclass(frozen=True)
class StoredFrames:
    """Whole frames as they are stored: RGB uint8 [T, H, W, 3] and, where it is needed, flow uint8 [T, 2, H, W]."""

    name: str
    rgb: NDArray[np.uint8]
    flow: NDArray[np.uint8] | None
    truth: str | None = None
    fps: float = 25.0
    source_fps: float | None = None
    """Frames a second of the video that they are from; None where it is not known."""

    def stored(self, stream: str) -> NDArray[np.uint8]:
        """The values of a stream, channels first: [C, T, H, W]."""
        if stream == "rgb":
            return self.rgb.transpose(3, 0, 1, 2)
        assert self.flow is not None
        return self.flow.transpose(1, 0, 2, 3)


@dataclass(frozen=True)
class Prediction:
    """The most probable classes, the most probable first."""

    frames: StoredFrames = field(repr=False)
    best: tuple[tuple[str, float], ...]
    """Class and probability."""
    streams: tuple[str, ...]

    @property
    def truth(self) -> str | None:
        """The clip's label, where it is one of a dataset."""
        return self.frames.truth

    def picture(self) -> Sheet:
        """Frames, their flow where it was needed, and a bar for each class."""
        stored = self.frames
        flow = None if stored.flow is None else codec.dequantise_flow(stored.flow)
        rate = f"its video: {stored.source_fps:g} fps" if stored.source_fps else "frame rate of its video not recorded"
        title = f"{stored.name}{self._labelled()}; {counted(len(stored.rgb), 'frame')} at {stored.fps:g} fps; {rate}"
        return Sheet(annotated(stored.rgb, flow, self.best, visible(title), fps=stored.fps))

    def print(self) -> None:
        """Prints a line for each class."""
        width = max(len(name) for name, _ in self.best)
        print(self._headline())
        for name, value in self.best:
            print(f"  {name:<{width}}  {value:6.1%}")

    def _labelled(self) -> str:
        return f", labelled {self.truth}" if self.truth else ""

    def _headline(self) -> str:
        frames = counted(len(self.frames.rgb), "frame")
        return f"{self.frames.name}: {frames}, {' and '.join(self.streams)}{self._labelled()}"

    def _repr_html_(self) -> str:
        return html_table(self._headline(), [(name, f"{value:.1%}") for name, value in self.best])
