"""The log of a build: one JSON line an event, written by the driver alone, in the cache of the machine it runs on.

`{"time", "event", "clip", "video", "node", "stage", "outcome", "seconds", "bytes", ...}`; what an event has nothing to
say of is left out. The texts are those that records may hold, so no line has an account, an address or a signed URL.
Full files are packed and numbered, the newest 1; the oldest go.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from kinetics_pipeline.storage.cache import make_private

NAME = "events.jsonl"
FILE_BYTES = 64 << 20
"""Bytes of a file before it is packed, to about a tenth."""
PACKED_FILES = 20
LONGEST_LINE = 1 << 20
"""Bytes of a line that is read: others are none of ours."""


class Line(msgspec.Struct, omit_defaults=True):
    """One event. Seconds are of the stage, bytes are fetched or written ones."""

    time: str
    """UTC, ISO 8601."""
    event: str
    """`begun`, `fetched`, `processed`, `again`, `finished`, `taken_back`, `committed`, `paused`, `stalled`, `ended`."""
    clip: str = ""
    video: str = ""
    clips: Sequence[str] = ()
    """The clips that a download was for."""
    shard: str = ""
    node: str = ""
    stage: str = ""
    source: str = ""
    lane: str = ""
    outcome: str = ""
    seconds: float = 0.0
    bytes: int = 0
    requests: int = 0
    detail: str = ""
    steps: Mapping[str, float] = {}
    """Seconds by step of processing."""
    until: str = ""
    """When a lane may go on, or a clip is tried again."""


def iso(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def log_folder(cache: Path, name: str) -> Path:
    """`name`: of the build's own folder in the cache (`CacheFolders`)."""
    return cache / "log" / name


class EventLog:
    """Adds lines to the log in `folder`. What the disk refuses is left out: a log ends no build."""

    def __init__(self, folder: Path, *, file_bytes: int = FILE_BYTES, packed_files: int = PACKED_FILES) -> None:
        self.folder, self.file_bytes, self.packed_files = folder, file_bytes, packed_files
        self.lost = 0
        """Lines that could not be written."""
        self._encode = msgspec.json.Encoder().encode

    def write(self, lines: Sequence[Line]) -> None:
        """Adds the lines, and packs the file when it is full."""
        if not lines:
            return
        data = b"".join(self._encode(line) + b"\n" for line in lines)
        try:
            make_private(self.folder)
            with (self.folder / NAME).open("ab") as file:
                size = file.tell()
                file.write(data)
            if size + len(data) >= self.file_bytes:
                self._pack()
        except OSError:
            self.lost += len(lines)

    def _pack(self) -> None:
        packed = packed_files(self.folder)
        for path, number in reversed(packed):
            if number >= self.packed_files:
                path.unlink(missing_ok=True)
            else:
                path.rename(self.folder / f"{NAME}.{number + 1}.gz")
        new, full = self.folder / f"{NAME}.new", self.folder / NAME
        with gzip.open(new, "wb", compresslevel=1) as out, full.open("rb") as file:
            while block := file.read(1 << 20):
                out.write(block)
        new.rename(self.folder / f"{NAME}.1.gz")
        full.unlink()


def packed_files(folder: Path) -> list[tuple[Path, int]]:
    """The packed files with their numbers, the newest first."""
    found = []
    with suppress(OSError):
        for path in folder.glob(f"{NAME}.*.gz"):
            number = path.name.removeprefix(f"{NAME}.").removesuffix(".gz")
            if number.isascii() and number.isdigit():
                found.append((path, int(number)))
    return sorted(found, key=lambda one: one[1])


def lines_with(folder: Path, words: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The lines that have one of the words in them, oldest first. What is damaged is passed over: a line that was cut
    short, a packed file that was."""
    wanted = [word.encode() for word in words]
    plain = folder / NAME
    for path in [*(path for path, _ in reversed(packed_files(folder))), *([plain] if plain.is_file() else [])]:
        with suppress(OSError, EOFError), gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            while text := file.readline(LONGEST_LINE):
                if any(word in text for word in wanted):
                    with suppress(msgspec.DecodeError, UnicodeDecodeError):
                        line = msgspec.json.decode(text)
                        if isinstance(line, dict):
                            yield line
