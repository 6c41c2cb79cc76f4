"""Whether a file is several, joined as bytes, of which ffmpeg reads only the first.

In some formats joined files are one longer file, and are read as such (MPEG-TS, Matroska, AVI: see `clock`). In others
what follows the first file is passed over without a word: nothing of it may be missed in silence.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from kinetics_pipeline.video.container import Container
from kinetics_pipeline.video.ffmpeg import Message
from kinetics_pipeline.video.packets import Packets

_BEGINNINGS = {
    "flv": re.compile(rb"FLV\x01[\x01\x04\x05]\0\0\0\x09\0\0\0\0", re.DOTALL),
    "asf": re.compile(re.escape(bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"))),
}
"""What each file of a format begins with."""
_SECOND_MOVIE = "Found duplicated MOOV Atom"


def holds_more(path: Path, container: Container, log: Sequence[Message], packets: Packets) -> bool:
    """Whether the file goes on with pictures that were not read. `log`, `packets`: of a run that read to its end."""
    if (beginning := _BEGINNINGS.get(container.format)) is not None:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return beginning.search(data, 1) is not None
    if not container.format.startswith("mov,"):
        return False
    overlapping, again = packets.passes_over_whole_groups(), any(_SECOND_MOVIE in m.text for m in log)
    if not (overlapping or again):
        return False
    if any(True for _ in _boxes(path, b"moof")):
        return overlapping  # recordings of streams repeat the `moov` before each fragment
    first, *others = _boxes(path, b"moov")
    return any(other != first for other in others)  # the same once more is a copy


def _boxes(path: Path, name: bytes) -> Iterator[bytes]:
    """The contents of the outermost boxes of this name (ISO/IEC 14496-12, 4.2)."""
    end = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        while at + 8 <= end:
            file.seek(at)
            head = file.read(16)
            size, kind = struct.unpack(">I4s", head[:8])
            if size == 1 and len(head) == 16:
                size = struct.unpack(">Q", head[8:])[0]
            if size < 8:
                return
            if kind == name:
                file.seek(at + 8)
                yield file.read(min(size, end - at) - 8)
            at += size
