"""An object store behind `pyarrow.fs`.

An object appears when its stream is closed, and pyarrow closes it also when an exception leaves a `with` block, which
would commit half a file: an object is only ever written from bytes or a finished file, and without that block.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from pyarrow import fs

from kinetics_pipeline.storage.store import BLOCK, Listing, Names, Versions, one_line_errors, parts_of


class ObjectStore:
    """A bucket's folder, by pyarrow's own client: it retries server errors, and honours AWS_ENDPOINT_URL."""

    def __init__(self, uri: str, filesystem: Any, root: str) -> None:
        self.uri, self._fs, self._root = uri, filesystem, root

    def read(self, name: str) -> bytes:
        with one_line_errors(f"read {self.uri}/{name}"), self._fs.open_input_file(self._key(name)) as source:
            return bytes(source.read())

    def write(self, name: str, data: bytes) -> None:
        with one_line_errors(f"write {self.uri}/{name}"):
            out = self._fs.open_output_stream(self._key(name))
            out.write(data)
            out.close()

    def create_exclusive(self, name: str, data: bytes) -> bool:
        if self.exists(name):
            return False
        self.write(name, data)
        return self.read(name) == data

    def upload(self, local: Path, name: str) -> None:
        with one_line_errors(f"write {self.uri}/{name}"), local.open("rb") as source:
            # Not in a `with` of its own: an exception that left it would commit what was written so far.
            out = self._fs.open_output_stream(self._key(name))
            while block := source.read(BLOCK):
                out.write(block)
            out.close()

    def list(self, prefix: str = "") -> Listing:
        return [(name, size) for name, size, _ in self.versions(prefix)]

    def versions(self, prefix: str = "") -> Versions:
        folder = self._key(prefix)
        with one_line_errors(f"list {self.uri}/{prefix}"):
            infos = self._fs.get_file_info(fs.FileSelector(folder, allow_not_found=True, recursive=True))
        return sorted(
            (str(PurePosixPath(info.path).relative_to(self._root)), info.size, info.mtime_ns or 0)
            for info in infos
            if info.type == fs.FileType.File
        )

    def top(self) -> Names:
        with one_line_errors(f"list {self.uri}"):
            infos = self._fs.get_file_info(fs.FileSelector(self._root, allow_not_found=True))
        return sorted(info.base_name for info in infos)

    def exists(self, name: str) -> bool:
        with one_line_errors(f"look for {self.uri}/{name}"):
            return bool(self._fs.get_file_info(self._key(name)).type == fs.FileType.File)

    def delete(self, name: str) -> None:
        with one_line_errors(f"remove {self.uri}/{name}"):
            try:
                self._fs.delete_file(self._key(name))
            except FileNotFoundError:
                return

    def local_path(self, name: str) -> Path | None:
        return None

    def open_input(self, name: str) -> Any:
        with one_line_errors(f"open {self.uri}/{name}"):
            return self._fs.open_input_file(self._key(name))

    def sweep(self) -> int:
        return 0  # an object that was not finished was never there

    def _key(self, name: str) -> str:
        return "/".join([self._root, *parts_of(name)])
