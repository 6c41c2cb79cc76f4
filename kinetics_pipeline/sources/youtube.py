"""YouTube, through yt-dlp's own extractor: one extraction for all clips of a video, and of the file only what they
need, where its index says which bytes that is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.base import Download, Failure, Media
from kinetics_pipeline.sources.options import SourceOptions
from kinetics_pipeline.sources.pieces import MARGIN, Piece, at_hand, locked, pieces
from kinetics_pipeline.sources.refusals import from_extraction, from_status
from kinetics_pipeline.sources.sections import HEAD, Index, Span, read_index, spans

if TYPE_CHECKING:
    from kinetics_pipeline.sources.opener import Opener
    from kinetics_pipeline.sources.transfer import Remote

WINDOW = 10 << 20
"""Bytes a media request may ask for: YouTube throttles open-ended ones (yt-dlp #17612, #15036)."""
WORTHWHILE = 0.9
"""Sections that need more than this share of the file are fetched as the file."""


@dataclass(frozen=True)
class YouTube:
    """Videos by their YouTube id. Each `download` makes at most one extraction, so that a grant of the rate is one."""

    options: SourceOptions = field(default_factory=SourceOptions)
    name: ClassVar[str] = "youtube"

    def download(self, video_id: str, clips: Sequence[Clip], folder: Path) -> Download:
        from kinetics_pipeline.sources.opener import shared_opener

        if not re.fullmatch(r"[A-Za-z0-9_-]{11}", video_id):
            return Download(failure=Failure("not_found", "not a YouTube id"))
        media: dict[str, Media] = {}
        try:
            with locked(folder, video_id):
                media = at_hand(folder, video_id, self.name, clips)
                missing = [clip for clip in clips if clip.clip_id not in media]
                if not missing:
                    return Download(media)
                opener = shared_opener(self.options)
                found = self._extract(opener, video_id)
                if isinstance(found, Failure):
                    return Download(media, found, opener.requests, opener.bytes_fetched)
                task = _Fetch(opener, found, video_id, missing, folder, self.options)
                failure = task.run()
                return Download(
                    {**media, **task.media}, failure, opener.requests, opener.bytes_fetched, task.bytes_whole
                )
        except TimeoutError as error:
            return Download(media, Failure("network", str(error)))

    def _extract(self, opener: Opener, video_id: str) -> dict[str, Any] | Failure:
        """The one format to fetch, as yt-dlp describes it with its video (`duration`, ...)."""
        from yt_dlp.utils import YoutubeDLError

        try:
            info = opener.extract_info(f"https://www.youtube.com/watch?v={video_id}", download=False)
        except YoutubeDLError as error:
            return from_extraction(error, opener.warnings)
        if info.get("live_status") in ("is_live", "is_upcoming", "post_live"):
            return Failure("no_format", "a live stream that has not ended")
        refused = self._needs_leave(info)
        if refused is not None:
            return refused
        parts = info.get("requested_formats") or [info]
        video = next((part for part in parts if part.get("vcodec") != "none"), parts[0])
        return {**info, **video}

    def _needs_leave(self, info: dict[str, Any]) -> Failure | None:
        """With cookies a video may open that not everyone may see; it stays closed unless allowed by name."""
        if self.options.cookies is None:
            return None
        kinds = {"private": "private", "subscriber_only": "members_only", "premium_only": "members_only"}
        kind = kinds.get(info.get("availability") or "")
        if kind is None and (info.get("age_limit") or 0) >= 18:
            kind = "age_restricted"
        if kind is None or kind in self.options.allow_access:
            return None
        return Failure(kind, f"the cookies would open it; --allow-access {kind} is not given")  # type: ignore[arg-type]


class _Fetch:
    """The bytes of one format for the clips of one video."""

    def __init__(
        self,
        opener: Opener,
        found: dict[str, Any],
        video_id: str,
        clips: Sequence[Clip],
        folder: Path,
        options: SourceOptions,
    ) -> None:
        self.opener, self.found, self.video_id, self.clips, self.folder = opener, found, video_id, clips, folder
        self.limit = options.max_filesize
        self.media: dict[str, Media] = {}
        self.bytes_whole: int | None = found.get("filesize")
        left = {piece.path: piece for piece in pieces(folder, video_id, YouTube.name)}
        path = folder / f"{video_id}.{_plain(found['format_id'])}.{_plain(found['ext'])}"
        self.whole = left.get(path, Piece(path, video_id, YouTube.name))
        self.left = left

    def run(self) -> Failure | None:
        """Fills `media`; says why clips are missing."""
        from yt_dlp.networking.exceptions import RequestError
        from yt_dlp.utils import YoutubeDLError

        from kinetics_pipeline.sources import transfer

        remote = transfer.Remote(
            self.found["url"],
            headers=self.found.get("http_headers") or {},
            window=WINDOW,
            limit=self.limit,
            retries=self.opener.params["retries"],
        )
        try:
            if self.found.get("protocol") not in ("http", "https"):
                return self._fetch_by_ytdlp()
            try:
                return self._fetch(remote)
            except (transfer.RangesRefused, transfer.Changed):
                self._discard()
                return self._fetch_whole(remote)
        except transfer.Refused as refused:
            return from_status(refused.status, refused.wait, "youtube")
        except transfer.NotMedia:
            return Failure("network", "the media server sent a web page instead of a video")
        except transfer.TooLarge as error:
            return Failure("no_format", str(error))
        except transfer.Broken as error:
            return Failure("network", f"media: {error}")
        except RequestError as error:
            return Failure("network", f"media: the request failed ({type(error).__name__})")
        except YoutubeDLError as error:
            return from_extraction(error, self.opener.warnings)

    def _fetch(self, remote: Remote) -> Failure | None:
        intervals = [
            (max(0.0, clip.time_start - MARGIN), clip.time_end + MARGIN)
            for clip in self.clips
            if clip.time_start is not None and clip.time_end is not None
        ]
        if len(intervals) < len(self.clips):
            return self._fetch_whole(remote)
        index = self._index(remote)
        if index is None:
            return self._fetch_whole(remote)
        wanted = spans(index, intervals)
        total = self.whole.total or index.stop
        needed = sum(index.segments[span.last].stop - index.segments[span.first].first for span in wanted)
        if index.head + needed > WORTHWHILE * total:
            return self._fetch_whole(remote)
        return self._fetch_sections(remote, index, wanted)

    def _index(self, remote: Remote) -> Index | None:
        """The file's index, from the bytes at hand or the first request; None where none fits the file."""
        until = HEAD
        while True:
            self.whole = self._bring(remote, self.whole, until)
            if self.whole.is_whole:
                return None
            found = read_index(self.whole.part.read_bytes()[: max(until, HEAD)])
            if not isinstance(found, int):
                break
            if found <= until:
                return None
            until = found
        if found is None:
            return None
        # An index of the first fragment only (ffmpeg's default) is none of the file.
        covers = found.stop == self.whole.total or abs(found.duration - (self.found.get("duration") or 0)) <= 1.5
        return found if covers and found.stop <= (self.whole.total or found.stop) else None

    def _fetch_sections(self, remote: Remote, index: Index, wanted: Sequence[Span]) -> Failure | None:
        head = self.whole.part.read_bytes()[: index.head]
        for span in wanted:
            piece = self._section(index, span)
            if piece.have < len(head):
                piece.save()
                piece.part.write_bytes(head)
            piece = self._bring(remote, piece)
            for clip in self.clips:
                if piece.holds(clip):
                    self.media[clip.clip_id] = piece.media()
        if all(clip.clip_id in self.media for clip in self.clips):
            return None
        return Failure("too_short", f"the video lasts {index.duration:g} s")

    def _section(self, index: Index, span: Span) -> Piece:
        first, last = index.segments[span.first], index.segments[span.last]
        path = self.whole.path.with_suffix(f".{span.first:05d}-{span.last:05d}{self.whole.path.suffix}")
        piece = Piece(
            path,
            self.video_id,
            YouTube.name,
            begins=0.0 if span.first == 0 else first.begins,
            ends=last.ends,
            duration=index.duration,
            shift=first.first - index.head,
            stop=last.stop,
            total=self.whole.total,
            validator=self.whole.validator,
        )
        left = self.left.get(path)
        if left is not None and left != piece:
            left.discard()  # of another version of the file
        return piece

    def _fetch_whole(self, remote: Remote) -> Failure | None:
        self.whole = self._bring(remote, self.whole)
        self.media = {clip.clip_id: self.whole.media() for clip in self.clips}
        return None

    def _fetch_by_ytdlp(self) -> Failure | None:
        """What is not one file over HTTP (HLS fragments): yt-dlp's own download, into the `.part` of the whole."""
        piece = replace(self.whole, total=None)
        piece.save()
        working = piece.path.with_name(f"{piece.path.name}.ytdlp")
        done, _ = self.opener.dl(str(working), self.found)
        if not done or not working.exists():
            return Failure("network", "media: the fragments could not be fetched")
        piece = replace(piece, total=working.stat().st_size)
        piece.save()
        working.replace(piece.part)
        piece.commit()
        self.whole = piece
        self.media = {clip.clip_id: piece.media() for clip in self.clips}
        return None

    def _bring(self, remote: Remote, piece: Piece, until: int | None = None) -> Piece:
        from kinetics_pipeline.sources.transfer import fetch

        piece = fetch(self.opener, remote, piece, until)
        if piece.stop is None and piece.total is not None:
            self.bytes_whole = piece.total
        return piece

    def _discard(self) -> None:
        """Nothing that is there of this format can be gone on with."""
        for piece in pieces(self.folder, self.video_id, YouTube.name):
            if piece.path.name.startswith(self.whole.path.stem + "."):
                piece.discard()
        self.media = {}
        self.whole = replace(self.whole, total=None, validator=None)


def _plain(text: str) -> str:
    """A format's id or extension as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9-]", "_", str(text))[:40] or "_"
