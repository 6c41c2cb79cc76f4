"""A folder of a bucket: S3, Google Cloud Storage, Azure Blob Storage, by obstore.

`create` and `replace` are conditional requests (If-None-Match, If-Match): the store decides between writers. A client
that did not hear the answer asks again, and may be told that its own success is in its way; so a refusal is settled
by reading back. A conditional write is one request, also of a large file, and then nothing is left of one that breaks
off; an unconditional upload of a large file goes in parts, and is aborted when it fails. obstore completes an upload in
parts without a condition, and one request carries at most 5 GB: for larger files `decides` is false.
"""

from __future__ import annotations

import hashlib
import io
import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.storage.digest import sha256_of
from kinetics_pipeline.storage.object_client import ObjectClient
from kinetics_pipeline.storage.store import (
    BLOCK,
    Files,
    Listing,
    Names,
    StoredFile,
    failure,
    one_line_errors,
    parts_of,
    require_small,
)

_ONE_REQUEST = 64 << 20
"""Bytes: a file up to this size is written in one request whatever the condition."""
_PART, _PARTS_AT_ONCE = 16 << 20, 4
_MOST_IN_ONE_REQUEST = 5 << 30
"""The most that one PUT may carry (Amazon S3 User Guide, "Uploading objects")."""
_ATTEMPTS = 3
_PROBE = "state/probe"
_SMALL = 8 << 20


class ObjectStore:
    """See `store.Store`."""

    def __init__(self, uri: str, client: ObjectClient | None = None) -> None:
        self.uri = uri
        self._client = client or ObjectClient(uri)

    def read(self, name: str) -> bytes:
        return self.read_version(name)[0]

    def read_version(self, name: str) -> tuple[bytes, str]:
        with self._errors("read", name):
            data, about = self._client.call("get", _key(name))
            require_small(f"{self.uri}/{name}", about["size"])
            return data, _version(about)

    def write(self, name: str, data: bytes) -> None:
        with self._errors("write", name):
            self._client.call("put", _key(name), data, use_multipart=False, long=len(data) > _SMALL)

    def create(self, name: str, data: bytes) -> bool:
        return self._create(name, data, lambda: self.read(name) == data)

    def replace(self, name: str, data: bytes, version: str) -> bool:
        return self._replace(name, data, version, lambda: self.read(name) == data)

    def upload(self, local: Path, name: str) -> None:
        self._uploaded(local, name)

    def _uploaded(self, local: Path, name: str) -> str:
        """Copies a local file, whatever was there; the version of what was written."""
        size = local.stat().st_size
        with self._errors("write", name):
            about = self._client.call(
                "put",
                _key(name),
                local,
                use_multipart=size > _ONE_REQUEST,
                chunk_size=_PART,
                max_concurrency=_PARTS_AT_ONCE,
                long=size > _SMALL,
            )
        return str(about["e_tag"] or about["version"])

    def decides(self, size: int) -> bool:
        return size <= _MOST_IN_ONE_REQUEST

    def create_from(self, local: Path, name: str) -> bool:
        if not self.decides(local.stat().st_size):
            return self._in_parts(local, name, None)
        with _mapped(local) as data:
            return self._create(name, data, lambda: self._is_same(local, name))

    def replace_from(self, local: Path, name: str, version: str) -> bool:
        if not self.decides(local.stat().st_size):
            return self._in_parts(local, name, version)
        with _mapped(local) as data:
            return self._replace(name, data, version, lambda: self._is_same(local, name))

    def _in_parts(self, local: Path, name: str, version: str | None) -> bool:
        """Writes a file that is too large for a condition: looks before that the object has this version (None: that
        there is none), and after that nobody else has written it meanwhile."""
        if self.version(name) == version and self._uploaded(local, name) == self.version(name):
            return True
        try:
            return self._is_same(local, name)
        except FileNotFoundError:
            return False

    def list(self, prefix: str = "") -> Listing:
        return [(file.name, file.size) for file in self.files(prefix)]

    def files(self, prefix: str = "") -> Files:
        with self._errors("list", prefix):
            found = self._client.call("list", _key(prefix) or None)
        return sorted(
            StoredFile(about["path"], about["size"], _version(about), about["last_modified"].timestamp())
            for about in found
        )

    def top(self) -> Names:
        with self._errors("list", ""):
            found = self._client.call("list_with_delimiter")
        paths = [*found["common_prefixes"], *(about["path"] for about in found["objects"])]
        return sorted(path.rstrip("/") for path in paths)

    def exists(self, name: str) -> bool:
        return self.version(name) is not None

    def version(self, name: str) -> str | None:
        with self._errors("look for", name):
            try:
                return _version(self._client.call("head", _key(name)))
            except FileNotFoundError:
                return None

    def delete(self, name: str) -> None:
        with self._errors("remove", name):
            try:
                self._client.call("delete", _key(name))
            except FileNotFoundError:
                return

    def delete_many(self, names: Sequence[str]) -> None:
        if names:
            with self._errors("remove", names[0]), suppress(FileNotFoundError):
                self._client.call("delete", [_key(name) for name in names])

    def local_path(self, name: str) -> Path | None:
        return None

    def open_input(self, name: str) -> Any:
        with self._errors("open", name):
            size = self._client.call("head", _key(name))["size"]
        return pa.PythonFile(_Reader(lambda begin, length: self._range(name, begin, length), size), mode="r")

    def sweep(self) -> int:
        return 0  # an object that was not finished was never there

    def require_conditions(self) -> None:
        # Stays, so that a command killed here leaves nothing, and several may look at a time.
        kept = self.create(_PROBE, b"1") and not self.create(_PROBE, b"2")
        kept = kept and not self.replace(_PROBE, b"3", '"00000000000000000000000000000000"')
        if not kept or self.read(_PROBE) != b"1":
            self.delete(_PROBE)
            raise UserError(
                f"{self.uri}: this object store overwrites what it is asked to create (it ignores If-None-Match "
                "or If-Match), so that two builds could destroy each other's work; allowed: a store that keeps "
                "these conditions, as AWS, GCS, Azure, R2 and MinIO do"
            )

    def _create(self, name: str, data: Any, is_mine: Callable[[], bool]) -> bool:
        for _ in range(_ATTEMPTS):
            with self._errors("write", name):
                try:
                    self._client.call("put", _key(name), data, mode="create", long=len(data) > _SMALL)
                    return True
                except (AlreadyExistsError, PreconditionError):
                    pass
            try:
                return is_mine()
            except FileNotFoundError:  # removed since, or another writer's request was in the way and failed
                continue
        return False

    def _replace(self, name: str, data: Any, version: str, is_mine: Callable[[], bool]) -> bool:
        try:
            with self._errors("write", name):
                mode = {"e_tag": version}
                if self.uri.startswith("gs:"):  # its condition is the generation, which listings do not tell
                    about = self._client.call("head", _key(name))
                    if _version(about) != version:
                        return is_mine()
                    mode = {"e_tag": version, "version": about["version"]}
                try:
                    self._client.call("put", _key(name), data, mode=mode, long=len(data) > _SMALL)
                    return True
                except (AlreadyExistsError, PreconditionError):
                    return is_mine()
        except FileNotFoundError:
            return False

    def _is_same(self, local: Path, name: str) -> bool:
        """Whether the object holds the bytes of the local file."""
        with self.open_input(name) as file:
            if file.size() != local.stat().st_size:
                return False
            digest = hashlib.sha256()
            while block := file.read(BLOCK):
                digest.update(block)
        return digest.hexdigest() == sha256_of(local)

    def _range(self, name: str, begin: int, length: int) -> bytes:
        with self._errors("read", name):
            found: bytes = self._client.call("get_range", _key(name), start=begin, length=length)
            return found

    @contextmanager
    def _errors(self, verb: str, name: str) -> Iterator[None]:
        what = f"{verb} {self.uri}/{name}"
        with one_line_errors(what):
            try:
                yield
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
                    raise failure(what, error) from None
                raise FileNotFoundError(f"{self.uri}/{name}") from None
            except BaseError as error:
                raise failure(what, error) from error


class _Reader(io.RawIOBase):
    """An object as a file that Python reads at any place."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self._size, self._at = read, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(self._size - self._at, 0)
        length = left if size is None or size < 0 else min(size, left)
        data = self._read(self._at, length) if length else b""
        self._at += len(data)
        return data


@contextmanager
def _mapped(local: Path) -> Iterator[Any]:
    """A local file as a buffer that takes no memory of this process's own; empty ones as bytes."""
    with local.open("rb") as file:
        if not local.stat().st_size:
            yield b""
            return
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            yield mapped
        finally:
            with suppress(BufferError):  # the client still holds it, and lets it go when it is done
                mapped.close()


def _key(name: str) -> str:
    return "/".join(parts_of(name))


def _version(about: Any) -> str:
    return str(about["e_tag"] or about["version"] or f"{about['size']}-{about['last_modified'].timestamp()}")
