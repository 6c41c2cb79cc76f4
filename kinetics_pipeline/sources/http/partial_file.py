"""A file on its way into the cache: `NAME` when it is whole, `NAME.part` before; `NAME.json` says what it is.

The json is written before the first byte, and the rename is the commit: what bears its own name is whole. A later
call, in whatever process, finds by the json what is there already and from which byte to go on. One lock for each
video keeps two processes (one of them perhaps about to die) out of the same `.part`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.base import Media
from kinetics_pipeline.storage.file_locks import is_at

MARGIN = 1.0
"""Seconds that a section reaches beyond its clip: the lookahead frame, and time stamps that do not begin at 0."""


@dataclass(frozen=True)
class Piece:
    """Some bytes of one remote file. `path` holds `shift`'s head bytes, then the remote bytes `[..., stop)`.

    Byte `i` of the local file is byte `i + shift` of the remote one (beyond the head that a section repeats).
    """

    path: Path
    video_id: str
    source: str
    begins: float | None = None
    """Seconds of the video that a section covers; None for the whole file."""
    ends: float | None = None
    duration: float | None = None
    """Seconds of the whole video, for a section."""
    offset: float = 0.0
    """Seconds of the video at the file's time zero."""
    clip_id: str | None = None
    """The one clip that a trimmed file holds; None where the file may serve any clip of the video."""
    shift: int = 0
    stop: int | None = None
    """Remote byte at which the piece ends (exclusive); None: the end of the file."""
    total: int | None = None
    """Bytes of the whole remote file, once a server has said it."""
    validator: str | None = None
    """A strong ETag or the Last-Modified date (RFC 9110, 13.1.5): what If-Range needs to refuse another file."""

    aspect: float | None = None
    """Width to height at which the video is to be shown, where its page says so and the file does not."""

    @property
    def part(self) -> Path:
        return self.path.with_name(self.path.name + ".part")

    @property
    def about(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    @property
    def size(self) -> int | None:
        """Bytes of the finished file; None until a server has said how long the remote file is."""
        end = self.total if self.stop is None else self.stop
        return None if end is None else end - self.shift

    @property
    def have(self) -> int:
        """Bytes that are already downloaded."""
        for path in (self.path, self.part):
            if path.exists():
                return path.stat().st_size
        return 0

    @property
    def is_whole(self) -> bool:
        return self.size is not None and self.have == self.size

    def holds(self, clip: Clip) -> bool:
        if self.clip_id is not None:
            return self.clip_id == clip.clip_id
        if self.begins is None or self.ends is None:
            return True
        if clip.time_start is None or clip.time_end is None:
            return False
        last = self.duration if self.duration is not None else clip.time_end
        return self.begins <= max(0.0, clip.time_start - MARGIN) and min(clip.time_end + MARGIN, last) <= self.ends

    def media(self) -> Media:
        return Media(self.path, self.source, offset=self.offset, duration=self.duration, aspect=self.aspect)

    def save(self) -> None:
        document = {**asdict(self), "path": self.path.name}
        write_whole(self.about, json.dumps(document).encode())

    def commit(self) -> None:
        """Gives the finished `.part` its name."""
        if self.part.exists():
            with self.part.open("rb") as file:
                os.fsync(file.fileno())
            self.part.replace(self.path)

    def discard(self) -> None:
        for path in (self.about, self.path, self.part):
            path.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that appears whole or not at all."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
    scratch.write_bytes(content)
    scratch.replace(path)


def load(about: Path) -> Piece | None:
    """The piece that a json describes; None when it is not readable as one (another version, a damaged disk)."""
    try:
        document = json.loads(about.read_bytes())
        return Piece(**{**document, "path": about.with_suffix("")})
    except (OSError, ValueError, TypeError):
        return None


def pieces(folder: Path, video_id: str, source: str) -> Iterator[Piece]:
    """What earlier calls left in `folder` of this video from this source. Pieces whose last byte is there are named."""
    for about in sorted(folder.glob(f"{video_id}.*.json")):
        piece = load(about)
        if piece is None or (piece.video_id, piece.source) != (video_id, source):
            continue
        if piece.is_whole:
            piece.commit()
        elif piece.path.exists():
            piece.discard()  # a named file of the wrong size was not made by `commit`
            continue
        yield piece


def downloaded_media(folder: Path, video_id: str, source: str, clips: Sequence[Clip]) -> dict[str, Media]:
    """Returns by clip_id the finished files that already hold what is asked."""
    finished = [piece for piece in pieces(folder, video_id, source) if piece.is_whole]
    found: dict[str, Media] = {}
    for clip in clips:
        for piece in finished:
            if piece.holds(clip):
                found[clip.clip_id] = piece.media()
                break
    return found


@contextmanager
def locked(folder: Path, video_id: str, patience: float = 60.0) -> Iterator[None]:
    """Holds the video's lock in `folder`. Raises TimeoutError when another process keeps it for `patience` seconds.

    The lock is the kernel's (flock): it goes with the process that holds it, however that ends.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{video_id}.lock"
    deadline = time.monotonic() + patience
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another process holds {path.name}") from None
                time.sleep(0.1)
                continue
            if not is_at(path, file.fileno()):
                continue  # the holder before us took the file away when it was done
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
