"""What a build tells of itself before it has a driver: that it waits for a core or a GPU."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.building.watch.live import LIVE, Live, encoded
from kinetics_pipeline.workflows.building.watch.watcher import WRITE_EVERY, how_it_ended


class NodesAwaited:
    """Writes `state/live.json` while nodes are waited for. Where none were, it writes nothing."""

    def __init__(self, store: Store) -> None:
        self._store, self._since = store, time.time()
        self._written = float("-inf")
        self._line = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._line:
            self._write(how_it_ended(error))

    def show(self, line: str) -> None:
        """What is waited for now."""
        is_new, self._line = line != self._line, line
        passed = time.monotonic() - self._written
        if passed >= WRITE_EVERY or (is_new and passed >= WRITE_EVERY / 5):
            self._written = time.monotonic()
            self._write()

    def _write(self, ended: str = "") -> None:
        live = Live(
            time=time.time(),
            since=self._since,
            things="nodes that are waited for",
            done=0,
            total=1,
            no_progress=self._line[:2000],
            progressed=self._since,
            ended=ended,
        )
        try:
            self._store.write(LIVE, encoded(live))
        except (UserError, OSError):
            return  # nobody is shown this state: the next one follows
