"""The parameters of TV-L1, under OpenCV's names and with OpenCV's defaults, and the pyramid that they give."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from kinetics_pipeline.errors import UserError

FlowBackend = Literal["cpu", "cuda", "torch", "opencv"]
"""The code that computes flow; see `backends`."""
ALIASES = {"lambda": "lambda_", "innnerIterations": "innerIterations"}
"""OpenCV's spelling -> ours: `lambda` is a keyword of Python's, and the three n are a slip in `create`'s signature."""

SMALLEST_LEVEL = 16
"""Pixels: OpenCV adds no level with a shorter side."""

NO_MOTION = 128
"""What flow of zero is in 8 bits."""

FLOW_BOUND = 20
"""Flow is clamped to +-20 px before it is stored, as in I3D's preprocessing (kinetics-i3d, README)."""


@dataclass(frozen=True)
class TVL1:
    """`cv2.optflow.DualTVL1OpticalFlow_create`'s arguments (OpenCV 5.0) and their defaults.

    Raises UserError for a value outside its range.
    """

    tau: float = 0.25
    """Time step of the dual update."""
    lambda_: float = 0.15
    """Weight of the data term; `lambda` in OpenCV."""
    theta: float = 0.3
    """Tightness of the coupling between flow and auxiliary field."""
    nscales: int = 5
    """Most levels of the pyramid; none has a side under 16 px, except the first."""
    warps: int = 5
    epsilon: float = 0.01
    """Stops when the mean squared change of the flow is at most epsilon^2."""
    innerIterations: int = 30
    """`innnerIterations` in `create`'s own signature."""
    outerIterations: int = 10
    scaleStep: float = 0.8
    gamma: float = 0.0
    """Weight of OpenCV's illumination term. Only 0: I3D's flow was made without it."""
    medianFiltering: int = 5
    """Side of the median filter, px; 1 is none."""
    useInitialFlow: bool = False
    """Only False: every pair starts from zero flow, so that the flow of a pair depends on nothing but the pair."""

    def __post_init__(self) -> None:
        for name in ("tau", "lambda_", "theta"):
            self._require(name, _is_real(getattr(self, name)) and 0 < getattr(self, name) < 1e6, "a number above 0")
        for name, most in (
            ("nscales", 64),
            ("warps", 1000),
            ("innerIterations", 100_000),
            ("outerIterations", 100_000),
        ):
            self._require(name, _is_whole(getattr(self, name)) and 1 <= getattr(self, name) <= most, f"1 to {most}")
        self._require("epsilon", _is_real(self.epsilon) and 0 <= self.epsilon < 1e6, "0 or more")
        self._require("scaleStep", _is_real(self.scaleStep) and 0.1 <= self.scaleStep <= 0.99, "0.1 to 0.99")
        self._require("gamma", _is_real(self.gamma) and self.gamma == 0, "0 (the illumination term is not offered)")
        self._require("medianFiltering", self.medianFiltering in (1, 3, 5), "1 (none), 3, 5")
        self._require("useInitialFlow", self.useInitialFlow is False, "False (flow starts from zero)")

    def _require(self, name: str, right: bool, allowed: str) -> None:
        if not right:
            raise UserError(f"TV-L1: {name.rstrip('_')} is {getattr(self, name)!r}; allowed: {allowed}")

    @classmethod
    def named(cls, **parameters: Any) -> TVL1:
        """From OpenCV's names, `lambda` and `innnerIterations` among them.

        Raises UserError for a name that is none of them, or that is given twice.
        """
        allowed = [f.name for f in fields(cls)]
        given: dict[str, Any] = {}
        for name, value in parameters.items():
            own = ALIASES.get(name, name)
            if own not in allowed:
                raise UserError(f"TV-L1 has no parameter {name!r}; allowed: {', '.join(allowed)}")
            if own in given:
                raise UserError(f"TV-L1: {name!r} is given twice, under two spellings")
            given[own] = value
        return cls(**given)


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def level_sizes(height: int, width: int, parameters: TVL1) -> list[tuple[int, int]]:
    """Height and width of every level, the full size first, each from the one before; rounded half to even (OpenCV)."""
    sizes = [(height, width)]
    while len(sizes) < parameters.nscales:
        height, width = round(height * parameters.scaleStep), round(width * parameters.scaleStep)
        if min(height, width) < SMALLEST_LEVEL:
            break
        sizes.append((height, width))
    return sizes
