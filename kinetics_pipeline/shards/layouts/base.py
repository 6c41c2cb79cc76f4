"""What a layout is: a storage for each stream, and a kind of file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.redaction import counted

Stream = Literal["rgb", "flow"]
Size = tuple[int, int, int]
"""Images of a row, their height and their width."""


class CorruptRow(ValueError):
    """A row whose images are not those that were written: its CRC, its sizes or its images do not agree."""


class StoredImages(Protocol):
    """The n images of one row and stream as they are stored; nothing is decoded yet."""

    def __len__(self) -> int: ...

    def crc(self) -> int:
        """The CRC of the stored bytes, as the row says it (`codec.crc_of_images`)."""

    def crops(
        self, numbers: Sequence[int], rows: slice, columns: slice, whole: NDArray[np.uint8]
    ) -> Iterator[NDArray[np.uint8]]:
        """The crops of the images `numbers`, which increase: arrays of one or more of them in order, uint8
        [k, h, w, 3] of RGB, [k, 2, h, w] of flow. One that was given may change when the next one is.

        `whole` is memory for an image, uint8 [H, W, 3] or [2, H, W]; no image of another size is decoded. Raises
        ValueError or IndexError for an image that is not there, is broken or is not of that size.
        """

    def jpegs(self, quality: int) -> list[bytes]:
        """The images as JPEGs, flow with u over v: those that are stored, else encoded with `quality`.

        Raises ValueError for images that are broken.
        """

    def h264(self) -> bytes | None:
        """The images as one H.264 string that stands alone, where they are stored so (`h264_headers.units_of_chunk`).

        Raises ValueError for one of another form.
        """


class Storage(Protocol):
    """How the images of one stream are stored: as byte strings, in one column."""

    @property
    def column(self) -> pa.DataType:
        """A list of binary, or one binary for all images of a row."""

    @property
    def by_image(self) -> bool:
        """Whether an image has bytes of its own, the same ones for the same picture."""

    def described(self, recipe: Recipe) -> str:
        """What the footer says of the stored images."""

    def encoded(self, images: NDArray[np.uint8], recipe: Recipe) -> list[bytes]:
        """The byte strings of a row: images uint8 [n, H, W, 3] of RGB, [n, 2, H, W] of flow."""

    def strings(self, count: int) -> int:
        """How many byte strings `count` images are."""

    def stored(self, strings: list[NDArray[np.uint8]], size: Size) -> StoredImages:
        """The images of the byte strings of a row. Raises CorruptRow when they are not so many, or not so large."""

    def quality(self, recipe: Recipe) -> object:
        """What decides, beside the images, which bytes are stored: rows are copied where this is the same."""


class OpenChunks(Protocol):
    """An open data file that gives single rows."""

    @property
    def columns(self) -> pa.Schema: ...

    @property
    def footer(self) -> pq.FileMetaData | None:
        """Parquet's, of a file whose rows may be read where they lie (`loading.plain_rows`)."""

    def rows(
        self, first_row: int, position: int, chunks: Sequence[int], streams: Sequence[str]
    ) -> Iterable[tuple[pa.RecordBatch, int]]:
        """A batch and a number in it for each of some chunks of a clip; fewer where the file ends.

        `first_row` and `position` are the clip's (see `markers.Marker`).
        """


Append = Callable[[pa.RecordBatch], None]
ReadClip = Callable[[int, int, int], pa.RecordBatch]
"""(first row, rows, position) -> the rows of a clip; see `markers.Marker` for the three."""


class DataFiles(Protocol):
    """A kind of data file. What is read may be damaged: CorruptRow says how, where nothing else is written."""

    @property
    def suffix(self) -> str: ...

    @property
    def check_once(self) -> bool:
        """Whether a row's CRC, which costs more than its reading, is checked once a process."""

    def new(self, path: Path, schema: pa.Schema) -> AbstractContextManager[Append]:
        """A function that appends a clip's rows to a new local file. `schema` has the footer's key-values."""

    def opened(self, path: Path) -> AbstractContextManager[ReadClip]:
        """A function that reads the rows of a clip of a local file."""

    def require_rows(self, path: Path, rows: Sequence[int]) -> None:
        """Raises CorruptRow when a local file has not as many clips or rows as it should: those of each clip."""

    def schema(self, path: Path) -> pa.Schema:
        """The columns of a local file and what its footer says."""

    def chunks(self, source: Path | pa.NativeFile) -> OpenChunks:
        """A file opened to read single rows. Raises what Arrow raises, as its methods do."""


@dataclass(frozen=True)
class ShardLayout:
    rgb: Storage
    flow: Storage
    files: DataFiles
    versions: tuple[int, ...]
    """The schema versions that its shards may have; the last one is written."""

    def storage(self, stream: str) -> Storage:
        return self.rgb if stream == "rgb" else self.flow


def binary_strings(column: pa.Array, row: int) -> list[NDArray[np.uint8]]:
    """The byte strings in one row of a column of (large) binaries or lists of binaries, without copying them.

    By offsets: an Arrow scalar copies the megabytes it stands for, and one for each image costs as much as a tenth of
    decoding it. They are read from a file that may be damaged, and a slice never leads out of what was read.
    """
    if pa.types.is_list(column.type):
        if not column[row].is_valid:
            return []
        begin, end = column.offsets[row].as_py(), column.offsets[row + 1].as_py()
        return _slices(column.values, begin, end)
    if column.null_count and not column.is_valid()[row].as_py():
        return [np.empty(0, np.uint8)]
    return _slices(column, row, row + 1)


def _slices(strings: pa.Array, begin: int, end: int) -> list[NDArray[np.uint8]]:
    _, bounds, data = strings.buffers()
    if data is None:
        return [np.empty(0, np.uint8)] * (end - begin)
    width = np.int64 if pa.types.is_large_binary(strings.type) else np.int32
    offsets = np.frombuffer(bounds, width)[strings.offset + begin : strings.offset + end + 1].tolist()
    stored = np.frombuffer(data, np.uint8)
    return [
        stored[first:last] if 0 <= first <= last else np.empty(0, np.uint8)
        for first, last in itertools.pairwise(offsets)
    ]


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """What Arrow says of a damaged file, as CorruptRow."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, IndexError, OverflowError, UnicodeDecodeError) as e:
        raise CorruptRow(f"{path.name}: {' '.join(str(e).split())}") from e


def require_image(number: int, count: int) -> None:
    """Raises IndexError for an image that a row of `count` images does not have."""
    if not 0 <= number < count:
        raise IndexError(counted(count, "image"))


def typed(value: Any) -> NDArray[np.uint8]:
    """A byte string as uint8, without a copy."""
    return np.frombuffer(value, np.uint8)
