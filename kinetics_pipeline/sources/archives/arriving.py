"""An archive as a stream of bytes while it is still being fetched: who reads further than it has come, waits."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

from kinetics_pipeline.sources.local.parts import PartsStream

POLL = 0.05
"""Seconds between two looks at how far the file has come."""


class Abandoned(Exception):
    """The archive will not come whole this time, or began anew as another version: what was read counts for nothing."""


class Arriving:
    """Files that are being fetched, each as `NAME.part` until it is whole."""

    def __init__(self, parts: Sequence[Path], sizes: Sequence[int]) -> None:
        """`sizes`: the bytes that each will have."""
        self.parts, self.sizes = parts, sizes
        self._over = threading.Event()
        self._failed = False

    def end(self, *, failed: bool) -> None:
        """Nothing more will come: all parts are whole, or they have failed."""
        self._failed |= failed
        self._over.set()

    def restart(self) -> None:
        """Bytes that may have been read are not those of the archive."""
        self._failed = True

    def open(self) -> IO[bytes]:
        """The parts as one stream that can be sought in. Reading raises Abandoned and OSError."""
        return cast(IO[bytes], io.BufferedReader(_Stream(self), 1 << 16))

    def require_sound(self) -> None:
        """Raises Abandoned."""
        if self._failed:
            raise Abandoned

    def wait(self) -> None:
        """Waits a moment for more."""
        self._over.wait(POLL)

    @property
    def is_over(self) -> bool:
        return self._over.is_set()


class _Stream(PartsStream):
    def __init__(self, arriving: Arriving) -> None:
        super().__init__(arriving.sizes)
        self._arriving = arriving
        self._files: dict[int, io.FileIO] = {}

    def read_part(self, part: int, offset: int, buffer: Any) -> int:
        while True:
            over = self._arriving.is_over  # before it is read: what came until then is there
            file = self._file(part)
            if file is not None:
                file.seek(offset)
                count = file.readinto(buffer) or 0
                self._arriving.require_sound()
                if count:
                    return count
            self._arriving.require_sound()
            if over:
                return 0
            self._arriving.wait()

    def _file(self, part: int) -> io.FileIO | None:
        if part not in self._files:
            whole = self._arriving.parts[part]
            for path in (whole.with_name(f"{whole.name}.part"), whole):
                try:
                    self._files[part] = io.FileIO(os.fspath(path))
                    break
                except FileNotFoundError:
                    continue
        return self._files.get(part)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        super().close()
