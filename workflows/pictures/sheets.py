"""Sheets for people: clips as strips of frames, a clip with a network's predictions, legends, files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.workflows.pictures.colours import Picture, colour_wheel, even_frames, flow_colours

GAP = 2
"""Pixels between frames."""
INK, BAR = (30, 30, 30), (96, 150, 210)


def strip(frames: NDArray[np.uint8], shown: int = 8, height: int | None = None) -> Picture:
    """At most `shown` frames of [T, H, W, 3], evenly over the clip, side by side; scaled to `height` if given."""
    chosen = [np.ascontiguousarray(frames[k]) for k in even_frames(len(frames), shown)]
    if height is not None:
        width = max(1, round(frames.shape[2] * height / frames.shape[1]))
        how = cv2.INTER_AREA if height < frames.shape[1] else cv2.INTER_CUBIC
        chosen = [cv2.resize(frame, (width, height), interpolation=how) for frame in chosen]
    gap = np.full((chosen[0].shape[0], GAP, 3), 255, np.uint8)
    pieces = [piece for frame in chosen for piece in (frame, gap)]
    return np.concatenate(pieces[:-1], axis=1)


def stacked(rows: Sequence[Picture]) -> Picture:
    """Pictures of any width under each other, on white."""
    width = max(row.shape[1] for row in rows)
    pieces: list[Picture] = []
    for row in rows:
        piece = np.full((row.shape[0] + GAP, width, 3), 255, np.uint8)
        piece[: row.shape[0], : row.shape[1]] = row
        pieces.append(piece)
    return np.concatenate(pieces)[:-GAP]


def contact_sheet(
    clips: Sequence[NDArray[np.uint8]], shown: int = 8, height: int | None = None, names: Sequence[str] = ()
) -> Picture:
    """A strip a clip (each [T, H, W, 3]), under each other, each below its name where there is one."""
    rows: list[Picture] = []
    for number, clip in enumerate(clips):
        picture = strip(clip, shown, height)
        if number < len(names):
            rows.append(written([names[number]], picture.shape[1]))
        rows.append(picture)
    return stacked(rows)


def written(lines: Sequence[str], width: int, size: float = 0.5) -> Picture:
    """Lines of text on white, made smaller where they are wider than `width`. OpenCV 5 has letters of most scripts."""
    line_height = round(40 * size)
    picture = np.full((line_height * len(lines), width, 3), 255, np.uint8)
    for number, line in enumerate(lines):
        text = line.encode("utf-8", "replace").decode()  # names of files need not be text
        (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
        fitting = size * min(1.0, (width - 8) / max(wide, 1))
        base = (4, line_height * number + round(line_height * 0.7))
        cv2.putText(picture, text, base, cv2.FONT_HERSHEY_SIMPLEX, fitting, INK, 1, cv2.LINE_AA)
    return picture


def annotated(
    frames: NDArray[np.uint8],
    flow: NDArray[np.floating] | None,
    scores: Sequence[tuple[str, float]],
    title: str = "",
    shown: int = 8,
    height: int = 120,
    fps: float = 25,
) -> Picture:
    """A clip [T, H, W, 3], its flow [T, 2, H, W] in pixels, and a bar for each (class, probability)."""
    rows = clip_sheet([title] if title else [], frames, flow, fps, shown, height)
    width = max(480, *(row.shape[1] for row in rows))
    legend = [flow_legend(width)] if flow is not None else []
    return stacked([*rows, *legend, *(_bar(name, value, width) for name, value in scores)])


def clip_sheet(
    lines: Sequence[str],
    frames: NDArray[np.uint8],
    flow: NDArray[np.floating] | None,
    fps: float | None,
    shown: int = 8,
    height: int = 120,
) -> list[Picture]:
    """Rows that show a clip [T, H, W, 3] of `fps` frames a second and its flow [T, 2, H, W] in pixels: `lines` in full,
    frames with their times (their numbers where `fps` is None), flow with its largest length; frames that repeat the
    one before are marked."""
    same = repeated_frames(frames)
    chosen = even_frames(len(frames), shown)
    pictures = [strip(frames, shown, height)]
    tile = (pictures[0].shape[1] + GAP) // len(chosen) - GAP
    times = [
        [f"{k / fps:.2f} s" if fps else f"frame {k}", "repeats the frame before" if same[k] else ""] for k in chosen
    ]
    captions = [_captions(times, tile)]
    lines = [*lines, *([f"{same.sum()} of {len(frames)} frames repeat the frame before"] if same.any() else [])]
    if flow is not None:
        length = np.hypot(flow[:, 0], flow[:, 1])
        largest = float(np.percentile(length, 99))
        pictures.append(strip(flow_colours(flow, largest), shown, height))
        still = [k + 1 < len(frames) and bool(same[k + 1]) for k in chosen]
        moved = [
            ["no motion:", "the next frame repeats"] if s else [_longest(float(length[k].max())), ""]
            for k, s in zip(chosen, still, strict=True)
        ]
        captions.append(_captions(moved, tile))
        lines.append(f"flow: full colour is {largest:.1f} px a frame")
    rows = [row for pair in zip(pictures, captions, strict=True) for row in pair]
    width = max(pictures[0].shape[1], 480)
    return [*([written(wrapped(lines, width), width)] if lines else []), *rows]


def _longest(pixels: float) -> str:
    return "no motion" if pixels < 0.05 else f"up to {pixels:.1f} px"


def repeated_frames(frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """bool [T]: whether each of the frames [T, H, W, 3] is the one before it once more."""
    return np.array([k > 0 and np.array_equal(frames[k], frames[k - 1]) for k in range(len(frames))], np.bool_)


def flow_legend(width: int, side: int = 64) -> Picture:
    """The colour wheel with what it means, on white."""
    text = written(
        ["colour of flow: direction of motion", "white: no motion; full colour: fast"], width - side - 2 * GAP
    )
    picture = np.full((max(side, text.shape[0]) + 2 * GAP, width, 3), 255, np.uint8)
    picture[GAP : GAP + side, GAP : GAP + side] = colour_wheel(side)
    top = (picture.shape[0] - text.shape[0]) // 2
    picture[top : top + text.shape[0], side + 2 * GAP :] = text
    return picture


def wrapped(lines: Sequence[str], width: int, size: float = 0.5) -> list[str]:
    """The lines, broken between words where they are wider than `width` pixels as `written` writes them."""
    found: list[str] = []
    for line in lines:
        current = ""
        for word in line.split():
            longer = f"{current} {word}".strip()
            if current and _text_width(longer, size) > width - 8:
                found.append(current)
                longer = word
            current = longer
        found.append(current)
    return found


def _text_width(text: str, size: float) -> int:
    return int(cv2.getTextSize(text.encode("utf-8", "replace").decode(), cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0])


def _captions(texts: Sequence[Sequence[str]], tile: int) -> Picture:
    """Lines under each tile of a strip."""
    cells = [written(lines, tile, 0.4) for lines in texts]
    gap = np.full((cells[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([piece for cell in cells for piece in (cell, gap)][:-1], axis=1)


def _bar(name: str, value: float, width: int, height: int = 24) -> Picture:
    picture = np.full((height, width, 3), 255, np.uint8)
    label = width // 2
    text = written([name], label)
    picture[: min(height, text.shape[0]), :label] = text[:height]
    full = width - label - 70
    cv2.rectangle(picture, (label, 4), (label + max(1, round(full * min(max(value, 0.0), 1.0))), height - 5), BAR, -1)
    number = written([f"{value:.1%}"], 66)
    picture[: min(height, number.shape[0]), width - 66 :] = number[:height]
    return picture


def require_picture_file(path: Path) -> None:
    """Raises UserError for a path that no picture can be written to; call it before the work that the picture shows."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"a picture is to go to {path}; allowed: a .png or .jpg file")
    if not path.parent.is_dir():
        raise UserError(f"a picture cannot be written to {path}: there is no folder {path.parent}")


@dataclass(frozen=True)
class Sheet:
    """A picture (uint8 [H, W, 3], RGB) that a notebook shows."""

    pixels: Picture = field(repr=False)

    def __repr__(self) -> str:
        height, width, _ = self.pixels.shape
        return f"a picture of {width}x{height} pixels; save(FILE) writes it"

    def encoded(self, suffix: str = ".png") -> bytes:
        """The picture as a file of that kind: .png, .jpg or .jpeg."""
        return bytes(cv2.imencode(suffix, cv2.cvtColor(self.pixels, cv2.COLOR_RGB2BGR))[1])

    def _repr_png_(self) -> bytes:
        return self.encoded()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Raises UserError as `write_picture`."""
        write_picture(Path(path), self.pixels)


def write_picture(path: Path, picture: Picture) -> None:
    """Writes a PNG or JPEG, by its suffix. Raises UserError when it cannot be written."""
    require_picture_file(path)
    encoded = Sheet(picture).encoded(path.suffix.lower())
    try:
        path.write_bytes(encoded)
    except OSError as error:
        raise UserError(f"a picture cannot be written to {path}: {error.strerror}") from error
