"""The bytes of one format of a YouTube video that its clips need (`http.sections`), in bounded requests that go on
where an earlier call ended.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.base import Failure, Media
from kinetics_pipeline.sources.http.byte_allowance import NoRoom, take
from kinetics_pipeline.sources.http.mp4_index import HEAD
from kinetics_pipeline.sources.http.partial_file import Piece, pieces
from kinetics_pipeline.sources.http.sections import IndexedFile
from kinetics_pipeline.sources.http.status import from_status
from kinetics_pipeline.sources.youtube.fragments import HLS, came_whole, first, listed
from kinetics_pipeline.sources.youtube.refusals import from_extraction
from kinetics_pipeline.sources.youtube.texts import CUT, LATER, THIS_MACHINE

if TYPE_CHECKING:
    from kinetics_pipeline.sources.http.transfer import Remote
    from kinetics_pipeline.sources.http.ytdlp import Opener

WINDOW = 10 << 20
"""Bytes a media request may ask for: YouTube throttles open-ended ones (yt-dlp #17612, #15036)."""

LONGEST_WAIT = 300.0
"""Seconds for which a format is waited for that is not available yet: an advertisement comes first."""

FRAGMENTS = (*HLS, "http_dash_segments")
"""Protocols (of yt-dlp's) of files in many pieces that yt-dlp fetches itself."""


class OneFormat:
    """The bytes of one format for the clips of one video; needs the video's lock."""

    def __init__(
        self,
        opener: Opener,
        found: dict[str, Any],
        video_id: str,
        clips: Sequence[Clip],
        folder: Path,
        *,
        name: str,
        limit: int,
    ) -> None:
        """`found`: the format as yt-dlp describes it, with its video's `duration`. `name`: what the pieces call their
        source. `limit`: bytes that the whole file may have."""
        self.opener, self.found, self.video_id, self.folder = opener, found, video_id, folder
        self.name, self.limit = name, limit
        self.bytes_whole: int | None = found.get("filesize")
        left = {piece.path: piece for piece in pieces(folder, video_id, name)}
        path = folder / f"{video_id}.{_plain(found['format_id'])}.{_plain(found['ext'])}"
        aspect = found.get("stretched_ratio")
        shown_as = float(aspect) if aspect and found.get("vcodec") != "none" else None
        whole = left.get(path, Piece(path, video_id, name, aspect=shown_as))
        self.remote: Remote | None = None
        self.file = IndexedFile(self._bring, whole, clips, left, found.get("duration") or 0.0)

    @property
    def media(self) -> dict[str, Media]:
        """Files by clip_id."""
        return self.file.media

    def run(self) -> Failure | None:
        """Fills `media`; says why clips are missing."""

        def fetch() -> Failure | None:
            if self.found.get("protocol") in FRAGMENTS:
                return self._fetch_by_ytdlp()
            from kinetics_pipeline.sources.http.transfer import Changed, RangesRefused

            try:
                return self.file.run()
            except (RangesRefused, Changed):
                self.file.begin_anew()
                return self.file.fetch_whole()

        return self._attempt(fetch)

    def probe(self) -> Failure | None:
        """Fetches the first bytes alone; says why they do not come."""

        def fetch() -> Failure | None:
            if self.found.get("protocol") not in FRAGMENTS:
                self.file.begin(HEAD)
                return None
            from kinetics_pipeline.sources.http.transfer import FragmentCheck
            from kinetics_pipeline.sources.http.ytdlp import BLOCK

            with self.opener.downloading(_nothing, FragmentCheck()):
                found = listed(self.opener, self.found)
                if isinstance(found, Failure):
                    return found
                return None if self.opener.urlopen(first(found)).read(BLOCK) else Failure("network", CUT)

        return self._attempt(fetch)

    def _attempt(self, fetch: Callable[[], Failure | None]) -> Failure | None:
        """What `fetch` says, or what it raises means, once the format is available."""
        from yt_dlp.utils import YoutubeDLError

        from kinetics_pipeline.sources.http import transfer

        if self.found.get("protocol") not in ("http", "https", *FRAGMENTS):
            return Failure("no_format", "only as a stream, whose bytes cannot be bounded")
        wait = float(self.found.get("available_at") or 0.0) - time.time()
        if wait > LONGEST_WAIT:
            return Failure("no_format", LATER)
        time.sleep(max(0.0, wait))
        self.remote = transfer.Remote(
            self.found["url"],
            headers=self.found.get("http_headers") or {},
            window=WINDOW,
            limit=self.limit,
            retries=self.opener.params["retries"],
        )
        try:
            return fetch()
        except transfer.FAILURES as error:
            return transfer.failure(error, "youtube")
        except YoutubeDLError as error:
            return self._failure_of_ytdlp(error)

    def _failure_of_ytdlp(self, error: Exception) -> Failure:
        """Why yt-dlp's own download gave up: what the last request that failed had for an answer, else its words."""
        failed = self.opener.last_failure
        if failed is not None and failed.status is not None:
            return from_status(failed.status, failed.wait, "youtube")
        if failed is not None:
            return Failure("network", f"media: {failed.trouble}", unreachable=True)
        found = from_extraction(error, self.opener.warnings)
        if found.detail == THIS_MACHINE:
            if re.search(rf"errno (?:{errno.ENOSPC}|{errno.EDQUOT})\b", str(error).lower()):
                raise NoRoom from error
            return found
        return found if found.outcome == "throttled" else Failure("network", CUT)

    def _fetch_by_ytdlp(self) -> Failure | None:
        """What is not one file over HTTP (HLS fragments): yt-dlp's own download, into the `.part` of the whole. It goes
        on after the last whole fragment, and may write as little as any other download (`byte_allowance`)."""
        from kinetics_pipeline.sources.http.transfer import FragmentCheck, check_size
        from kinetics_pipeline.sources.http.ytdlp import BLOCK

        piece = replace(self.file.whole, total=None)
        piece.save()
        working = piece.path.with_name(f"{piece.path.name}.ytdlp")
        came = max((path.stat().st_size for path in working.parent.glob(f"{working.name}*")), default=0)

        def on_progress(state: dict[str, Any]) -> None:
            nonlocal came
            more = (state.get("downloaded_bytes") or 0) - came
            if more > 0:
                came += more
                self.opener.bytes_fetched += more
                check_size(came, self.limit)
                take(more)

        take(BLOCK)  # a block is written before it is reported
        with self.opener.downloading(on_progress, FragmentCheck()):
            found = listed(self.opener, self.found)
            if isinstance(found, Failure):
                return found
            done, _ = self.opener.dl(str(working), found)
        if not done or not working.exists():
            return Failure("network", CUT)
        if not came_whole(working, found):
            working.unlink()
            return Failure("network", CUT)
        piece = replace(piece, total=working.stat().st_size)
        piece.save()
        working.replace(piece.part)
        piece.commit()
        self.file.whole = piece
        self.file.hold_whole()
        return None

    def _bring(self, piece: Piece, until: int | None) -> Piece:
        from kinetics_pipeline.sources.http.transfer import fetch

        assert self.remote is not None
        piece = fetch(self.opener, self.remote, piece, until)
        if piece.stop is None and piece.total is not None:
            self.bytes_whole = piece.total
        return piece


def _nothing(_: dict[str, Any]) -> None:
    """Nobody wants to know the progress."""


def _plain(text: str) -> str:
    """A format's id or extension as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9-]", "_", str(text))[:40] or "_"
