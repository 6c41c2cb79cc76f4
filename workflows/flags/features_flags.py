"""The flags of `features`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.workflows.flags.panels import panels
from kinetics_pipeline.workflows.flags.places import Config
from kinetics_pipeline.workflows.flags.values import require, require_epsilon
from kinetics_pipeline.workflows.flags.written import require_folder_name

Like = Literal["video-features", "actionformer-thumos", "actionformer-anet", "ms-tcn", "pytorch-i3d", "ten-crop"]


@panels(
    Most_used="to rgb flow both like window step fps crops split",
    Windows="position ends per map logits",
    Files="order concat dtype format",
    Machine="precision flow_backend bn_eps cpus",
)
@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class FeaturesConfig(Config):
    """What `features` does."""

    to: Path
    """The folder for features, their times, and an outcome for each video."""
    rgb: Path | None = None
    """A run folder or weights of the RGB stream, of any origin."""
    flow: Path | None = None
    """A run folder or weights of the flow stream."""
    both: Path | None = None
    """A run folder or weights of a network that takes both streams."""
    like: Like | None = None
    """A layout that others expect; flags given beside it count."""
    fps: str | None = None
    """Frames a second, or `native`: as the video's header says. Default: that of training."""
    window: int | None = None
    """Frames of a row. Default: 64."""
    step: int | None = None
    """Frames from one row to the next. Default: 64."""
    position: Literal["start", "centre"] | None = None
    """Whether row k's window begins at frame k * step (default), or has its middle there."""
    ends: Literal["drop", "repeat", "zero"] | None = None
    """Windows that reach over the first or last frame are dropped (default), or filled with that frame, or zeros."""
    per: Literal["window", "step"] | None = None
    """A row a window (default), or a row for each time step of I3D over the whole video: 8 frames."""
    map: Annotated[bool, Parameter(negative="--pool")] = False
    """Keep I3D's places, [1024, 7, 7] a row, instead of their mean."""
    crops: Literal[1, 10] | None = None
    """The centre, or corners and centre and their mirrors, as an axis of its own."""
    order: Literal["tc", "ct"] | None = None
    """Rows before columns (default), or columns before rows."""
    concat: bool | None = None
    """RGB and flow side by side in one file."""
    logits: bool = False
    """Write the logits of the classes instead of features."""
    dtype: Literal["float32", "float16"] = "float32"
    """The type of the numbers in the files."""
    format: Literal["npy", "parquet"] = "npy"
    """An array for each video and stream, or one Parquet file for all."""
    split: str | None = None
    """Only this split of a dataset."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """How networks compute: the faster way by one checked pass, or 32-bit floats, or bfloat16."""
    flow_backend: Literal["auto", "cpu", "cuda", "torch", "opencv"] = "auto"
    """What computes flow. Default: a GPU where there is one."""
    bn_eps: float | None = None
    """What batch norm adds to the variance. Default: as the weights say, else 0.001."""
    cpus: int | None = None
    """Cores to use on this machine. Default: all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rgb is None and self.flow is None and self.both is None:
            raise UserError("none of --rgb, --flow and --both is given; allowed: one of them, or --rgb and --flow")
        alone = self.both is None or (self.rgb is None and self.flow is None)
        require("--both", self.both, alone, "a network of both streams, alone")
        require_folder_name("--to", self.to)
        for flag in ("window", "step", "cpus"):
            value = getattr(self, flag)
            require(f"--{flag}", value, value is None or 1 <= value <= 100_000, "1 to 100000")
        require("--fps", self.fps, self.fps is None or self.rate() is not None, "native, or a number to 240")
        require("--map", "given", not (self.map and self.logits), "one of --map and --logits")
        require_epsilon(self.bn_eps)

    def rate(self) -> float | Literal["native"] | None:
        """`fps` as a number; None where it is not given, or is none."""
        if self.fps is None or self.fps == "native":
            return "native" if self.fps else None
        try:
            number = float(self.fps)
        except ValueError:
            return None
        return number if math.isfinite(number) and 0 < number <= 240 else None
