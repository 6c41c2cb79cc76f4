"""Generated pictures whose motion is known: a texture that can be evaluated anywhere, moved by a field.

The texture is a sum of waves, so that a moved frame is exact and not an interpolation of the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = tuple[NDArray[np.float64], NDArray[np.float64]]
"""x and y of every pixel."""


@dataclass(frozen=True)
class Scene:
    """Two frames, uint8 [2, H, W], and the flow between them, float32 [2, H, W] in px."""

    name: str
    frames: NDArray[np.uint8]
    truth: NDArray[np.float32]

    def error(self, flow: NDArray[np.float32], margin: int = 16) -> float:
        """Mean endpoint error against the truth, px, without `margin` pixels at the border, where content leaves."""
        inner = (slice(None), slice(margin, -margin), slice(margin, -margin))
        return endpoint_error(flow[inner], self.truth[inner])


def endpoint_error(flow: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean length of the difference of two flows [..., 2, H, W], px."""
    return float(np.sqrt(((flow.astype(np.float64) - other) ** 2).sum(-3)).mean())


def texture(seed: int, waves: int = 80) -> Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]:
    """A picture in 0..255 of waves 5 to 80 px long, longer ones stronger, as a function of x and y."""
    random = np.random.default_rng(seed)
    length = np.exp(random.uniform(np.log(5), np.log(80), waves))
    angle, phase = random.uniform(0, 2 * np.pi, (2, waves))
    strength = length**0.7 / np.sqrt((length**1.4).sum() / 2)

    def picture(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(np.broadcast_shapes(x.shape, y.shape))
        for k in range(waves):
            along = (np.cos(angle[k]) * x + np.sin(angle[k]) * y) / length[k]
            total += strength[k] * np.cos(2 * np.pi * along + phase[k])
        return 128 + 45 * total

    return picture


def _grid(height: int, width: int) -> Points:
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return x, y


Motion = Callable[[Points], Points]


def _scene(name: str, size: tuple[int, int], seed: int, forward: Motion, back: Motion) -> Scene:
    """`forward` moves a point of the first frame to where it is in the second; `back` undoes it."""
    picture, points = texture(seed), _grid(*size)
    pictures = [picture(*points), picture(*back(points))]
    frames = np.stack([np.clip(np.rint(p), 0, 255) for p in pictures]).astype(np.uint8)
    there = forward(points)
    truth = np.stack([there[0] - points[0], there[1] - points[1]]).astype(np.float32)
    return Scene(name, frames, truth)


def shift(dx: float, dy: float, height: int = 128, width: int = 160, seed: int = 1) -> Scene:
    def move(p: Points, sign: int) -> Points:
        return p[0] + sign * dx, p[1] + sign * dy

    name = f"shift ({dx}, {dy}) px"
    return _scene(name, (height, width), seed, lambda p: move(p, 1), lambda p: move(p, -1))


def rotation(degrees: float, height: int = 128, width: int = 160, seed: int = 2) -> Scene:
    """About the centre."""

    def turn(p: Points, angle: float) -> Points:
        x, y = p[0] - (width - 1) / 2, p[1] - (height - 1) / 2
        cos, sin = np.cos(angle), np.sin(angle)
        return cos * x - sin * y + (width - 1) / 2, sin * x + cos * y + (height - 1) / 2

    name, angle = f"rotation {degrees} degrees", float(np.deg2rad(degrees))
    return _scene(name, (height, width), seed, lambda p: turn(p, angle), lambda p: turn(p, -angle))


def zoom(factor: float, height: int = 128, width: int = 160, seed: int = 3) -> Scene:
    """About the centre."""

    def scale(p: Points, by: float) -> Points:
        x, y = (width - 1) / 2, (height - 1) / 2
        return (p[0] - x) * by + x, (p[1] - y) * by + y

    name = f"zoom {factor}"
    return _scene(name, (height, width), seed, lambda p: scale(p, factor), lambda p: scale(p, 1 / factor))


def analytic_scenes() -> list[Scene]:
    return [shift(0.5, 0), shift(1.5, -0.75), shift(4.3, 2.6), rotation(1), zoom(1.02)]


def clip(frames: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [T, H, W]: a panning background, two objects that cross and hide each other, and sensor noise."""
    random = np.random.default_rng(seed)
    x, y = _grid(height, width)
    behind, *objects = (texture(seed * 10 + k) for k in range(3))
    made = []
    for t in range(frames):
        picture = behind(x - 0.8 * t, y + 0.3 * t)
        for k, (surface, (right, down)) in enumerate(zip(objects, ((2.1, 0.4), (-1.7, 0.9)), strict=True)):
            centre_x, centre_y = width * (0.3 + 0.4 * k) + right * t, height * (0.4 + 0.2 * k) + down * t
            here = (x - centre_x) ** 2 + (1.5 * (y - centre_y)) ** 2 < (0.22 * height) ** 2
            picture = np.where(here, surface(x - right * t, y - down * t), picture)
        made.append(picture + random.normal(0, 1.5, picture.shape))
    return np.clip(np.rint(np.stack(made)), 0, 255).astype(np.uint8)
