"""A made-up scene that a camera looks at: textured ground, and patterned shapes nearer than it.

What is on the ground and where the shapes lie is drawn at random, alike everywhere; the hue of the ground is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
"""uint8 RGB [H, W, 3]."""

FIELD = 5.0
"""Sides of the scene, in short sides of the view."""
FAR, NEAR = 0.6, 1.0
"""Share of a movement that the ground and the shapes make: what is farther away moves less."""
SHAPES = 40
CORNERS = ((1.0,) * 32, (1.15,) * 4, (1.3,) * 3, (1.3, 0.6) * 5)
"""Disc, square, triangle and star: the distances of their corners from their middles, in radii."""


@dataclass(frozen=True)
class Pose:
    """How the scene lies: moved (right, down) in short sides of the view, scaled, and turned clockwise (radians)."""

    moved: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    turned: float = 0.0


class Scene:
    """One scene, drawn from `random`, in views of `width` x `height` pixels.

    The ground has a `hue` (in turns of the colour wheel), or is grey.
    """

    def __init__(self, random: np.random.Generator, width: int, height: int, hue: float | None = None) -> None:
        self._random, self._size, self._side = random, (width, height), min(width, height)
        span = round(FIELD * self._side)
        ground = _texture(random, span, self._side / 5, hue)
        self._layers = [(ground, FAR), (_shapes(random, span, self._side), NEAR)]
        self._looked_at = [span / 2 + random.uniform(-0.5, 0.5, 2) * self._side for _ in self._layers]
        self._centre = np.array([width, height]) / 2 + random.uniform(-0.1, 0.1, 2) * self._side
        self._angle = random.uniform(0, 2 * math.pi)

    def frame(self, pose: Pose) -> Frame:
        """The view, with a camera's noise."""
        cos, sin = (pose.scale * f(self._angle + pose.turned) for f in (math.cos, math.sin))
        turn = np.array([[cos, -sin], [sin, cos]])
        seen = []
        for (layer, share), at in zip(self._layers, self._looked_at, strict=True):
            place = self._centre + np.array(pose.moved) * self._side * share - turn @ at
            matrix = np.column_stack([turn, place])
            view = cv2.warpAffine(layer, matrix, self._size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            seen.append(view.astype(np.float32))
        ground, shapes = seen
        grain = self._random.normal(0, 2, (*ground.shape[:2], 1)).astype(np.float32)
        picture = ground * (1 - shapes[..., 3:] / 255) + shapes[..., :3] + grain
        return np.asarray(np.clip(picture, 0, 255), np.uint8)


def _texture(random: np.random.Generator, span: int, grain: float, hue: float | None) -> Frame:
    """The ground: [span, span, 3], shades of one colour, with blobs about `grain` pixels wide and finer ones, whose
    motion flow can follow."""

    def blobs(channels: int, size: float) -> NDArray[np.float32]:
        cells = max(2, round(span / size))
        noise = random.normal(size=(cells, cells, channels)).astype(np.float32)
        smooth = cv2.resize(noise, (span, span), interpolation=cv2.INTER_CUBIC).reshape(span, span, channels)
        return np.asarray(np.clip(1.4 * smooth, -1.6, 1.6), np.float32)

    colour = np.full(3, 105.0)
    if hue is not None:
        colour += 70 * np.cos(2 * math.pi * (hue - np.arange(3) / 3))
    shades = 0.8 * blobs(1, grain) + 0.5 * blobs(1, grain / 3) + 0.3 * blobs(3, grain)
    return np.asarray(np.clip(colour + 25 * shades, 0, 255), np.uint8)


def _shapes(random: np.random.Generator, span: int, side: int) -> Frame:
    """Striped, chequered and ringed shapes on nothing: [span, span, 4], colours times their share, and the share."""
    layer = np.zeros((span, span, 4), np.uint8)
    for number in range(SHAPES):
        radius = side * random.uniform(0.12, 0.24)
        half = math.ceil(1.4 * radius)
        left, top = random.integers(0, span - 2 * half, 2)
        corners = radius * np.array(CORNERS[number % len(CORNERS)])
        angles = random.uniform(0, 2 * math.pi) + np.arange(len(corners)) * 2 * math.pi / len(corners)
        outline = half + np.column_stack([np.cos(angles), np.sin(angles)]) * corners[:, None]
        mask = np.zeros((2 * half, 2 * half), np.uint8)
        # Corners in sixteenths of a pixel.
        cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], (255,), cv2.LINE_AA, 4)
        share = mask[..., None].astype(np.float32) / 255
        bright = random.uniform(90, 255, 3)
        paint = bright * (0.4 + 0.6 * _pattern(random, half, side, number % 3))
        part = layer[top : top + 2 * half, left : left + 2 * half]
        part[:] = part * (1 - share) + np.concatenate([paint, np.full_like(share, 255)], axis=2) * share
    return layer


def _pattern(random: np.random.Generator, half: int, side: int, kind: int) -> NDArray[np.float32]:
    """Stripes, chequers or rings: [2 half, 2 half, 1] in [0, 1]."""
    y, x = np.mgrid[-half:half, -half:half].astype(np.float32)
    angle = random.uniform(0, math.pi)
    wave = 2 * math.pi / (side * random.uniform(0.16, 0.24))
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    if kind == 0:
        shade = np.sin(wave * along)
    elif kind == 1:
        shade = 1.4 * np.sin(wave * along) * np.sin(wave * across)
    else:
        shade = np.sin(wave * np.hypot(x, y))
    return np.asarray(np.clip(0.5 + 0.8 * shade, 0, 1)[..., None], np.float32)
