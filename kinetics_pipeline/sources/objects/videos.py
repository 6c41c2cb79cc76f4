"""Videos in a bucket: at a key with the id in it (`s3://bucket/videos/{video_id}.mp4`), or below a prefix."""

from __future__ import annotations

import re
import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.file_names import is_passed_over, is_video
from kinetics_pipeline.records import Clip
from kinetics_pipeline.redaction import counted, without_secrets
from kinetics_pipeline.sources.base import Download, Failure, Media
from kinetics_pipeline.sources.http.partial_file import Piece, downloaded_media, locked, pieces
from kinetics_pipeline.sources.http.sections import IndexedFile
from kinetics_pipeline.sources.http.template import climbs, filled, is_of_clips, require_fields
from kinetics_pipeline.sources.local.names import VideoNames, require_apart
from kinetics_pipeline.sources.options import SourceOptions

if TYPE_CHECKING:
    from kinetics_pipeline.sources.objects.bucket import Bucket

PROBED = 4096
"""Bytes that say whether a store still gives what it gave."""
EXAMPLE = "for example s3://bucket/videos/{video_id}.mp4, or a prefix below which the videos lie"


@dataclass(frozen=True)
class ObjectVideos:
    """See the module. Credentials are those of each node's environment; none is kept here."""

    place: str
    """What the user named, without a slash at its end."""
    options: SourceOptions = field(default_factory=SourceOptions)
    paths: tuple[str, ...] | None = None
    """The objects below the prefix, relative to it; None where `place` is a template."""
    on_network: ClassVar[bool] = True
    paced: ClassVar[bool] = False
    uses_credentials: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return self.place

    @property
    def bucket(self) -> str:
        """Its URI."""
        parts = urlsplit(self.place)
        return f"{parts.scheme}://{parts.netloc}"

    @cached_property
    def _names(self) -> VideoNames:
        return VideoNames(self.paths or ())

    def accepts(self, video_id: str) -> bool:
        return True

    def through(self, proxy: str) -> ObjectVideos:
        """The same: a bucket is reached as the environment says, not through the proxies that are meant for YouTube."""
        return self

    def for_clips(self, clips: Sequence[Clip]) -> ObjectVideos:
        if self.paths is None:
            return self
        found = dict.fromkeys(path for clip in clips for path, _ in self._names.find(clip))
        return replace(self, paths=tuple(found))

    def keys(self, clip: Clip) -> list[tuple[str, bool]]:
        """The objects that may hold a clip, best first, and whether each was trimmed to it.

        Raises UserError for two files that only their suffixes or Unicode forms tell apart.
        """
        if self.paths is None:
            key = filled(self.place.removeprefix(f"{self.bucket}/"), clip, quoted=False)
            return [] if climbs(key) else [(key, is_of_clips(self.place))]
        found = self._names.find(clip)
        require_apart([path for path, _ in found], self.name)
        prefix = self.place.removeprefix(self.bucket).strip("/")
        return [(f"{prefix}/{path}" if prefix else path, trimmed) for path, trimmed in found]

    def download(self, video_id: str, clips: Sequence[Clip], folder: Path) -> Download:
        from kinetics_pipeline.sources.objects.bucket import open_bucket

        media: dict[str, Media] = {}
        files: dict[tuple[str, bool], list[Clip]] = {}
        for clip in clips:
            for found in self.keys(clip)[:1]:
                files.setdefault(found, []).append(clip)
        if not files:
            return Download(failure=Failure("not_found", "no object of this name"))
        failure: Failure | None = None
        if sum(map(len, files.values())) < len(clips):
            failure = Failure("not_found", "no object of this name")
        bucket = open_bucket(self.bucket)
        requests, came, whole = bucket.requests, bucket.bytes_fetched, 0
        try:
            with locked(folder, video_id):
                for (key, trimmed), some in files.items():
                    file, failed = self._fetch(bucket, key, some, folder, trimmed=trimmed)
                    media |= file
                    failure = failed or failure
                    whole += self._size(folder, key, video_id)
        except TimeoutError as error:
            return Download(media, Failure("network", str(error)))
        return Download(media, failure, bucket.requests - requests, bucket.bytes_fetched - came, whole or None)

    def probe(self, clip: Clip, folder: Path) -> Download:
        """Asks again for a clip that was fetched recently: the first bytes of its file, which are not kept."""
        import tempfile

        from kinetics_pipeline.sources.objects.bucket import ObjectRefused, open_bucket

        found = self.keys(clip)
        if not found:
            return Download(failure=Failure("not_found", "no object of this name"))
        bucket = open_bucket(self.bucket)
        requests, came = bucket.requests, bucket.bytes_fetched
        failed: Failure | None = None
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            piece = self._piece(Path(scratch), found[0][0], clip, trimmed=False)
            try:
                bucket.bring(found[0][0], piece, PROBED, self.options.max_filesize)
            except ObjectRefused as error:
                failed = error.failure
        return Download({}, failed, bucket.requests - requests, bucket.bytes_fetched - came)

    def _fetch(
        self, bucket: Bucket, key: str, clips: Sequence[Clip], folder: Path, *, trimmed: bool
    ) -> tuple[dict[str, Media], Failure | None]:
        """What one object gives of `clips`."""
        from kinetics_pipeline.sources.objects.bucket import ObjectChanged, ObjectRefused

        clip = clips[0]
        whole = self._piece(folder, key, clip, trimmed=trimmed)
        left = {
            piece.path: piece
            for piece in pieces(folder, clip.video_id, self.name)
            if piece.path.name.startswith(whole.path.stem)
        }
        ready = {
            clip_id: media
            for clip_id, media in downloaded_media(folder, clip.video_id, self.name, clips).items()
            if media.path in left
        }
        missing = [one for one in clips if one.clip_id not in ready]
        if not missing:
            return ready, None
        file = IndexedFile(
            lambda piece, until: bucket.bring(key, piece, until, self.options.max_filesize),
            left.get(whole.path, whole),
            missing,
            left,
        )
        try:
            try:
                failure = file.fetch_whole() if trimmed else file.run()
            except ObjectChanged:
                file.begin_anew()
                failure = file.fetch_whole()
        except ObjectRefused as error:
            return ready | file.media, error.failure
        return ready | file.media, failure

    def _piece(self, folder: Path, key: str, clip: Clip, *, trimmed: bool) -> Piece:
        """The file that an object comes to. Its name is bound to the object's."""
        suffix = PurePosixPath(key).suffix
        suffix = suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,5}", suffix) and suffix != ".json" else ".media"
        return Piece(
            folder / f"{self._stem(key, clip.video_id)}{suffix}",
            clip.video_id,
            self.name,
            offset=(clip.time_start or 0.0) if trimmed else 0.0,
            clip_id=clip.clip_id if trimmed else None,
        )

    def _stem(self, key: str, video_id: str) -> str:
        return f"{video_id}.{zlib.crc32(f'{self.bucket}/{key}'.encode()):08x}"

    def _size(self, folder: Path, key: str, video_id: str) -> int:
        """Bytes of the whole object, where a request has told them."""
        stem = self._stem(key, video_id)
        known = (piece.total for piece in pieces(folder, video_id, self.name) if piece.path.name.startswith(stem))
        return max((total for total in known if total), default=0)


def is_object_place(text: str) -> bool:
    """Whether a `--source` is the URI of an object store."""
    from kinetics_pipeline.storage.object_client import SCHEMES

    return text.partition("://")[0].lower() in SCHEMES and "://" in text


def open_object_videos(text: str, options: SourceOptions) -> ObjectVideos:
    """The source that a URI names; a prefix is listed. Raises UserError for one that is malformed, names no bucket that
    is there, or has no video below it; WorkRemains when the store cannot be reached."""
    shown = without_secrets(text)
    place = text.rstrip("/")
    bucket, _, rest = place.partition("://")[2].partition("/")
    if not bucket or "{" in bucket or "@" in bucket or "?" in place or "#" in place:
        raise UserError(f"source {shown!r} is not a place in an object store; {EXAMPLE}")
    from kinetics_pipeline.sources.objects.bucket import open_bucket

    place = place.partition("://")[0].lower() + place[place.index("://") :]
    if "{" in place or "}" in place:
        try:
            fields = [(name, spec) for _, name, spec, _ in string.Formatter().parse(rest) if name is not None]
        except ValueError as error:
            raise UserError(f"source {shown!r} is not a template ({error}); {EXAMPLE}") from None
        require_fields(fields, shown, EXAMPLE)
        source = ObjectVideos(place, options)
        open_bucket(source.bucket).require_there(rest.partition("{")[0])
        return source
    names = objects_below(place)
    found = tuple(name for name in names if is_video(name) and not is_passed_over(PurePosixPath(name).name))
    if not found:
        raise UserError(f"source {shown!r} holds no videos ({counted(len(names), 'object')}); {EXAMPLE}")
    return ObjectVideos(place, options, found)


def one_object(uri: str, options: SourceOptions) -> ObjectVideos:
    """The source of a single object, whatever its name. Raises UserError for a URI that names none."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    if not bucket or not key or "@" in bucket or "?" in uri or "#" in uri or "{" in uri or "}" in uri:
        raise UserError(f"{without_secrets(uri)!r} is not an object of a store; for example s3://bucket/video.mp4")
    return ObjectVideos(uri, options)


@cache
def objects_below(place: str) -> tuple[str, ...]:
    """The names of the objects below a prefix, relative to it; listed once in a process.

    Raises UserError where there is no such bucket or it may not be listed, WorkRemains where credentials have expired.
    """
    from kinetics_pipeline.storage.open_store import open_store

    return tuple(name for name, _ in open_store(place).list())
