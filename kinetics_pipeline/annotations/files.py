"""Annotation files as text: from a path or an http(s) URL, plain, gzipped, or in the zip or tar they are published in.

Nothing is ever unpacked to disk, and what is read is bounded (`MAX_BYTES`), so a hostile archive costs memory at most
up to the bound.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import re
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol
from urllib.parse import unquote, urlsplit

import requests

from kinetics_pipeline.errors import UserError

Format = Literal["csv", "json"]

FORMATS: dict[str, Format] = {".csv": "csv", ".txt": "csv", ".json": "json"}
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
ALLOWED = ".csv, .txt or .json, plain, .gz, or inside a .zip, .tar, .tar.gz or .tgz"
SPLIT_LIST = re.compile(r"(?:train|test)list\d\d\.txt|classInd\.txt|.+_test_split[123]\.txt")
"""Files of UCF-101's and HMDB-51's lists of splits, as distributed."""
MAX_BYTES = 1 << 30
"""Of one file and of all that is unpacked from it; the largest published, Kinetics-700's train.json, has 0.15 GB."""
CONNECT_SECONDS, READ_SECONDS, DOWNLOAD_SECONDS = 10.0, 30.0, 900.0

_UNREADABLE = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
    NotImplementedError,  # zipfile: a compression it does not know
    RuntimeError,  # zipfile: an encrypted member
)


@dataclass(frozen=True)
class Document:
    """The text of one annotation file."""

    name: str
    """The file's name; of a member, the archive's name, a slash, and the member's."""
    format: Format
    text: str


@dataclass(frozen=True)
class Opened:
    """What a path or URL held."""

    name: str
    """Last part of the path or URL: no folder, account or query of the user's goes further than this."""
    sha256: str
    """Of the bytes as given, so that `sha256sum` tells the same."""
    documents: tuple[Document, ...]


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def open_annotations(location: str | Path) -> Opened:
    """Reads a file or downloads an http(s) URL. Raises UserError (one line) for anything that cannot be read."""
    where = str(location)
    if re.match(r"https?://", where, re.IGNORECASE):
        name, data = _download(where)
    elif "://" in where:
        raise UserError(f"annotations {_shown(where)}: only paths and http(s) URLs can be read")
    else:
        name, data = Path(where).name, _read_file(Path(where))
    if not data:
        raise UserError(f"annotation file {name} is empty")
    documents = tuple(_documents(_printable(name), data))
    return Opened(name=_printable(name), sha256=hashlib.sha256(data).hexdigest(), documents=documents)


def read_text(path: Path, what: str) -> str:
    """A small UTF-8 file, `what` it is in an error. Raises UserError."""
    return _decoded(_read_file(path, what), path.name, what)


def _read_file(path: Path, what: str = "annotation file") -> bytes:
    if path.is_dir():
        raise UserError(f"{what} {path} is a folder; give a file")
    try:
        with path.open("rb") as stream:
            return _bounded(stream, str(path))
    except OSError as error:
        raise UserError(f"{what} {path} cannot be read: {error.strerror or error}") from None


def _download(url: str) -> tuple[str, bytes]:
    """The file name in the URL, and its bytes. No message has the URL's query or account, which may be secrets."""
    shown = _shown(url)
    deadline = time.monotonic() + DOWNLOAD_SECONDS
    data = bytearray()
    try:
        with requests.get(
            url, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS), headers={"Accept-Encoding": "identity"}
        ) as response:
            if response.status_code != 200:
                raise UserError(f"annotations {shown}: the server answered {response.status_code} {response.reason}")
            for piece in response.iter_content(1 << 16):
                data += piece
                if len(data) > MAX_BYTES:
                    raise UserError(f"annotations {shown}: more than {MAX_BYTES >> 20} MiB; is this the right file?")
                if time.monotonic() > deadline:
                    raise UserError(f"annotations {shown}: not finished after {DOWNLOAD_SECONDS:.0f} s")
            encoded = response.headers.get("Content-Encoding", "identity") != "identity"
    except requests.Timeout:
        raise UserError(f"annotations {shown}: no answer within {READ_SECONDS:.0f} s") from None
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        raise UserError(f"annotations {shown}: no connection, or it broke off") from None
    except (requests.RequestException, UnicodeError) as error:
        raise UserError(f"annotations {shown}: cannot be fetched ({type(error).__name__})") from None
    name = PurePosixPath(unquote(urlsplit(url).path)).name or "annotations"
    # Some servers declare a .gz file's own compression as the transfer's, and it is undone by then.
    return (name[:-3] if encoded and name.lower().endswith(".gz") else name), bytes(data)


def _shown(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(a malformed URL)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _printable(name: str) -> str:
    """A name out of an archive or a URL goes into messages."""
    return "".join(c if c.isprintable() else "?" for c in name)


def _documents(name: str, data: bytes) -> Iterator[Document]:
    lower = name.lower()
    if lower.endswith(TARS) or lower.endswith(".zip"):
        try:
            members = _zip_members(name, data) if lower.endswith(".zip") else _tar_members(name, data)
        except _UNREADABLE as error:
            raise UserError(f"annotation file {name} cannot be unpacked: {_line(error)}") from None
        if not members:
            raise UserError(f"annotation archive {name} holds no .csv or .json file")
        for member, content in members:
            yield _document(f"{name}/{_printable(member)}", content)
    else:
        yield _document(name, data)


def _document(name: str, data: bytes) -> Document:
    plain = name
    if name.lower().endswith(".gz"):
        plain = name[:-3]
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
                data = _bounded(stream, name)
        except _UNREADABLE as error:
            raise UserError(f"annotation file {name} cannot be unpacked: {_line(error)}") from None
    format_ = FORMATS.get(PurePosixPath(plain.lower()).suffix)
    if format_ is None:
        raise UserError(f"annotation file {name} is of no known kind; allowed: {ALLOWED}")
    text = _decoded(data, name, "annotation file")
    if not text.strip():
        raise UserError(f"annotation file {name} is empty")
    return Document(name, format_, text)


def _zip_members(name: str, data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        chosen = _chosen([i.filename for i in archive.infolist() if not i.is_dir()])
        members, left = [], MAX_BYTES
        for member in chosen:
            with archive.open(member) as stream:
                members.append((member, _bounded(stream, f"{name}/{member}", left)))
            left -= len(members[-1][1])
        return members


def _tar_members(name: str, data: bytes) -> list[tuple[str, bytes]]:
    """In one pass to list and one to read: a compressed tar cannot be sought cheaply, and is small."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as archive:
        by_name: dict[str, tarfile.TarInfo] = {}
        unpacked = 0
        for info in archive:
            unpacked += info.size
            if unpacked > MAX_BYTES:
                raise UserError(f"annotation archive {name} unpacks to more than {MAX_BYTES >> 20} MiB")
            if info.isreg():
                by_name[info.name] = info
        members = []
        for member in _chosen(list(by_name)):
            stream = archive.extractfile(by_name[member])
            assert stream is not None  # a regular file
            members.append((member, stream.read()))
        return members


def _chosen(names: list[str]) -> list[str]:
    """The annotation files of an archive, in order of name: .csv and .json (a .txt there is a readme), also gzipped.

    Where a folder holds `train.csv` and `train.json` the two say the same, as in Kinetics-700's archives, and the CSV
    is read. What macOS adds (`__MACOSX/`, `._train.csv`) is not an annotation file.
    """
    kinds: dict[str, dict[str, str]] = {}
    for name in sorted(names):
        path = PurePosixPath(name)
        plain = PurePosixPath(name[:-3]) if name.lower().endswith(".gz") else path
        if plain.suffix.lower() in (".csv", ".json") and not path.name.startswith(".") and "__MACOSX" not in path.parts:
            kinds.setdefault(str(plain.with_suffix("")), {}).setdefault(plain.suffix.lower(), name)
    if not kinds:
        return [name for name in sorted(names) if SPLIT_LIST.fullmatch(PurePosixPath(name).name)]
    return [kind.get(".csv") or kind[".json"] for kind in kinds.values()]


def _bounded(stream: _Readable, name: str, limit: int | None = None) -> bytes:
    limit = MAX_BYTES if limit is None else limit
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise UserError(f"annotation file {name} has more than {MAX_BYTES >> 20} MiB; is this the right file?")
    return data


def _decoded(data: bytes, name: str, what: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{what} {name} is not UTF-8 text (byte {error.start})") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
