"""The bytes of one remote file that the clips of one video need: the sections that hold them, where the file's index
says which bytes that is, else the whole file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.base import Failure, Media
from kinetics_pipeline.sources.http.mp4_index import HEAD, Index, Span, read_index, spans
from kinetics_pipeline.sources.http.partial_file import MARGIN, Piece, pieces

WORTHWHILE = 0.9
"""Sections that need more than this share of the file are fetched as the file."""
MOST_AFTER = 1 << 20
"""Bytes that may follow what the index names: some 20 for each of its segments."""

Bring = Callable[[Piece, int | None], Piece]
"""Brings a piece to its end, or to at least so many bytes, and returns what is now known of it."""


class IndexedFile:
    """One remote file; needs the video's lock. Whatever `bring` raises, `run` raises."""

    def __init__(
        self,
        bring: Bring,
        whole: Piece,
        clips: Sequence[Clip],
        left: Mapping[Path, Piece],
        duration: float | None = None,
    ) -> None:
        """`whole`: the whole file as a piece. `left`: what earlier calls left of the video, by path. `duration`:
        seconds of the video, where the server says them."""
        self.bring, self.whole, self.clips, self.left, self.duration = bring, whole, clips, left, duration
        self.media: dict[str, Media] = {}
        """Files by clip_id."""

    def run(self) -> Failure | None:
        """Fills `media`; says why clips are missing."""
        intervals = [
            (max(0.0, clip.time_start - MARGIN), clip.time_end + MARGIN)
            for clip in self.clips
            if clip.time_start is not None and clip.time_end is not None
        ]
        if len(intervals) < len(self.clips):
            return self.fetch_whole()
        index = self._index()
        if index is None:
            return self.fetch_whole()
        wanted = spans(index, intervals)
        total = self.whole.total or index.stop
        needed = sum(index.segments[span.last].stop - index.segments[span.first].first for span in wanted)
        if index.head + needed > WORTHWHILE * total:
            return self.fetch_whole()
        return self._fetch_sections(index, wanted)

    def begin(self, until: int) -> None:
        """Brings at least the file's first `until` bytes."""
        self.whole = self.bring(self.whole, until)

    def fetch_whole(self) -> Failure | None:
        self.whole = self.bring(self.whole, None)
        self.hold_whole()
        return None

    def hold_whole(self) -> None:
        """Gives every clip the whole file, which has come."""
        self.media = {clip.clip_id: self.whole.media() for clip in self.clips}

    def begin_anew(self) -> None:
        """Forgets what came of the remote file, which is another one now, or comes whole only."""
        for piece in pieces(self.whole.path.parent, self.whole.video_id, self.whole.source):
            if piece.path.name.startswith(self.whole.path.stem + "."):
                piece.discard()
        self.media = {}
        self.whole = replace(self.whole, total=None, validator=None)

    def _index(self) -> Index | None:
        """The file's index, from the bytes at hand or the first request; None where none fits the file."""
        until = HEAD
        while True:
            self.begin(until)
            if self.whole.is_whole:
                return None
            found = read_index(_beginning(self.whole.part, max(until, HEAD)))
            if not isinstance(found, int):
                break
            if found <= until:
                return None
            until = found
        if found is None:
            return None
        return found if self._covers(found) else None

    def _covers(self, index: Index) -> bool:
        """Whether an index is one of the whole file: ffmpeg's default is one of the first fragment only."""
        total = self.whole.total or index.stop
        if index.stop == total:
            return True
        if self.duration is not None:
            return index.stop < total and abs(index.duration - self.duration) <= 1.5
        return 8 <= total - index.stop <= MOST_AFTER and self._ends_with_mfra(index.stop, total)

    def _ends_with_mfra(self, begins: int, total: int) -> bool:
        """Whether nothing but the box `mfra` (ISO/IEC 14496-12, 8.8.9) lies from byte `begins` on."""
        path = self.whole.path.with_suffix(f".end{self.whole.path.suffix}")
        piece = replace(self.whole, path=path, begins=0.0, ends=0.0, shift=begins, stop=begins + 8)  # holds no clip
        piece = self.bring(piece, None)
        size, kind = struct.unpack(">I4s", piece.path.read_bytes())
        piece.discard()
        return bool(kind == b"mfra" and size == total - begins)

    def _fetch_sections(self, index: Index, wanted: Sequence[Span]) -> Failure | None:
        head = _beginning(self.whole.part, index.head)
        for span in wanted:
            piece = self._section(index, span)
            if piece.have < len(head):
                piece.save()
                piece.part.write_bytes(head)
            piece = self.bring(piece, None)
            for clip in self.clips:
                if piece.holds(clip):
                    self.media[clip.clip_id] = piece.media()
        if all(clip.clip_id in self.media for clip in self.clips):
            return None
        return Failure("too_short", f"the video lasts {index.duration:g} s")

    def _section(self, index: Index, span: Span) -> Piece:
        first, last = index.segments[span.first], index.segments[span.last]
        path = self.whole.path.with_suffix(f".{span.first:05d}-{span.last:05d}{self.whole.path.suffix}")
        piece = replace(
            self.whole,
            path=path,
            begins=0.0 if span.first == 0 else first.begins,
            ends=last.ends,
            duration=index.duration,
            shift=first.first - index.head,
            stop=last.stop,
        )
        left = self.left.get(path)
        if left is not None and left != piece:
            left.discard()  # of another version of the file
        return piece


def _beginning(path: Path, count: int) -> bytes:
    """The first bytes of a file that may have gigabytes."""
    with path.open("rb") as file:
        return file.read(count)
