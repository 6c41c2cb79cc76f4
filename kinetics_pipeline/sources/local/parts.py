"""Archives that were cut into parts: `x.tar.gz.0000`, `x.tar.part-001`, `x.zip.aa`; read as one stream of bytes."""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, cast

from kinetics_pipeline.errors import UserError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
PART = re.compile(r"(?P<whole>.+\.(?:tar(?:\.gz)?|tgz|zip))[._-]?(?:part)?[._-]?(?P<number>\d{1,6}|[a-z]{2,3})")


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive or of a part of one."""
    lower = name.lower()
    return lower.endswith(SUFFIXES) or PART.fullmatch(lower) is not None


def grouped(paths: Iterable[Path]) -> list[tuple[Path, ...]]:
    """Whole archives, each alone, and the parts of each archive in their order; files that are neither are left out.

    Raises UserError for an archive that lacks a part in the middle.
    """
    paths = list(paths)
    whole = [path for path in paths if path.name.lower().endswith(SUFFIXES)]
    parts: defaultdict[Path, dict[int, Path]] = defaultdict(dict)
    for path in paths:
        named = PART.fullmatch(path.name.lower())
        # Beside the whole archive, `x.tar.gz.1` is what wget calls a second download.
        if named is not None and path.with_name(path.name[: named.end("whole")]) not in whole:
            parts[path.with_name(path.name[: named.end("whole")])][_number(named["number"])] = path
    groups: list[tuple[Path, ...]] = [(path,) for path in whole]
    for archive, numbered in parts.items():
        first = min(numbered)
        if first > 1:
            if len(numbered) == 1:  # `x.tar.md`: no part, but a file about the archive
                continue
            raise UserError(f"archive {str(archive)!r} lacks its parts before {numbered[first].name}")
        for number in range(first, first + len(numbered)):
            if number not in numbered:
                raise UserError(f"archive {str(archive)!r} lacks its part {number} of {max(numbered)}")
        groups.append(tuple(numbered[number] for number in sorted(numbered)))
    return sorted(groups)


def open_parts(parts: Sequence[Path]) -> IO[bytes]:
    """The bytes of all parts as one stream that can be sought in. Raises OSError."""
    return parts[0].open("rb") if len(parts) == 1 else cast(IO[bytes], io.BufferedReader(_Files(parts), 1 << 16))


class PartsStream(io.RawIOBase):
    """Parts of known sizes, one after the other, as one stream that can be sought in."""

    def __init__(self, sizes: Iterable[int]) -> None:
        self._begins = [0, *accumulate(sizes)]
        self._at = 0

    def read_part(self, part: int, offset: int, buffer: Any) -> int:
        """Reads from byte `offset` of a part on into the buffer; the bytes read, 0 where no more will come."""
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._begins[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        if self._at >= self._begins[-1]:
            return 0
        part = bisect_right(self._begins, self._at) - 1
        count = self.read_part(part, self._at - self._begins[part], buffer)
        self._at += count
        return count


class _Files(PartsStream):
    """Files that are whole."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__([path.stat().st_size for path in paths])
        self._files = [path.open("rb", buffering=0) for path in paths]

    def read_part(self, part: int, offset: int, buffer: Any) -> int:
        self._files[part].seek(offset)
        return self._files[part].readinto(buffer) or 0

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


def _number(text: str) -> int:
    """`0007` -> 7, `ab` -> 1: how `split` counts."""
    if text.isdecimal():
        return int(text)
    number = 0
    for letter in text:
        number = number * 26 + ord(letter) - ord("a")
    return number
