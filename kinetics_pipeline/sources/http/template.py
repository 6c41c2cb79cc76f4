"""Videos at a URL with the id in it: a mirror, a bucket, a server in the next room."""

from __future__ import annotations

import re
import string
import tempfile
import urllib.parse
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import Clip
from kinetics_pipeline.redaction import without_secrets
from kinetics_pipeline.sources.base import Download, Failure, Media
from kinetics_pipeline.sources.http.addresses import public_addresses_only, typed_endpoints
from kinetics_pipeline.sources.http.partial_file import Piece, downloaded_media, locked, pieces
from kinetics_pipeline.sources.options import SourceOptions

if TYPE_CHECKING:
    from kinetics_pipeline.sources.http.transfer import Remote
    from kinetics_pipeline.sources.http.ytdlp import Opener

PROBED = 4096
"""Bytes that say whether a server still gives what it gave."""

FIELDS = ("video_id", "clip_id", "time_start", "time_end")
"""What a template may name. With anything but `video_id` the file is one that was trimmed to the clip."""


@dataclass(frozen=True)
class UrlTemplate:
    """`https://host/path/{video_id}.mp4`: one GET a file, resumed where an earlier call ended.

    Times are written as in a clip's id (`{time_start:06d}` and its like are accepted). Raises UserError for a
    template that is none.
    """

    template: str = field(repr=False)
    options: SourceOptions = field(default_factory=SourceOptions)
    on_network: ClassVar[bool] = True
    paced: ClassVar[bool] = False
    uses_credentials: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _require_template(self.template)

    @property
    def name(self) -> str:
        """The template without credentials and query: they are no one's business in a record."""
        parts = urllib.parse.urlsplit(self.template)
        return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def accepts(self, video_id: str) -> bool:
        return True

    def through(self, proxy: str) -> UrlTemplate:
        return replace(self, options=replace(self.options, proxy=proxy))

    def for_clips(self, clips: Sequence[Clip]) -> UrlTemplate:
        return self

    def download(self, video_id: str, clips: Sequence[Clip], folder: Path) -> Download:
        from kinetics_pipeline.sources.http.transfer import Remote
        from kinetics_pipeline.sources.http.ytdlp import shared_opener

        media: dict[str, Media] = {}
        failure: Failure | None = None
        if any(climbs(self.url(clip)) for clip in clips):
            return Download(failure=Failure("not_found", "the id does not name a file"))
        opener = shared_opener(self.options)
        whole: int | None = None
        try:
            with locked(folder, video_id), self._guarded(opener):
                media = downloaded_media(folder, video_id, self.name, clips)
                left = {piece.path: piece for piece in pieces(folder, video_id, self.name)}
                for clip in clips:
                    if clip.clip_id in media:
                        continue
                    piece = self._piece(folder, clip)
                    remote = Remote(self.url(clip), limit=self.options.max_filesize, retries=opener.params["retries"])
                    answer = self._fetch(opener, remote, left.get(piece.path, piece))
                    if isinstance(answer, Failure):
                        failure = answer
                        if not self._is_trimmed:
                            break
                        continue
                    whole = (whole or 0) + answer.path.stat().st_size
                    if not self._is_trimmed:
                        media = {one.clip_id: answer for one in clips}
                        break
                    media[clip.clip_id] = answer
                return Download(media, failure, opener.requests, opener.bytes_fetched, whole)
        except TimeoutError as error:
            return Download(media, Failure("network", str(error)))

    def probe(self, clip: Clip, folder: Path) -> Download:
        """Asks again for a clip that was fetched recently: the first bytes of its file, which are not kept."""
        from kinetics_pipeline.sources.http.transfer import FAILURES, Remote, failure, fetch
        from kinetics_pipeline.sources.http.ytdlp import shared_opener

        opener = shared_opener(self.options)
        remote = Remote(self.url(clip), window=PROBED, limit=self.options.max_filesize, retries=0)
        failed: Failure | None = None
        with self._guarded(opener), tempfile.TemporaryDirectory(dir=folder) as scratch:
            try:
                fetch(opener, remote, self._piece(Path(scratch), clip), until=1)
            except FAILURES as error:
                failed = failure(error, "mirror")
        return Download(failure=failed, requests=opener.requests, bytes_fetched=opener.bytes_fetched)

    def url(self, clip: Clip) -> str:
        """Where the clip's file lies; the values are percent-encoded, so that none leaves its place in the path."""
        return filled(self.template, clip, quoted=True)

    @property
    def _is_trimmed(self) -> bool:
        return is_of_clips(self.template)

    def _piece(self, folder: Path, clip: Clip) -> Piece:
        """The file that a clip's URL comes to. Its name is bound to the URL: two mirrors never share a `.part`."""
        url = self.url(clip)
        suffix = Path(urllib.parse.urlsplit(url).path).suffix
        suffix = suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,5}", suffix) and suffix != ".json" else ".media"
        stem = f"{clip.video_id}.{zlib.crc32(url.encode()):08x}"
        trimmed = self._is_trimmed
        return Piece(
            folder / f"{stem}{suffix}",
            clip.video_id,
            self.name,
            offset=clip.time_start or 0.0 if trimmed else 0.0,
            clip_id=clip.clip_id if trimmed else None,
        )

    def _fetch(self, opener: Opener, remote: Remote, piece: Piece) -> Media | Failure:
        from kinetics_pipeline.sources.http import transfer

        try:
            return transfer.fetch(opener, remote, piece).media()
        except transfer.FAILURES as error:
            return transfer.failure(error, "mirror")

    @contextmanager
    def _guarded(self, opener: Opener) -> Iterator[None]:
        if self.options.allow_private_addresses:
            yield
            return
        with public_addresses_only(typed_endpoints(*opener.proxies.values(), self.template)) as refused:
            opener.refused_addresses = refused
            yield


def filled(template: str, clip: Clip, *, quoted: bool) -> str:
    """The template with a clip's values; `quoted`: percent-encoded."""
    values = {
        "video_id": clip.video_id,
        "clip_id": clip.clip_id,
        "time_start": _Seconds(clip.time_start or 0.0),
        "time_end": _Seconds(clip.time_end or 0.0),
    }
    text = ""
    for literal, name, spec, _ in string.Formatter().parse(template):
        value = "" if name is None else format(values[name], spec or "")
        text += literal + (urllib.parse.quote(value, safe="") if quoted else value)
    return text


def is_of_clips(template: str) -> bool:
    """Whether a template names files that were trimmed to a clip."""
    return any(name not in (None, "video_id") for _, name, _, _ in string.Formatter().parse(template))


def climbs(url: str) -> bool:
    """Whether an id made a step up of the path: `..` is an id, and no client sends it as it is (RFC 3986, 5.2.4)."""
    return any(segment in (".", "..") for segment in urllib.parse.urlsplit(url).path.split("/"))


class _Seconds(float):
    """A time that formats as in a clip's id when no format is asked for, and takes integer formats when whole."""

    def __format__(self, spec: str) -> str:
        if spec.endswith("d"):
            return format(int(self), spec)
        if spec:
            return format(float(self), spec)
        return f"{int(self):06d}" if self.is_integer() else f"{float(self):010.3f}"


def _require_template(template: str) -> None:
    example = "for example https://host/videos/{video_id}.mp4"
    shown = without_secrets(template)
    try:
        fields = [(name, spec) for _, name, spec, _ in string.Formatter().parse(template) if name is not None]
        parts = urllib.parse.urlsplit(template)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UserError(f"source {shown!r} is not a URL template ({error}); {example}") from None
    if parts.scheme not in ("http", "https"):
        raise UserError(f"source {shown!r}: only http://, https://, s3://, gs:// and az:// are fetched; {example}")
    if not host or "{" in parts.netloc:
        raise UserError(f"source {shown!r}: the host must be spelt out; {example}")
    require_fields(fields, shown, example)


def require_fields(fields: Sequence[tuple[str, str | None]], shown: str, example: str) -> None:
    """Raises UserError for a field, or its format, that a template may not have, and where none names the video."""
    for name, spec in fields:
        if name not in FIELDS or "{" in (spec or ""):
            raise UserError(f"source {shown!r}: {{{name}}} is unknown; allowed: {', '.join(FIELDS)}")
        if not re.fullmatch(r"0?\d{0,2}(?:\.\d{1,2}f|d)?" if name.startswith("time") else "", spec or ""):
            raise UserError(f"source {shown!r}: the format {spec!r} of {name} is not allowed; for example 06d")
    if not {"video_id", "clip_id"} & {name for name, _ in fields}:
        raise UserError(f"source {shown!r} names neither {{video_id}} nor {{clip_id}}; {example}")
