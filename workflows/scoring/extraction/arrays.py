"""Files of features that grow row by row: arrays of NumPy whose length is known only at the end, and Parquet.

A file has its name only once it is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kinetics_pipeline.storage.local import new_file, remove_unfinished
from kinetics_pipeline.workflows.scoring.extraction.presets import Layout, file_name

HEADER = 256
"""Bytes that an array's header takes; it is written last."""
ROWS_AT_ONCE = 1024
"""Rows of a Parquet row group."""


def npy_header(dtype: np.dtype[Any], shape: Sequence[int], *, fortran: bool) -> bytes:
    """The header of NumPy's file format 1.0, of `HEADER` bytes (numpy.lib.format)."""
    text = repr({"descr": dtype.str, "fortran_order": fortran, "shape": tuple(map(int, shape))})
    body = text.ljust(HEADER - 11).encode() + b"\n"
    assert len(body) == HEADER - 10
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


class ArrayFile:
    """Rows of one shape, appended to a file that becomes an array [rows, ...]."""

    def __init__(self, out: BinaryIO, dtype: str) -> None:
        self._out, self._dtype = out, np.dtype(dtype).newbyteorder("<")
        self._shape: tuple[int, ...] | None = None
        self.rows = 0
        out.write(b"\0" * HEADER)

    def add(self, rows: NDArray[np.float32]) -> None:
        """Appends rows [N, ...]."""
        self._shape = rows.shape[1:]
        self._out.write(np.ascontiguousarray(rows, self._dtype).tobytes())
        self.rows += len(rows)

    def finish(self, *, transposed: bool = False, places: bool = False) -> None:
        """Writes the header. `transposed`: [columns, rows], whose bytes are the same in the order of Fortran; `places`:
        [rows, 1, 1, columns]."""
        assert self._shape is not None
        shape: tuple[int, ...] = (self.rows, *self._shape)
        if transposed:
            shape = shape[::-1]
        elif places and len(self._shape) == 1:  # maps have places of their own
            shape = (self.rows, 1, 1, *self._shape)
        self._out.seek(0)
        self._out.write(npy_header(self._dtype, shape, fortran=transposed))


class Arrays:
    """The files of one video: `add` takes the rows of each stream, `finish` what is known at the end. The files take
    their names when the block ends, and after an error there are none."""

    def __init__(self, folder: Path, stem: str, layout: Layout, dtype: str) -> None:
        self._folder, self._stem, self._layout, self._dtype = folder, stem, layout, dtype
        self._files = ExitStack()
        self._arrays: dict[str, ArrayFile] = {}
        self.names: list[str] = []

    def __enter__(self) -> Arrays:
        return self

    def __exit__(self, *error: Any) -> None:
        self._files.__exit__(*error)

    def _open(self, what: str) -> BinaryIO:
        name = file_name(self._layout.files[what], self._stem)
        self.names.append(name)
        (self._folder / name).parent.mkdir(exist_ok=True)
        remove_unfinished(self._folder / name)
        return self._files.enter_context(new_file(self._folder / name))

    def add(self, rows: dict[str, NDArray[np.float32]]) -> None:
        """Appends the same rows of every stream: [N, columns], or more axes."""
        if self._layout.concat or "both" in rows:
            rows = {"joined": np.concatenate(list(rows.values()), axis=_columns_axis(rows))}
        for what, values in rows.items():
            if what not in self._arrays:
                self._arrays[what] = ArrayFile(self._open(what), self._dtype)
            self._arrays[what].add(values)

    def finish(self, times: NDArray[np.float64], fps: float) -> None:
        """Completes all files: `times` are seconds [rows, 2], begin and end."""
        for array in self._arrays.values():
            array.finish(transposed=self._layout.order == "ct", places=self._layout.places)
        np.save(self._open("times"), times)
        if "fps" in self._layout.files:
            np.save(self._open("fps"), np.array(fps))
        if "timestamps_ms" in self._layout.files:  # of the frame behind a window, as its last flow ends there
            np.save(self._open("timestamps_ms"), times[:, 1] * 1000)


def _columns_axis(rows: dict[str, NDArray[np.float32]]) -> int:
    """The axis of the columns: the last, but of maps [..., columns, h, w] the third from the end."""
    return -3 if next(iter(rows.values())).ndim >= 4 else -1


class ParquetPart:
    """The rows of one video as Parquet: video, row, begin and end in seconds, a list of columns for each stream."""

    def __init__(self, folder: Path, stem: str, layout: Layout, dtype: str) -> None:
        self._path, self._stem, self._layout, self._dtype = folder / part_name(stem), stem, layout, dtype
        self._files = ExitStack()
        self._waiting: list[dict[str, NDArray[np.float32]]] = []
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0
        self.names = [part_name(stem)]

    def __enter__(self) -> ParquetPart:
        return self

    def __exit__(self, *error: Any) -> None:
        self._files.__exit__(*error)

    def add(self, rows: dict[str, NDArray[np.float32]]) -> None:
        """See `Arrays.add`."""
        if self._layout.concat or "both" in rows:
            rows = {"joined": np.concatenate(list(rows.values()), axis=_columns_axis(rows))}
        self._waiting.append(rows)
        if sum(len(next(iter(some.values()))) for some in self._waiting) >= ROWS_AT_ONCE:
            self._write()

    def _write(self) -> None:
        if not self._waiting:
            return
        streams = {what: np.concatenate([rows[what] for rows in self._waiting]) for what in self._waiting[0]}
        self._waiting = []
        count = len(next(iter(streams.values())))
        columns: dict[str, pa.Array] = {
            "video": pa.array([self._stem] * count, pa.string()),
            "row": pa.array(range(self._rows, self._rows + count), pa.int32()),
        }
        for what, values in streams.items():
            flat = np.ascontiguousarray(values.reshape(count, -1), np.dtype(self._dtype))
            columns[what] = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])
        shapes = {f"shape_{what}": str(list(values.shape[1:])) for what, values in streams.items()}
        table = pa.table(columns).replace_schema_metadata(shapes)
        if self._writer is None:
            self._path.parent.mkdir(exist_ok=True)
            remove_unfinished(self._path)
            out = self._files.enter_context(new_file(self._path))
            self._writer = self._files.enter_context(pq.ParquetWriter(out, table.schema, compression="zstd"))
        self._writer.write_table(table)
        self._rows += count

    def finish(self, times: NDArray[np.float64], fps: float) -> None:
        """See `Arrays.finish`; the times of rows follow from those of the first two, which the metadata hold."""
        self._write()
        assert self._writer is not None
        first = times[0].tolist()
        step = float(times[1, 0] - times[0, 0]) if len(times) > 1 else 0.0
        self._writer.add_key_value_metadata({"begin": str(first[0]), "end": str(first[1]), "step": str(step)})


def part_name(stem: str) -> str:
    """Where the rows of one video lie until all are joined."""
    return f"parts/{stem}.parquet"


def join_parts(folder: Path, stems: Sequence[str], target: Path) -> int:
    """Writes the parts of these videos as one Parquet file, with begin and end of each row. Returns its rows."""
    total = 0
    with ExitStack() as files:
        writer: pq.ParquetWriter | None = None
        out: BinaryIO | None = None
        for stem in stems:
            part = files.enter_context(pq.ParquetFile(folder / part_name(stem)))
            known = part.metadata.metadata
            begin, end, step = (float(known[name.encode()]) for name in ("begin", "end", "step"))
            for group in range(part.num_row_groups):
                table = part.read_row_group(group)
                rows = table["row"].to_numpy()
                for position, (name, at) in enumerate((("begin", begin), ("end", end))):
                    table = table.add_column(2 + position, name, pa.array(at + rows * step))
                if writer is None:
                    out = files.enter_context(new_file(target))
                    writer = files.enter_context(pq.ParquetWriter(out, table.schema, compression="zstd"))
                writer.write_table(table.cast(writer.schema))
                total += len(rows)
            part.close()
    return total
