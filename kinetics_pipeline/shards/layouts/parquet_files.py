"""Data files in Parquet: a row is a row group, so that a chunk is read alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kinetics_pipeline.shards.layouts.base import Append, CorruptRow, ReadClip, read_errors

_IDENTITY = ("clip_id", "chunk", "label", "height", "width")
_IMAGES = ("rgb", "flow", "crc_rgb", "crc_flow")
"""Columns of which statistics would be as large as the values."""


class ParquetFiles:
    suffix = ".parquet"
    check_once = False

    @contextmanager
    def new(self, path: Path, schema: pa.Schema) -> Iterator[Append]:
        # Plain pictures and small row groups, as the viewer of Hugging Face's Hub wants them. No page index: a row
        # group is one row, so it would say where that lies a second time, in a footer a sixth larger.
        with pq.ParquetWriter(
            path,
            schema,
            use_dictionary=False,
            compression="none",
            write_statistics=[name for name in schema.names if name not in _IMAGES],
            write_page_checksum=True,
        ) as parquet:
            yield lambda rows: parquet.write_table(pa.Table.from_batches([rows]), row_group_size=1)

    @contextmanager
    def opened(self, path: Path) -> Iterator[ReadClip]:
        with read_errors(path), pq.ParquetFile(path, page_checksum_verification=True) as parquet:

            def read(first: int, rows: int, position: int) -> pa.RecordBatch:
                with read_errors(path):
                    table = parquet.read_row_groups(range(first, first + rows), use_threads=False)
                    if table.num_rows != rows:
                        raise CorruptRow(f"{path.name}: {table.num_rows} rows instead of {rows}")
                    return table.combine_chunks().to_batches()[0]

            yield read

    def require_rows(self, path: Path, rows: Sequence[int]) -> None:
        with read_errors(path):
            footer = pq.read_metadata(path)
            if footer.num_row_groups != sum(rows) or footer.num_rows != sum(rows):
                raise CorruptRow(f"{path.name}: {footer.num_row_groups} row groups instead of {sum(rows)}")

    def schema(self, path: Path) -> pa.Schema:
        with read_errors(path):
            return pq.read_schema(path)

    def chunks(self, source: Path | pa.NativeFile) -> ParquetChunks:
        return ParquetChunks(source)


class ParquetChunks:
    """`OpenChunks` of a Parquet file."""

    def __init__(self, source: Path | pa.NativeFile) -> None:
        local = isinstance(source, Path)
        self._file = pq.ParquetFile(str(source) if local else source, pre_buffer=not local)
        self.columns: pa.Schema = self._file.schema_arrow
        self.footer: pq.FileMetaData | None = self._file.metadata if local else None

    def rows(
        self, first_row: int, position: int, chunks: Sequence[int], streams: Sequence[str]
    ) -> list[tuple[pa.RecordBatch, int]]:
        names = [*_IDENTITY]
        for stream in streams:
            is_list = pa.types.is_list(self.columns.field(stream).type)
            names += [f"{stream}.list.element" if is_list else stream, f"crc_{stream}"]
        table = self._file.read_row_groups([first_row + chunk for chunk in chunks], columns=names, use_threads=False)
        return [(batch, row) for batch in table.to_batches() for row in range(batch.num_rows)]
