"""Data files in Arrow IPC: a clip is a record batch of a file that is mapped into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kinetics_pipeline.shards.layouts.base import Append, CorruptRow, ReadClip, read_errors


class ArrowFiles:
    suffix = ".arrow"
    check_once = True

    @contextmanager
    def new(self, path: Path, schema: pa.Schema) -> Iterator[Append]:
        with pa.ipc.new_file(path, schema) as arrays:
            yield lambda rows: arrays.write_batch(rows.replace_schema_metadata(schema.metadata))

    @contextmanager
    def opened(self, path: Path) -> Iterator[ReadClip]:
        with read_errors(path), ExitStack() as stack:
            arrays = stack.enter_context(pa.ipc.open_file(stack.enter_context(pa.memory_map(str(path)))))

            def read(first: int, rows: int, position: int) -> pa.RecordBatch:
                with read_errors(path):
                    batch = arrays.get_batch(position)
                    batch.validate(full=True)  # offsets that lead out of the file would end the process
                    if any(batch[field.name].null_count for field in batch.schema if not field.nullable):
                        raise CorruptRow(f"{path.name}: clip {position} has rows with nothing in them")
                return batch

            yield read

    def require_rows(self, path: Path, rows: Sequence[int]) -> None:
        with read_errors(path), pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as arrays:
            if arrays.num_record_batches != len(rows):
                raise CorruptRow(f"{path.name}: {arrays.num_record_batches} clips instead of {len(rows)}")

    def schema(self, path: Path) -> pa.Schema:
        with read_errors(path), pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as arrays:
            return arrays.schema

    def chunks(self, source: Path | pa.NativeFile) -> ArrowChunks:
        return ArrowChunks(source)


class ArrowChunks:
    """`OpenChunks` of an Arrow file."""

    footer: pq.FileMetaData | None = None

    def __init__(self, source: Path | pa.NativeFile) -> None:
        self._file = pa.ipc.open_file(pa.memory_map(str(source)) if isinstance(source, Path) else source)
        self.columns: pa.Schema = self._file.schema

    def rows(
        self, first_row: int, position: int, chunks: Sequence[int], streams: Sequence[str]
    ) -> list[tuple[pa.RecordBatch, int]]:
        clip = self._file.get_batch(position)
        clip.validate(full=True)  # offsets that lead out of the file would end the process
        return [(clip, chunk) for chunk in chunks if chunk < clip.num_rows]
