"""A table that is computed from all commit markers, and kept beside the dataset until one of them changes.

Never the truth itself: it counts only while a listing shows the same markers and withdrawals, with the same sizes and
versions. It may be removed at any time, and may come from a stranger.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from kinetics_pipeline.dataset.dataset import TOMBSTONES, Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.storage.digest import append_digest, without_digest

_KEY = b"markers"


@dataclass(frozen=True)
class KeptTable:
    """What is kept in which file."""

    file: str
    schema: pa.Schema
    is_possible: Callable[[pa.Table], bool]
    """Whether a build can have written these rows; others are computed again."""
    compression: Literal["zstd"] | None = None

    def load(self, dataset: Dataset, compute: Callable[[], pa.Table]) -> pa.Table:
        """The table: what was kept, unless a marker appeared, went or changed since; else computed, and kept."""
        key = _state(dataset)
        kept = self._kept(dataset, key)
        if kept is not None:
            return kept
        table = compute().replace_schema_metadata({_KEY: key})
        options = pa.ipc.IpcWriteOptions(compression=self.compression)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "table.arrow"
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema, options=options) as stream:
                stream.write_table(table)
            append_digest(path)
            with contextlib.suppress(UserError, FileNotFoundError):  # one that may only be read does without
                dataset.store.upload(path, self.file)
        return table

    def _kept(self, dataset: Dataset, key: str) -> pa.Table | None:
        try:
            written = without_digest(dataset.store.read(self.file))
            if written is None:
                return None
            with pa.ipc.open_stream(written) as stream:
                table = stream.read_all()
                table.validate(full=True)  # it may come from a stranger
        except (FileNotFoundError, pa.ArrowInvalid, OSError, UserError):
            return None
        computed_from = (table.schema.metadata or {}).get(_KEY, b"")
        same = computed_from == key.encode() and table.schema.equals(self.schema)
        return table if same and self.is_possible(table) else None


def _state(dataset: Dataset) -> str:
    """Stands for the set of markers and withdrawals: their names, sizes and versions."""
    files = [file for file in dataset.store.files("shards") if file.name.endswith(".json")]
    files += dataset.store.files(TOMBSTONES)
    versions = [(file.name, file.size, file.version) for file in files]
    return hashlib.sha256(json.dumps(versions).encode()).hexdigest()
