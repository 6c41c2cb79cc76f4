"""What a source of video bytes is: a local folder or archive, or a network source that must be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol, Self, TypeGuard, get_args

from kinetics_pipeline.records import Clip, Outcome

EgressSignal = Literal["throttled", "bot_check", "burst", "outage", "credentials"]
"""What a refusal says of the address that asked, and not of the clip: it charges the clip nothing. No source says
`burst` or `outage`: they are what failures of different videos mean together (`breaker`). `credentials`: they are
refused for all of the source, so that only the user can go on."""


Container = Literal["tar", "gzip", "zip"]
"""A plain tar, a tar in gzip, or a zip file."""


@dataclass(frozen=True)
class Inside:
    """A file within an archive."""

    name: str
    """The name as the archive has it: anyone's text."""
    offset: int
    """The place of its first byte in the unpacked tar; in a zip file, of the header before it."""
    size: int
    container: Container
    points: Path | None
    """The file of points from which a gzip file can be unpacked, on the machine that read it first (`tars`)."""
    more_parts: tuple[Path, ...] = ()
    """The parts after the first, of an archive that was cut into parts."""
    node: str | None = None
    """The machine where the archive lies; None where every machine sees it."""


@dataclass(frozen=True)
class Media:
    """A file on this machine that holds the frames of a clip."""

    path: Path
    source: str
    """What the clip's record will call its source."""
    offset: float = 0.0
    """Seconds of the video at the file's time zero: 0 for a whole video and for a section whose time stamps were
    kept, `clip.time_start` for a file that was trimmed to the clip."""
    duration: float | None = None
    """Seconds of the whole video where the source knows them and the file itself does not say (a section)."""
    aspect: float | None = None
    """Width to height at which the video is to be shown, where the source knows it and the file does not say it."""
    inside: Inside | None = None
    """Set where `path` is an archive: the file has to be unpacked first."""
    sound: Path | None = None
    """A file with the sound, on the same time, where it was fetched and `path` has none."""
    silent: str = ""
    """Why there is no sound, although it was asked for."""


@dataclass(frozen=True)
class Failure:
    """Why a source gave nothing. `detail` holds no account name, address or signed URL."""

    outcome: Outcome | EgressSignal
    detail: str
    wait: float | None = None
    """Seconds that a throttling server asked to be left alone, where it said (Retry-After)."""
    unreachable: bool = False
    """Whether nobody answered: no connection came about, or none that lasted until an answer."""
    statuses: str = field(default="", compare=False)
    """What each call answered, in statuses alone (`VISIONOS 403; watch page 200 OK`), where the source knows it."""


@dataclass(frozen=True)
class Download:
    """What a network source answered for one video: a file for each clip it gave, and a failure for the others."""

    media: Mapping[str, Media] = field(default_factory=dict)
    """Files by clip_id; the clips of one video may share a file."""
    failure: Failure | None = None
    """Why clips are missing from `media`; None when none is."""
    requests: int = 0
    bytes_fetched: int = 0
    bytes_whole: int | None = None
    """What the whole file would have been, where it is known."""
    no_room: bool = False
    """The download came to the end of the bytes it may write, or the disk is full: no failure; it continues later."""


class LocalSource(Protocol):
    """Local files; costs no network. Plain data: it is pickled to the workers."""

    on_network: ClassVar[bool]
    """False."""

    @property
    def name(self) -> str: ...

    def candidates(self, clip: Clip) -> list[Media]:
        """The files that may hold the clip, best first; empty when there is none."""


class NetworkSource(Protocol):
    """A server. Plain data: it is pickled to a child process, in which `download` runs and may be killed."""

    on_network: ClassVar[bool]
    """True."""
    paced: ClassVar[bool]
    """Whether it is asked at the user's rate and through the user's proxies; another is asked as fast as it answers."""

    @property
    def name(self) -> str: ...

    @property
    def uses_credentials(self) -> bool:
        """Whether `download` needs the keys of object stores that the environment holds; others do not get them."""

    def accepts(self, video_id: str) -> bool:
        """Whether it could have a video of this id; if not, `download` says `not_found` without asking anybody."""

    def through(self, proxy: str) -> Self:
        """The same source, asked through a proxy."""

    def for_clips(self, clips: Sequence[Clip]) -> Self:
        """The same source, with no more of its list of files than these clips need: it is sent to a node."""

    def download(self, video_id: str, clips: Sequence[Clip], folder: Path) -> Download:
        """Fetches what the clips of one video need into `folder`, going on from what an earlier call left there.

        Never raises for anything a server or a network can do: that is a `Failure`.
        """

    def probe(self, clip: Clip, folder: Path) -> Download:
        """Asks again, for as little as possible, for a clip that was fetched recently; keeps nothing in `folder`.
        Without a failure this way to the source is sound. Never raises, like `download`."""


def is_network(source: LocalSource | NetworkSource) -> TypeGuard[NetworkSource]:
    """Whether a source must be asked over a network; the others have local files."""
    return source.on_network


def is_signal(outcome: Outcome | EgressSignal) -> TypeGuard[EgressSignal]:
    """Whether a failure speaks of the address that asked, and not of the clip."""
    return outcome in get_args(EgressSignal)
