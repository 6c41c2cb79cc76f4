"""YouTube, through yt-dlp's own extractor: one extraction for all clips of a video, and of its files only what they
need (`format_download`). The pictures come alone; the sound (`sound`) is fetched where segments are kept.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote

from kinetics_pipeline.records import YOUTUBE_ID, Clip
from kinetics_pipeline.sources.base import Download, Failure, Media, is_signal
from kinetics_pipeline.sources.http.addresses import public_addresses_only, typed_endpoints
from kinetics_pipeline.sources.http.partial_file import downloaded_media, locked
from kinetics_pipeline.sources.options import SourceOptions
from kinetics_pipeline.sources.youtube import sound
from kinetics_pipeline.sources.youtube.answers import PlayerAnswers
from kinetics_pipeline.sources.youtube.format_download import OneFormat
from kinetics_pipeline.sources.youtube.refusals import from_extraction
from kinetics_pipeline.sources.youtube.texts import LIVE

if TYPE_CHECKING:
    from kinetics_pipeline.sources.http.ytdlp import Opener


@dataclass(frozen=True)
class YouTube:
    """Videos by their YouTube id. Each `download` makes at most one extraction, so that a grant of the rate is one."""

    options: SourceOptions = field(default_factory=SourceOptions)
    name: ClassVar[str] = "youtube"
    on_network: ClassVar[bool] = True
    paced: ClassVar[bool] = True
    uses_credentials: ClassVar[bool] = False

    def accepts(self, video_id: str) -> bool:
        """Whether it is an id as YouTube gives them; for another nobody is asked."""
        return YOUTUBE_ID.fullmatch(video_id) is not None

    def through(self, proxy: str) -> YouTube:
        return replace(self, options=replace(self.options, proxy=proxy))

    def for_clips(self, clips: Sequence[Clip]) -> YouTube:
        return self

    def download(self, video_id: str, clips: Sequence[Clip], folder: Path) -> Download:
        from kinetics_pipeline.sources.http.ytdlp import shared_opener

        if not self.accepts(video_id):
            return Download(failure=Failure("not_found", "not a YouTube id"))
        try:
            with locked(folder, video_id):
                ready = self._ready(folder, video_id, clips)
                missing = [clip for clip in clips if clip.clip_id not in ready]
                if not missing:
                    return Download(ready)
                opener = shared_opener(self.options)
                with self._guarded(opener):
                    failure, whole = self._fetch(opener, video_id, missing, folder)
                ready = self._ready(folder, video_id, clips)
                return Download(ready, failure, opener.requests, opener.bytes_fetched, whole)
        except TimeoutError as error:
            return Download(failure=Failure("network", str(error)))

    def probe(self, clip: Clip, folder: Path) -> Download:
        """Asks again for a video that was fetched recently, for little: one extraction and the first bytes of its
        media, which are not kept. Says whether this way to YouTube is sound."""
        from kinetics_pipeline.sources.http.ytdlp import shared_opener

        opener = shared_opener(self.options)
        with self._guarded(opener), tempfile.TemporaryDirectory(dir=folder) as scratch:
            found = self.extract(opener, clip.video_id)
            if isinstance(found, Failure):
                return Download(failure=found, requests=opener.requests)
            name, limit = "probe", self.options.max_filesize
            failure = OneFormat(opener, found, clip.video_id, [clip], Path(scratch), name=name, limit=limit).probe()
            return Download(failure=failure, requests=opener.requests, bytes_fetched=opener.bytes_fetched)

    @contextmanager
    def _guarded(self, opener: Opener) -> Iterator[None]:
        """Whatever an answer names: nothing but the open internet, and the proxies that the user typed."""
        if self.options.allow_private_addresses:
            yield
            return
        typed = (*opener.proxies.values(), self.options.ytdlp_options.get("geo_verification_proxy"))
        with public_addresses_only(typed_endpoints(*typed)) as refused:
            opener.refused_addresses = refused
            yield

    def _ready(self, folder: Path, video_id: str, clips: Sequence[Clip]) -> dict[str, Media]:
        """Returns by clip_id the files that are whole; where sound is asked for, with it or with why there is none."""
        media = downloaded_media(folder, video_id, self.name, clips)
        if not self.options.sound:
            return media
        sounds = downloaded_media(folder, video_id, sound.NAME, clips)
        silent = sound.silences(folder, video_id)
        return {
            clip: replace(one, sound=sounds[clip].path if clip in sounds else None, silent=silent.get(clip, ""))
            for clip, one in media.items()
            if clip in sounds or clip in silent
        }

    def _fetch(
        self, opener: Opener, video_id: str, clips: Sequence[Clip], folder: Path
    ) -> tuple[Failure | None, int | None]:
        """Why clips are missing afterwards, and the bytes of the whole files. The sound comes first: where the pictures
        are at hand nothing is left to be asked."""
        limit = self.options.max_filesize
        pictures = downloaded_media(folder, video_id, self.name, clips)
        found = self.extract(opener, video_id)
        if isinstance(found, Failure):
            if self.options.sound and not is_signal(found.outcome):
                sound.remember(folder, video_id, dict.fromkeys(pictures, found.detail))
            return found, None
        whole = 0
        if self.options.sound:
            track = sound.best(found.get("formats") or ())
            reason = sound.NONE
            heard: Mapping[str, Media] = {}
            if found.get("acodec") != "none":
                reason = ""  # it comes with the pictures
            elif track is not None:
                task = OneFormat(opener, {**found, **track}, video_id, clips, folder, name=sound.NAME, limit=limit)
                failure = task.run()
                if failure is not None and is_signal(failure.outcome):
                    return failure, None
                heard, whole = task.media, task.bytes_whole or 0
                reason = failure.detail if failure else sound.NONE
            sound.remember(folder, video_id, {clip.clip_id: reason for clip in clips if clip.clip_id not in heard})
        clips = [clip for clip in clips if clip.clip_id not in pictures]
        if not clips:
            return None, whole or None
        task = OneFormat(opener, found, video_id, clips, folder, name=self.name, limit=limit)
        failure = task.run()
        return failure, None if task.bytes_whole is None else whole + task.bytes_whole

    def extract(self, opener: Opener, video_id: str) -> dict[str, Any] | Failure:
        """The one format to fetch, as yt-dlp describes it with its video (`duration`, ...)."""
        from yt_dlp.utils import YoutubeDLError

        answers = PlayerAnswers()
        try:
            with opener.heard_by(answers):
                address = f"https://www.youtube.com/watch?v={video_id}"
                info = opener.extract_info(address, download=False, process=False)
                if info is None or info.get("_type", "video") != "video" or info.get("id") != video_id:
                    return _of_another(answers)
                info["formats"] = [one for one in info.get("formats") or () if not is_upscaled(one)]
                info = opener.process_ie_result(info, download=False)
        except YoutubeDLError as error:
            return from_extraction(error, opener.warnings, answers.all, video_id)
        if info.get("live_status") in ("is_live", "is_upcoming", "post_live"):
            return Failure("no_format", LIVE)
        refused = self._restricted(info)
        if refused is not None:
            return refused
        parts = info.get("requested_formats") or [info]
        video = next((part for part in parts if part.get("vcodec") != "none"), parts[0])
        return {**info, **video}

    def _restricted(self, info: dict[str, Any]) -> Failure | None:
        """The failure of a video that cookies open but not everyone may see, unless its kind is allowed by name."""
        if self.options.cookies is None:
            return None
        kinds = {"private": "private", "subscriber_only": "members_only", "premium_only": "members_only"}
        kind = kinds.get(info.get("availability") or "")
        if kind is None and (info.get("age_limit") or 0) >= 18:
            kind = "age_restricted"
        if kind is None or kind in self.options.allow_access:
            return None
        return Failure(kind, f"the cookies would open it; --allow-access {kind} is not given")  # type: ignore[arg-type]


def is_upscaled(found: Mapping[str, Any]) -> bool:
    """Whether a format (of yt-dlp's) was made larger by a model: its pictures are not the uploader's (`sr=1`)."""
    address = unquote(unquote(str(found.get("url") or "")))
    return str(found.get("format_id")).endswith("-sr") or re.search(r"xtags[=/][^&/]*\bsr=1\b", address) is not None


def _of_another(answers: PlayerAnswers) -> Failure:
    """The extractor was led to another video: to the trailer of one that must be paid for."""
    if any("paid" in answer.signs for answer in answers.all):
        return Failure("members_only", "requires payment")
    return Failure("no_format", "YouTube leads to another video")
