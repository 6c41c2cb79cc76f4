"""Annotation files as lines of text: from a path or an http(s) URL, plain, gzipped, or in a zip or tar.

Everything is read in a stream, nothing is unpacked to disk, and what is read is bounded (`MAX_BYTES`, `MAX_LINES`,
`MAX_LINE`): a hostile file costs time and memory up to the bounds.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import lzma
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal
from urllib.parse import unquote, urlsplit

from kinetics_pipeline.annotations.download import download, shown_url
from kinetics_pipeline.annotations.published import require_known
from kinetics_pipeline.errors import UserError

Format = Literal["table", "json", "json lines"]

FORMATS: dict[str, Format] = {
    ".csv": "table",
    ".tsv": "table",
    ".txt": "table",
    ".list": "table",
    ".json": "json",
    ".jsonl": "json lines",
}
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
ALLOWED = ".csv, .tsv, .txt, .json or .jsonl, plain, .gz, or inside a .zip, .tar, .tar.gz or .tgz"
SPLIT_LIST = re.compile(r"(?:train|test)list\d\d\.txt|classInd\.txt|.+_test_split[123]\.txt")
"""Files of UCF-101's and HMDB-51's lists of splits, as distributed."""
NAMED_SPLIT = re.compile(r"(?:.*[^a-z])?(?:train|val|valid|validate|validation|test)(?:[^a-z].*)?", re.IGNORECASE)
"""Names of .txt files in an archive that are annotations: they name a split, a readme does not."""
MAX_BYTES = 1 << 30
"""The most bytes of one file, and of all that is unpacked from it; Kinetics-700's train.json has 0.15 GB."""
MAX_LINES = 10_000_001
"""The most lines of one file; Kinetics-700 has 650,000."""
MAX_LINE = 1 << 20
"""The most characters of a line; a video's row has some hundred."""
BLOCK = 1 << 16

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
"""Byte order marks, those that begin with another one first; Python's name and the reader's for the encoding."""
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
    """One annotation file, not yet read."""

    name: str
    """The file's name; of a member, the archive's name, a slash, and the member's."""
    format: Format
    """What its suffix says."""
    opened: Callable[[], Any]
    """A context manager that gives its bytes as a stream."""

    def blocks(self) -> Generator[str, None, None]:
        """Its text, piece by piece; every line ends with a line feed. Raises UserError, also in the middle, for what is
        damaged, too large, or no text."""
        try:
            with self.opened() as stream:
                yield from _blocks(stream, self.name, "annotation file")
        except _UNREADABLE as error:
            raise UserError(f"annotation file {self.name} cannot be unpacked: {_one_line(error)}") from None

    def lines(self) -> Iterator[str]:
        """Its lines, each with its end. Raises UserError as `blocks` does."""
        return _lines(self.blocks(), self.name, "annotation file")


@dataclass(frozen=True)
class Opened:
    """What a path or URL held."""

    name: str
    """Last part of the path or URL: no folder, account or query of the user's goes further than this."""
    sha256: str
    """The hash of the bytes as given: `sha256sum` prints the same."""
    documents: tuple[Document, ...]


def open_annotations(location: str | Path) -> Opened:
    """Finds the documents of a file or http(s) URL. Raises UserError (one line) for anything that cannot be read."""
    where = str(location)
    if re.match(r"https?://", where, re.IGNORECASE):
        name, file = _download(where)
    elif "://" in where:
        raise UserError(f"annotations {shown_url(where)}: only paths and http(s) URLs can be read")
    else:
        require_known(where)
        name, file = Path(where).name, partial(_open_file, Path(where), "annotation file")
    name = _printable(name)
    with file() as stream:
        size = stream.seek(0, io.SEEK_END)
        if not size:
            raise UserError(f"annotation file {name} is empty")
        if size > MAX_BYTES:
            raise UserError(f"annotation file {where} has more than {MAX_BYTES >> 20} MiB; is this the right file?")
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Opened(name=name, sha256=digest, documents=tuple(_documents(name, file)))


def read_text(path: Path, what: str) -> str:
    """A small text file, `what` it is in an error. Raises UserError."""
    with _open_file(path, what) as stream:
        return "".join(_blocks(stream, path.name, what))


@contextmanager
def _open_file(path: Path, what: str) -> Iterator[IO[bytes]]:
    if path.is_dir():
        raise UserError(f"{what} {path} is a folder; give a file")
    try:
        stream = path.open("rb")
    except OSError as error:
        raise UserError(f"{what} {path} cannot be read: {error.strerror or error}") from None
    with stream:
        yield stream


def _download(url: str) -> tuple[str, Callable[[], Any]]:
    """The file name in the URL, and its bytes in a file that goes with the last reference to it."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - read again by every document
    answer = download(url, file)
    if answer.status != 200:
        raise UserError(f"annotations {shown_url(url)}: the server answered {answer.status} {answer.reason}")

    @contextmanager
    def opened() -> Iterator[IO[bytes]]:
        file.seek(0)
        yield file

    name = PurePosixPath(unquote(urlsplit(url).path)).name or "annotations"
    # Some servers declare a .gz file's own compression as the transfer's, and it is undone by then.
    return (name[:-3] if answer.encoded and name.lower().endswith(".gz") else name), opened


def _printable(name: str) -> str:
    """A name out of an archive or a URL goes into messages."""
    return "".join(c if c.isprintable() else "?" for c in name)


def _documents(name: str, file: Callable[[], Any]) -> Iterator[Document]:
    lower = name.lower()
    if not lower.endswith((*TARS, ".zip")):
        yield _document(name, file)
        return
    members, member = (_zip_members, _zip_member) if lower.endswith(".zip") else (_tar_members, _tar_member)
    try:
        chosen = _chosen(members(name, file))
    except _UNREADABLE as error:
        raise UserError(f"annotation file {name} cannot be unpacked: {_one_line(error)}") from None
    if not chosen:
        raise UserError(f"annotation archive {name} holds no .csv or .json file")
    for one in chosen:
        yield _document(f"{name}/{_printable(one)}", partial(member, file, one))


def _document(name: str, file: Callable[[], Any]) -> Document:
    plain = name
    if name.lower().endswith(".gz"):
        plain, file = name[:-3], partial(_gunzipped, file)
    format_ = FORMATS.get(PurePosixPath(plain.lower()).suffix)
    if format_ is None:
        raise UserError(f"annotation file {name} is of no known kind; allowed: {ALLOWED}")
    return Document(name, format_, file)


@contextmanager
def _gunzipped(file: Callable[[], Any]) -> Iterator[IO[bytes]]:
    with file() as packed, gzip.GzipFile(fileobj=packed) as stream:
        yield stream  # type: ignore[misc]  # it reads as any stream


def _zip_members(name: str, file: Callable[[], Any]) -> list[str]:
    with file() as stream, zipfile.ZipFile(stream) as archive:
        infos = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    if sum(infos[one].file_size for one in _chosen(list(infos))) > MAX_BYTES:
        raise UserError(f"annotation archive {name} unpacks to more than {MAX_BYTES >> 20} MiB")
    return list(infos)


@contextmanager
def _zip_member(file: Callable[[], Any], member: str) -> Iterator[IO[bytes]]:
    with file() as stream, zipfile.ZipFile(stream) as archive, archive.open(member) as content:
        yield content


def _tar_members(name: str, file: Callable[[], Any]) -> list[str]:
    """The whole archive is read once, to find its members and whether it is sound."""
    names, unpacked = [], 0
    with file() as stream, tarfile.open(fileobj=stream, mode="r:*") as archive:
        for info in archive:
            unpacked += info.size
            if unpacked > MAX_BYTES:
                raise UserError(f"annotation archive {name} unpacks to more than {MAX_BYTES >> 20} MiB")
            if info.isreg():
                names.append(info.name)
    return names


@contextmanager
def _tar_member(file: Callable[[], Any], member: str) -> Iterator[IO[bytes]]:
    """Opens one regular file of a tar archive."""
    with file() as stream, tarfile.open(fileobj=stream, mode="r:*") as archive:
        content = archive.extractfile(member)
        assert content is not None  # a regular file
        with content:
            yield content


def _chosen(names: Sequence[str]) -> list[str]:
    """The annotation files of an archive, in order of name: tables and JSON, also gzipped; a .txt where there is
    nothing else and its name says a split (else it is a readme).

    Where a folder holds `train.csv` and `train.json` the two say the same, as in Kinetics-700's archives, and the CSV
    is read. What macOS adds (`__MACOSX/`, `._train.csv`) is not an annotation file.
    """
    kinds: dict[str, dict[str, str]] = {}
    texts = []
    for name in sorted(names):
        path = PurePosixPath(name)
        plain = PurePosixPath(name[:-3]) if name.lower().endswith(".gz") else path
        if path.name.startswith(".") or "__MACOSX" in path.parts:
            continue
        if plain.suffix.lower() in (".csv", ".tsv", ".json", ".jsonl"):
            kinds.setdefault(str(plain.with_suffix("")), {}).setdefault(plain.suffix.lower(), name)
        elif plain.suffix.lower() == ".txt":
            texts.append((name, plain))
    if not kinds:
        lists = [name for name, plain in texts if SPLIT_LIST.fullmatch(plain.name)]
        return lists or [name for name, plain in texts if NAMED_SPLIT.fullmatch(plain.stem)]
    return [next(kind[k] for k in (".csv", ".tsv", ".json", ".jsonl") if k in kind) for kind in kinds.values()]


def _blocks(stream: Any, name: str, what: str) -> Iterator[str]:
    """A stream of bytes as text, piece by piece. Raises UserError for what is not text, or too much of it."""
    block = stream.read(BLOCK)
    encoding, called = next(((e, c) for mark, e, c in _MARKS if block.startswith(mark)), ("utf-8", "UTF-8"))
    if block.startswith(b"PK\x03\x04"):
        raise UserError(f"{what} {name} is a zip file or an Excel workbook by another name; save it as CSV")
    if encoding == "utf-8" and block.count(0) * 4 > len(block):
        raise UserError(f"{what} {name} looks like UTF-16 without a byte order mark; save it as UTF-8")
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    taken = 0
    while block:
        taken += len(block)
        if taken > MAX_BYTES:
            raise UserError(f"{what} {name} has more than {MAX_BYTES >> 20} MiB; is this the right file?")
        following = stream.read(BLOCK)
        try:
            text = decoder.decode(block, final=not following)
        except UnicodeDecodeError as error:
            at = taken + error.start - len(error.object)
            raise UserError(f"{what} {name} is not {called} text (byte {at}); save it as UTF-8") from None
        if text:
            yield text
        block = following


def _lines(blocks: Iterator[str], name: str, what: str) -> Iterator[str]:
    """The lines of a text. Raises UserError for too many of them, and for one that is too long."""
    return chain.from_iterable(_blocks_of_lines(blocks, name, what))


def _blocks_of_lines(blocks: Iterator[str], name: str, what: str) -> Iterator[list[str]]:
    number, rest = 0, ""
    for block in blocks:
        pieces = (rest + block).split("\n")
        rest = pieces.pop()
        number += len(pieces)
        if number > MAX_LINES:
            raise UserError(f"{what} {name} has more than {MAX_LINES:,} lines; is this the right file?")
        if len(rest) > MAX_LINE:
            raise UserError(f"{what} {name} has a line of more than {MAX_LINE:,} characters (line {number + 1})")
        yield [piece + "\n" for piece in pieces]
    if rest:
        yield [rest]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
