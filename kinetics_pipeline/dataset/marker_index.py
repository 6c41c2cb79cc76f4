"""The committed markers of a dataset in one file, so that reading them all from an object store takes few requests.

Never the truth itself: an entry counts only while a listing of the markers shows the same name, size and version
(ETag). It is written by the holder of the lease from what is committed, and may be removed at any time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import chain
from pathlib import Path

import pyarrow as pa

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.storage.digest import append_digest, without_digest
from kinetics_pipeline.storage.store import Store, StoredFile

INDEX = "state/markers-1.arrow"
_SCHEMA = pa.schema(
    [("name", pa.string()), ("bytes", pa.int64()), ("version", pa.string()), ("marker", pa.large_binary())]
)
_AT_ONCE = 256
"""Markers that are compressed, and read, together: some 8 MB."""
_FEW = 16
"""Markers that are read as soon as an index."""
_READERS, _LOCAL_READERS = 16, 4
_TRIED, _NEAR = 8, 2e-4
"""Files that are read to see whether the rest come as soon, within so many seconds each: then threads only hinder."""
_Key = tuple[str, int, str]


class MarkerIndex:
    """The markers that one file holds, by name, size and version."""

    def __init__(self, batches: pa.RecordBatchFileReader | None) -> None:
        self._places: Mapping[_Key, tuple[int, int]] = {}
        if batches is None:
            return
        places: dict[_Key, tuple[int, int]] = {}
        for number in range(batches.num_record_batches):
            rows = batches.get_batch(number)
            rows.validate(full=True)  # offsets that lead out of the file would end the process
            keys = zip(*(rows.column(name).to_pylist() for name in _SCHEMA.names[:3]), strict=True)
            places |= {key: (number, row) for row, key in enumerate(keys)}
        self._places = places
        # Markers are asked for in the order of their names, which is also that of the file.
        self._batch = lru_cache(maxsize=2)(batches.get_batch)

    @classmethod
    def read(cls, store: Store) -> MarkerIndex:
        """The index there is; an empty one where there is none, or it is damaged."""
        try:
            written = without_digest(store.read(INDEX))
            if written is None:
                return cls(None)
            batches = pa.ipc.open_file(pa.py_buffer(written))
            return cls(batches if batches.schema.equals(_SCHEMA) else None)  # it may come from a stranger
        except (FileNotFoundError, UserError, pa.ArrowException, OSError, ValueError):
            return cls(None)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, file: StoredFile) -> bool:
        return file[:3] in self._places

    def marker(self, file: StoredFile) -> bytes:
        """The marker's bytes. Raises KeyError when the index does not hold that version of it."""
        number, row = self._places[file[:3]]
        return bytes(self._batch(number).column("marker")[row].as_py())


def read_markers(store: Store, files: Sequence[StoredFile]) -> Iterator[tuple[StoredFile, bytes]]:
    """The bytes of every marker listed, in order: from the index what it holds, the rest from the markers themselves.

    A folder of this machine has no index: its files are as near.
    """
    local = store.local_path(INDEX) is not None
    index = MarkerIndex(None) if local or len(files) <= _FEW else MarkerIndex.read(store)
    with ThreadPoolExecutor(_LOCAL_READERS if local else _READERS) as readers:
        for first in range(0, len(files), _AT_ONCE):  # in portions: no more is kept in memory than is read ahead
            portion = files[first : first + _AT_ONCE]
            missing = [file.name for file in portion if file not in index]
            tried = missing[: _TRIED if local else 0]
            begun = time.perf_counter()
            first_read = [store.read(name) for name in tried]
            near = local and time.perf_counter() - begun < len(tried) * _NEAR
            read = chain(first_read, (map if near else readers.map)(store.read, missing[len(tried) :]))
            for file in portion:
                yield file, index.marker(file) if file in index else next(read)


def refresh_index(store: Store, files: Sequence[StoredFile]) -> None:
    """Writes the index again if it lacks a marker listed. Only for the holder of the lease."""
    if store.local_path(INDEX) is not None or len(files) <= _FEW:
        return
    index = MarkerIndex.read(store)
    if len(index) != len(files) or any(file not in index for file in files):
        write_index(store, read_markers(store, files))


def write_index(store: Store, markers: Iterable[tuple[StoredFile, bytes]]) -> None:
    """Writes the index again, of markers in the order of their names."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "markers.arrow"
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA, options=options) as out:
            rows: list[tuple[str, int, str, bytes]] = []
            for file, data in markers:
                rows.append((*file[:3], data))
                if len(rows) == _AT_ONCE:
                    out.write_batch(_batch(rows))
                    rows.clear()
            out.write_batch(_batch(rows))
        append_digest(path)
        store.upload(path, INDEX)


def _batch(rows: list[tuple[str, int, str, bytes]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else [[], [], [], []]
    return pa.record_batch([pa.array(list(c), f.type) for c, f in zip(columns, _SCHEMA, strict=True)], _SCHEMA)
