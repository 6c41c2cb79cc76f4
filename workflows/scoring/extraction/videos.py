"""Which videos are asked: files, folders, lists and datasets, as one list with a name for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from kinetics_pipeline.dataset.dataset import DATASET, Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.file_names import is_passed_over, is_video, normalised, without_video_suffix
from kinetics_pipeline.loading.index import load_index
from kinetics_pipeline.loading.whole_clips import WholeClips
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.redaction import visible
from kinetics_pipeline.video.frames import WholeVideo
from kinetics_pipeline.workflows.scoring.extraction.motion import Frame

PIECE = 64
"""Frames of a dataset's clip that are decoded at once."""
CLIP_FRAME = 10_000
"""About how many bytes a frame of a dataset takes."""
LONGEST = 7 * 86400.0
"""Seconds that one video may take to decode; it waits for flow and network while they work."""
LONGEST_NAME = 240
"""Bytes of a file's name, with room for what is added while it is written."""


@dataclass(frozen=True)
class Item:
    """A video file, or a clip of a dataset."""

    stem: str
    """Its name among the results."""
    place: str
    """The file's path, or the dataset's address."""
    size: int
    """Bytes of a file, frames of a clip: how much work it is beside others of its kind."""
    modified: int = 0
    """When the file was changed last, nanoseconds."""
    clip: bool = False

    @property
    def weight(self) -> int:
        """About how many bytes of video it is."""
        return max(1, self.size * CLIP_FRAME if self.clip else self.size)

    @property
    def shown(self) -> str:
        """What a line calls it."""
        return visible(f"{self.stem} of {self.place}" if self.clip else self.place)


def find_videos(named: Sequence[str], split: str | None) -> list[Item]:
    """All videos that are asked, each once, in the order asked; those of a folder by name.

    Raises UserError for what is not there, for a place without videos, and for two of one name.
    """
    found: dict[tuple[str, str], Item] = {}
    for place in named:
        before = len(found)
        for item in _of_place(place, split):
            found.setdefault((item.place, item.stem), item)
        if len(found) == before and not any(item.place.startswith(place) for item in found.values()):
            raise UserError(f"VIDEOS names {place}, which holds no video")
    if split is not None and not any(item.clip for item in found.values()):
        raise UserError(f"--split is {split}, which only clips of a dataset have; VIDEOS names none")
    stems: dict[str, Item] = {}
    for item in found.values():
        other = stems.setdefault(normalised(item.stem).casefold(), item)
        if other is not item:
            raise UserError(
                f"{other.shown} and {item.shown} would have files of one name ({item.stem}); give them apart, each "
                "with its own --to"
            )
    return list(found.values())


def require_names(items: Iterable[Item], names: Callable[[str], Sequence[str]]) -> None:
    """Raises UserError where the files of two videos would have one name, or one that is too long."""
    taken: dict[str, Item] = {}
    for item in items:
        for name in names(item.stem):
            other = taken.setdefault(normalised(name).casefold(), item)
            if other is not item:
                raise UserError(f"{other.shown} and {item.shown} would both be written to {name}; rename one of them")
            if len(name.rpartition("/")[2].encode("utf-8", "surrogateescape")) > LONGEST_NAME:
                raise UserError(f"{item.shown} has too long a name: its file would be {name}")


def _of_place(place: str, split: str | None) -> Iterator[Item]:
    if "://" in place:
        if place.startswith(("http:", "https:")):
            raise UserError(
                f"VIDEOS names {place}; allowed: files, folders, lists (.txt), and datasets of this project"
            )
        yield from _of_dataset(place, split)
        return
    path = Path(place)
    if path.is_dir():
        if (path / DATASET).is_file():
            yield from _of_dataset(place, split)
            return
        for file in sorted(path.rglob("*")):
            hidden = any(is_passed_over(part) for part in file.relative_to(path).parts)
            if not hidden and is_video(file.name) and not file.is_dir():
                yield _of_name(file)
    elif path.suffix.lower() == ".txt" and path.is_file():
        yield from _of_list(path)
    elif path.is_file():
        yield _of_file(path)
    else:
        raise UserError(f"VIDEOS names {place}, which is not there; allowed: files, folders, lists (.txt), datasets")


def _of_file(path: Path) -> Item:
    there = path.stat()
    return Item(without_video_suffix(path.name), str(path), there.st_size, there.st_mtime_ns)


def _of_name(path: Path) -> Item:
    """A file that is named among others. One that is not there, as where a link leads nowhere, becomes an outcome, not
    an error: there may be many others."""
    try:
        return _of_file(path)
    except (OSError, ValueError):
        return Item(without_video_suffix(path.name), str(path), 0)


def _of_list(path: Path) -> Iterator[Item]:
    """The videos that a list names, a path a line, from the list's own folder on."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"VIDEOS names {path}, which cannot be read: {reason}") from error
    for line in map(str.strip, lines):
        if line:
            yield _of_name(path.parent / line)


def _of_dataset(place: str, split: str | None) -> Iterator[Item]:
    dataset = Dataset.open(place)
    index = load_index(dataset)
    if split is not None:
        index = index.filter(pc.equal(index["split"], split))
        if not len(index):
            raise UserError(f"--split is {split}, of which {dataset.store.uri} has no clip")
    for clip_id, frames in zip(index["clip_id"].to_pylist(), index["frames"].to_pylist(), strict=True):
        yield Item(clip_id, dataset.store.uri, frames, clip=True)


class Footage:
    """The frames of one item, for one pass after the other.

    Raises BrokenVideo, TimeoutError and OSError for a file that cannot be read.
    """

    def __init__(self, item: Item, fps: float | None, recipe: Recipe, flow: bool) -> None:
        """`fps`: None for the video's own. `flow`: whether a clip's flow is read from its dataset."""
        self._clips: WholeClips | None = None
        self._video: WholeVideo | None = None
        if item.clip:
            stream: Literal["both", "rgb"] = "both" if flow else "rgb"
            self._clips = WholeClips(item.place, None, stream, None, clips=[item.stem])
            self.fps, self.expected = float(self._clips.recipe.fps), item.size
        else:
            self._video = WholeVideo(item.place, fps, recipe.short_side, recipe.interpolation, LONGEST)
            self.fps, self.expected = self._video.fps, self._video.expected

    @property
    def from_dataset(self) -> bool:
        """Whether the frames come with flow, where that is asked."""
        return self._clips is not None

    def pictures(self) -> Iterator[NDArray[np.uint8]]:
        """The frames of a file, uint8 RGB [H, W, 3]. Raises Again where they are void."""
        assert self._video is not None
        return iter(self._video)

    def stored(self) -> Iterator[Frame]:
        """The frames of a dataset's clip."""
        assert self._clips is not None
        for piece in self._clips.in_pieces(0, PIECE):
            rgb = np.ascontiguousarray(piece["rgb"].permute(1, 2, 3, 0).numpy())
            flow = piece["flow"].permute(1, 0, 2, 3).contiguous().numpy() if "flow" in piece else None
            for number in range(len(rgb)):
                yield Frame(rgb[number], None if flow is None else flow[number])
