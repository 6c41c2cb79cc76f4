"""Videos inside archives, as public copies of Kinetics come: `.tar`, `.tar.gz`, `.zip`, also cut into parts.

What an archive is, its first bytes say, whatever it is called. A tar is read once from end to end, to find out what
lies where; the finding is kept in the cache. From a plain tar a video is then read by its offset. Gzip has no offsets,
so while it is read for the first time a point to go on from (32 KB, by `indexed_gzip`) is noted every `SPACING` bytes:
about 1/500 of the archive's size. A video is unpacked when its clip is made and for no longer, so no shard has to
follow the order of the archives, and disk is bounded by the number of cores.

The names inside an archive are anyone's text: they are compared, and never become a path.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import posixpath
import re
import tarfile
import threading
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, ClassVar

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.file_names import is_passed_over
from kinetics_pipeline.records import Clip
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.sources.base import Container, Inside, Media
from kinetics_pipeline.sources.local import zips
from kinetics_pipeline.sources.local.names import VideoNames, require_apart
from kinetics_pipeline.sources.local.parts import PART, grouped, is_archive, open_parts
from kinetics_pipeline.storage.cache import make_private
from kinetics_pipeline.storage.local import new_file

log = logging.getLogger(__name__)

SPACING = 16 << 20
"""Bytes between two points of a gzip file: on average half as many are unpacked to come to a video, in some 30 ms."""
READERS = 4
BLOCK = 1 << 20
DAMAGE = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)
"""What a damaged archive raises; `indexed_gzip`'s ZranError is an OSError."""
FORMAT = 3
"""The version of the notes that the cache keeps of an archive."""
MOST_LINKS = 16
"""A link may lead to a link, but not for ever."""


@dataclass(frozen=True)
class Archive:
    """What one archive holds."""

    parts: tuple[Path, ...]
    """Its file, or the files that it was cut into."""
    size: int
    members: tuple[tuple[str, int, int], ...]
    """(name, offset as in `Inside`, bytes); two may have one name."""
    damage: str
    """How its end was lost; empty when it was read to the end."""
    container: Container
    points: Path | None
    """The file of points from which a gzip file can be unpacked; None for other archives and for a damaged one."""
    node: str | None = None
    """The machine where it lies; None where every machine sees it."""

    @property
    def path(self) -> Path:
        return self.parts[0]


class ArchiveSource:
    """The videos in some archives of which is known what they hold; a `LocalSource`. How videos must be named says
    `VideoNames`."""

    on_network: ClassVar[bool] = False

    def __init__(self, name: str, archives: Sequence[Archive]) -> None:
        """`name`: what records call this source."""
        self.name, self.archives = name, list(archives)
        self._where: defaultdict[str, list[tuple[Archive, int, int]]] = defaultdict(list)
        for archive in self.archives:
            for member, offset, size in archive.members:
                self._where[member].append((archive, offset, size))
        self._names = VideoNames(self._where)

    def __len__(self) -> int:
        """The number of videos."""
        return sum(map(len, self._where.values()))

    def candidates(self, clip: Clip) -> list[Media]:
        """The files that may hold the clip: trimmed ones before whole ones, of each kind those of the last archive
        first (replacements for corrupted ones are published later), and the next where one does not decode.

        Raises UserError for two files of one archive that only their suffixes or Unicode forms tell apart.
        """
        found = [(trimmed, name, place) for name, trimmed in self._names.find(clip) for place in self._where[name]]
        for archive in dict.fromkeys(place[0].path for _, _, place in found):
            require_apart([name for _, name, place in found if place[0].path == archive], archive.name)
        found.sort(key=lambda one: (one[0], _precedence(one[2])), reverse=True)
        return [
            Media(
                archive.path,
                self.name,
                offset=(clip.time_start or 0.0) if trimmed else 0.0,
                inside=Inside(name, offset, size, archive.container, archive.points, archive.parts[1:], archive.node),
            )
            for trimmed, name, (archive, offset, size) in found
        ]

    def repeated(self) -> list[str]:
        """Names that more than one video has."""
        return sorted(name for name, places in self._where.items() if len(places) > 1)

    def orphans(self, clips: Iterable[Clip]) -> list[str]:
        """Names of videos that none of the clips asks for."""
        asked = {name for clip in clips for name, _ in self._names.find(clip)}
        return sorted(self._where.keys() - asked)


class TarSource(ArchiveSource):
    """The videos in archives on this machine, each read once to find out what it holds."""

    def __init__(
        self, paths: Sequence[Path], cache: Path, say: Callable[[str], None] = log.warning, name: str | None = None
    ) -> None:
        """Reads the archives that the `cache` does not know. `name`: by default that of the file or folder.

        Raises UserError for a file that is none, and where the cache cannot be written.
        """
        own = paths[0].name if len(paths) == 1 else f"{Path(os.path.commonpath(paths)).name or 'tars'} (tars)"
        known = [(parts, cache / _key(parts)) for parts in grouped(paths)]
        new = [parts for parts, key in known if not key.with_suffix(".json").exists()]
        if new:
            total = sum(path.stat().st_size for parts in new for path in parts)
            kind = "archives" if any("zip" in parts[0].name.lower() for parts in new) else "tar files"
            say(f"reading {len(new)} {kind} once, {total / 1e9:.1f} GB, to find out what lies where")
        with ThreadPoolExecutor(READERS) as readers:
            archives = list(readers.map(lambda one: known_archive(*one), known))
        about = [key.with_suffix(suffix) for _, key in known for suffix in (".json", ".points")]
        self.notes = sum(path.stat().st_size for path in about if path.exists())
        """Bytes of the cache that say what lies where."""
        for archive in archives:
            if archive.damage:
                before = counted(len(archive.members), "video")
                say(f"{archive.path.name} is damaged: {archive.damage}; {before} before that")
        super().__init__(name or own, archives)


def _precedence(place: tuple[Archive, int, int]) -> tuple[bool, str, int]:
    archive, offset, _ = place
    return "replacement" in archive.path.name.lower(), archive.path.name, offset


def tar_files(text: str) -> list[Path]:
    """The archives, and parts of archives, that a `--source` names: one, a pattern, or a folder of them; [] when it
    names none. A part stands for all parts of its archive."""
    import glob

    path = Path(text).expanduser()
    if path.is_dir():
        found = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    elif path.is_file():
        part = PART.fullmatch(path.name.lower())
        whole = path.name[: part.end("whole")] if part is not None else None
        found = [path] if whole is None else [one for one in path.parent.iterdir() if one.name.startswith(whole)]
    else:
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]
    return sorted(one.resolve() for one in found if is_archive(one.name) and one.is_file())


def unpack(media: Media, folder: Path, points: Path | None) -> Path:
    """The bytes of a video inside an archive as a file in `folder`; fewer where the archive is damaged, which decoding
    finds out. `points`: where the archive's points lie on this machine. Raises OSError."""
    inside = media.inside
    assert inside is not None
    base = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{media.path.name}.{PurePosixPath(inside.name).name}")[-200:].lstrip(".")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / base
    with path.open("wb") as out:
        try:
            for block in _content(media, inside, points):
                out.write(block)
        except DAMAGE:
            if inside.container == "zip":  # whose bytes are not what was packed: none of them is to be trusted
                out.truncate(0)
        except OSError as error:
            if not _is_damage(error):
                raise
    return path


def _content(media: Media, inside: Inside, points: Path | None) -> Iterator[bytes]:
    with closing(_opened((media.path, *inside.more_parts), inside.container, points)) as archive:
        if inside.container == "zip":
            yield from zips.unpack(archive, inside.offset, inside.size)
            return
        archive.seek(inside.offset)
        left = inside.size
        while left and (block := archive.read(min(BLOCK, left))):
            yield block
            left -= len(block)


def _opened(parts: Sequence[Path], container: Container, points: Path | None) -> Any:
    """The unpacked tar, or the zip file as it is."""
    stream = open_parts(parts)
    if container != "gzip":
        return stream
    if points is None:
        return gzip.GzipFile(fileobj=stream)
    from indexed_gzip import IndexedGzipFile

    return IndexedGzipFile(fileobj=stream, index_file=str(points))


def _is_damage(error: OSError) -> bool:
    """Whether `indexed_gzip` speaks of the file's content, and not the system of the disk."""
    return error.errno is None


def _key(parts: Sequence[Path]) -> str:
    """Stands for the files as they are: their places, sizes and dates."""
    named = []
    for path in parts:
        try:
            status = path.stat()
            path.open("rb").close()
        except OSError as error:
            raise UserError(f"source {str(path)!r} cannot be read: {error.strerror}") from None
        named.append(f"{path}\0{status.st_size}\0{status.st_mtime_ns}")
    return hashlib.sha256("\0".join(named).encode()).hexdigest()[:24]


def known_archive(
    parts: tuple[Path, ...], key: Path, opened: Callable[[], IO[bytes]] | None = None, size: int | None = None
) -> Archive:
    """What the cache knows of an archive, in files that begin with `key`, else what reading it whole finds. `opened`
    and `size`: its bytes and their number, where its files are still on their way. Raises UserError."""
    about, points = key.with_suffix(".json"), key.with_suffix(".points")
    try:
        found = json.loads(about.read_bytes())
        if found["format"] == FORMAT and (points.exists() or not found["points"]):
            members = tuple((name, offset, size) for name, offset, size in found["members"])
            kept = points if found["points"] else None
            return Archive(parts, found["size"], members, found["damage"], found["container"], kept)
    except (OSError, ValueError, KeyError, TypeError):  # what cannot be read may not be writable either: said below
        pass
    try:
        make_private(key.parent)
        whole = sum(path.stat().st_size for path in parts) if size is None else size
        archive = _read(parts, points, opened or partial(open_parts, parts), whole)
        document = {
            "format": FORMAT,
            "size": archive.size,
            "members": archive.members,
            "damage": archive.damage,
            "container": archive.container,
            "points": archive.points is not None,
        }
        with new_file(about) as out:
            out.write(json.dumps(document).encode())
    except OSError as error:
        raise UserError(
            f"source {parts[0].name} cannot be read, or the cache {key.parent.parent} not keep what lies where in it: "
            f"{error.strerror or error}"
        ) from None
    return archive


def _read(parts: tuple[Path, ...], points: Path, opened: Callable[[], IO[bytes]], size: int) -> Archive:
    """Reads an archive from end to end; notes points of a gzip file in `points`."""
    with opened() as file:
        magic = file.read(4)
        file.seek(0)
        if magic.startswith(b"PK"):
            members, damage = zips.members(file, str(parts[0]))
            named = tuple((name, offset, size) for name, offset, size in members if not _passed_over(name))
            return Archive(parts, size, named, damage, "zip", None)
        if not magic.startswith(b"\x1f\x8b"):
            return Archive(parts, size, *_members(file, parts[0]), "tar", None)
    from indexed_gzip import IndexedGzipFile

    try:
        with opened() as file, IndexedGzipFile(fileobj=file, spacing=SPACING) as stream:
            found, damage = _members(stream, parts[0])
            if not damage:
                while stream.read(BLOCK):  # to its end, where the CRC is
                    pass
                scratch = points.with_name(f".{points.name}.{os.getpid()}.{threading.get_ident()}.tmp")
                stream.export_index(str(scratch))
                scratch.replace(points)
                return Archive(parts, size, found, damage, "gzip", points)
    except OSError as error:
        if not _is_damage(error):
            raise
    # Damaged: Python's own reader gives what comes before, video by video, from the start each time.
    with opened() as file, gzip.GzipFile(fileobj=file) as stream:
        found, damage = _members(stream, parts[0])
        return Archive(parts, size, found, damage or _wrong_content(stream), "gzip", None)


def _wrong_content(stream: gzip.GzipFile) -> str:
    """How the rest of a gzip file, up to its CRC, is damaged; empty where it is not."""
    try:
        while stream.read(BLOCK):
            pass
    except DAMAGE as error:
        return " ".join(str(error).split())
    return ""


def _members(stream: Any, path: Path) -> tuple[tuple[tuple[str, int, int], ...], str]:
    """The files in an open tar, and how its end was lost if it was. Raises UserError for what is not a tar."""
    files: list[tuple[str, int, int]] = []
    links: list[tuple[str, str]] = []
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            while (one := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every header it has read
                name = one.name.removeprefix("./")
                if one.isreg() and not one.issparse():
                    files.append((name, one.offset_data, one.size))
                elif one.islnk():
                    links.append((name, posixpath.normpath(one.linkname)))
                elif one.issym():
                    links.append((name, posixpath.normpath(posixpath.join(posixpath.dirname(name), one.linkname))))
            stopped = tar.offset
        if files and _ends_early(stream, files[-1]):
            return _videos(files, links), f"it ends inside {_printable(files[-1][0])}"
        if not _is_end(stream, stopped):
            after = f" after {_printable(files[-1][0])}" if files else ""
            return _videos(files, links), f"its headers break off{after}"
    except DAMAGE as error:
        if not files and isinstance(error, tarfile.TarError):
            raise UserError(f"source {str(path)!r} is not a tar file ({error})") from None
        return _videos(files, links), " ".join(str(error).split()) or type(error).__name__
    return _videos(files, links), ""


def _videos(files: list[tuple[str, int, int]], links: list[tuple[str, str]]) -> tuple[tuple[str, int, int], ...]:
    """The files that are not passed over, a link being the file that it leads to. What a link out of the archive names
    is not there."""
    place = {posixpath.normpath(name): (offset, size) for name, offset, size in files}
    target = {posixpath.normpath(name): linked for name, linked in links}
    linked = []
    for name, leads_to in links:
        for _ in range(MOST_LINKS):
            if leads_to in place:
                linked.append((name, *place[leads_to]))
                break
            leads_to = target.get(leads_to, "")
    return tuple(one for one in [*files, *linked] if not _passed_over(one[0]))


def _passed_over(name: str) -> bool:
    return is_passed_over(PurePosixPath(name).name)


def _ends_early(stream: Any, last: tuple[str, int, int]) -> bool:
    _, offset, size = last
    if size == 0:
        return False
    stream.seek(offset + size - 1)
    return not stream.read(1)


def _is_end(stream: Any, offset: int) -> bool:
    """Whether nothing or a block of zeros lies where no header could be read: tarfile takes anything for the end."""
    stream.seek(offset)
    return not any(stream.read(tarfile.BLOCKSIZE))


def _printable(name: str) -> str:
    return re.sub(r"[^ -~]", "?", name)[:200]
