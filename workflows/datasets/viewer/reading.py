"""The clips of a dataset as they were read, by a thread of their own; and whether it has changed since.

While a build goes on the viewer shows the clips as they were read, says how many shards are new, and reads them again
when it is asked to; what it showed before stays until then. Withdrawals are looked up before every answer, in an object
store at most once a second.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import pyarrow as pa

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError, WorkRemains
from kinetics_pipeline.redaction import visible
from kinetics_pipeline.shards.markers import Marker
from kinetics_pipeline.workflows.datasets.viewer.catalogue import Catalogue, load_table

_REMOTE_LOOK = 1.0
"""Seconds between two looks for withdrawals in an object store."""
_LOOK_FOR_SHARDS, _REMOTE_LOOK_FOR_SHARDS = 5.0, 60.0
"""Seconds between two listings of the shards. A page of a listing of an object store has 1,000 of them."""
_Versions = frozenset[tuple[str, str]]


class ClipReading:
    """Reads the clips of a dataset. Every method may be called by several threads."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._is_local = dataset.store.local_path("") is not None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._read, self._markers = 0, 0
        self._failure = ""
        self._table: pa.Table | None = None
        self._catalogue: Catalogue | None = None
        self._versions: _Versions = frozenset()
        self._times = 0
        """How often the clips were read."""
        self._tombstones: list[str] = []
        self._looked = -_REMOTE_LOOK
        self._listed, self._changed = 0.0, 0

    def begin(self) -> None:
        """Starts to read the clips, unless they are being read."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._read, self._markers, self._failure = 0, 0, ""
            self._thread = threading.Thread(target=self._load, daemon=True)
            self._thread.start()

    def _load(self) -> None:
        try:
            versions = self._marker_versions()
            self._markers = len(versions)
            table = load_table(self._dataset, self.note)
            catalogue = Catalogue(table, self._dataset.classes)
        except UserError as error:
            self._failure = str(error)
            return
        with self._lock:
            self._table, self._catalogue, self._versions, self._tombstones = table, catalogue, versions, []
            self._times, self._changed, self._listed = self._times + 1, 0, time.monotonic()
            self._looked = -_REMOTE_LOOK

    def note(self, marker: Marker) -> None:
        """Counts a marker that was read."""
        self._read += 1

    def _marker_versions(self) -> _Versions:
        return frozenset((file.name, file.version) for file in self._dataset.marker_files())

    def progress(self) -> dict[str, int]:
        """How many of the markers were read."""
        return {"read": self._read, "markers": self._markers}

    def news(self) -> dict[str, Any]:
        """`times`: how often the clips were read; `changed`: shards that were committed, changed or removed since;
        `reading`: whether they are read again now, with `progress`; `failure`: why that could not be done."""
        with self._lock:
            reading = self._thread is not None and self._thread.is_alive()
            wait = _LOOK_FOR_SHARDS if self._is_local else _REMOTE_LOOK_FOR_SHARDS
            if not reading and self._table is not None and time.monotonic() - self._listed >= wait:
                self._changed = len({name for name, _ in self._marker_versions() ^ self._versions})
                self._listed = time.monotonic()
            told = {"times": self._times, "changed": self._changed, "failure": visible(self._failure)}
            return {**told, "reading": reading, **self.progress()}

    def catalogue(self) -> Catalogue:
        """The clips as they were read, without those that are withdrawn now. Raises WorkRemains while they are read for
        the first time, UserError where they cannot be."""
        with self._lock:
            if self._table is None or self._catalogue is None:
                if self._failure:
                    raise UserError(self._failure)
                raise WorkRemains("the clips are still being read")
            wait = 0.0 if self._is_local else _REMOTE_LOOK
            if time.monotonic() - self._looked >= wait:
                self._looked = time.monotonic()
                names = self._dataset.tombstone_names()
                if names != self._tombstones:
                    self._catalogue = Catalogue(self._table, self._dataset.classes, self._dataset.withdrawn())
                    self._tombstones = names
            return self._catalogue
