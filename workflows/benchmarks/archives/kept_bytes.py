"""Which bytes of archives lay in a cache, and which of them were asked for again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from kinetics_pipeline.workflows.benchmarks.loopback_archives import LoopbackArchives


class KeptBytes:
    """What was seen of each archive in a cache, whole or on its way, since `server` forgot its requests. The archives'
    file names are all different."""

    def __init__(self, server: LoopbackArchives, cache: Path) -> None:
        self._server, self._cache = server, cache
        self._paths = {os.path.basename(path): path for path in server.archives()}
        self._seen: dict[str, list[tuple[int, int]]] = {path: [] for path in self._paths.values()}
        """(bytes, number of requests before) of each path, whenever there were more than before."""

    def look(self) -> None:
        for file in self._cache.glob("**/parts/*"):
            path = self._paths.get(file.name.removesuffix(".part"))
            try:
                size = file.stat().st_size
            except FileNotFoundError:  # it was finished, or let go
                continue
            if path is not None and size > (self._seen[path][-1][0] if self._seen[path] else 0):
                self._seen[path].append((size, len(self._server.gets)))  # counted after: later requests knew of it

    def asked_again(self, but: Iterable[str]) -> list[str]:
        """The requests for bytes that lay in the cache before they were asked for; `but`: paths that do not count."""
        wrong = []
        requests = list(enumerate(self._server.gets))
        for path in sorted(set(self._seen) - set(but)):
            for number, begin in ((number, begin) for number, (asked, begin) in requests if asked == path):
                kept = max((size for size, before in self._seen[path] if before <= number), default=0)
                if begin < kept:
                    wrong.append(f"{path} from byte {begin:,} when {kept:,} were there")
        return wrong
