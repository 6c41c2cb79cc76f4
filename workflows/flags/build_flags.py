"""One typed object per job: it gives the flags and their help, `--config FILE`, and the record kept with the result."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cyclopts import Parameter

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.recipe import FlowMethod, Interpolation, Layout
from kinetics_pipeline.redaction import WITHHELD, without_secrets
from kinetics_pipeline.sources.options import PASSED_OPTIONS, SECRET_OPTIONS
from kinetics_pipeline.sources.pace.egress import Sharing


def positive_size(type_: Any, tokens: Sequence[Any]) -> int:
    """`200GB`, `1.5TiB`, `1000000` -> bytes; the units are powers of 1000, or of 1024 with an i."""
    text = tokens[0].value
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(?:([KMGTP])(I?))?B?\s*", text, re.IGNORECASE)
    if not match or float(match[1]) == 0:
        raise ValueError(f'"{text}" is not a size; write it as 200GB, 1.5TiB or a number of bytes')
    power = " KMGTP".index((match[2] or " ").upper())
    return round(float(match[1]) * (1024 if match[3] else 1000) ** power)


def positive_duration(type_: Any, tokens: Sequence[Any]) -> float:
    """`90m`, `1.5h`, `45s`, `2d`, `30` -> seconds."""
    text = tokens[0].value
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|d)?\s*", text, re.IGNORECASE)
    if not match:
        raise ValueError(f'"{text}" is not a duration; write it as 45s, 90m, 1.5h or 2d')
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[(match[2] or "s").lower()]


MOST_A_CORE = 8
"""Processes. More of them only wait for each other, each with its gigabyte of memory."""
Repeated = Parameter(negative=(), show_default=lambda values: ", ".join(values) or None)
"""A flag that may be given several times; its values are never cut at commas."""
Size = Annotated[int, Parameter(converter=positive_size)]
Duration = Annotated[float, Parameter(converter=positive_duration, show_default=lambda seconds: f"{seconds / 60:g}m")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which clips are asked, and where their videos may come from."""

    source: Annotated[tuple[str, ...], Repeated] = ("youtube",)
    """`youtube`, a URL template as `https://host/{video_id}.mp4`, a folder, or tar files; tried in this order."""
    allow_private_addresses: Annotated[bool, Parameter(negative=())] = False
    """Also fetch from a URL template whose host is in a private network, and follow its redirects there."""
    labels: Path | None = None
    """A file with one class a line; its order numbers the classes. Default: the sorted labels of ANNOTATIONS."""
    split: Annotated[tuple[str, ...], Repeated] = ()
    """Only these splits."""
    classes: Annotated[tuple[str, ...], Repeated] = ()
    """Only these classes, comma-separated or repeated."""
    limit: int | None = None
    """Only the first N clips of the plan's fixed order."""
    on_bad_row: Literal["fail", "skip"] = "fail"
    """What a row that cannot be read does."""
    retry: Annotated[tuple[str, ...], Repeated] = ()
    """Plan anew the clips of these outcomes (comma-separated), or `all`; never a withdrawn one."""
    clips_per_shard: int = 64
    """At most this many clips a shard."""
    rate: float = 300.0
    """Extractions an hour from YouTube, for the whole run."""
    proxy: Annotated[tuple[str, ...], Repeated] = ()
    """A proxy to fetch through; each is an egress of its own, all under one --rate unless --egress says otherwise."""
    egress: Sharing = "shared"
    """Who has a --rate of its own: all together, every node (each has an address of its own), or every --proxy."""
    cache: Path | None = None
    """Where downloads and finished clips wait for their shard. Default: ~/.cache/kinetics-pipeline."""
    keep_clips: str | None = None
    """Also keep the cut segments as mp4 in this folder or URI."""
    fps: float = 25.0
    """Frames a second."""
    short_side: int = 256
    """Pixels of the shorter side."""
    interpolation: Interpolation = "bilinear"
    """How frames are resized."""
    flow: FlowMethod = "tvl1"
    """Optical flow."""
    flow_backend: Literal["auto", "cpu", "cuda", "torch", "opencv"] = "auto"
    """What computes it; resolved once a dataset."""
    layout: Layout = "parquet"
    """JPEG in Parquet, or raw arrays in Arrow IPC."""
    rgb_quality: int = 90
    """JPEG quality of the frames."""
    flow_quality: int = 90
    """JPEG quality of the flow."""
    chunk_length: int = 16
    """Frames a row."""

    def __post_init__(self) -> None:
        require("--limit", self.limit, self.limit is None or self.limit >= 1, "1 or more")
        require("--clips-per-shard", self.clips_per_shard, self.clips_per_shard >= 1, "1 or more")
        require("--rate", self.rate, 0 < self.rate < 1e9, "more than 0")
        require(
            "--source", "", bool(self.source) and all(self.source), "youtube, a URL template, a folder or tar files"
        )
        if self.egress == "per-proxy" and not self.proxy:
            raise UserError("--egress is per-proxy and no --proxy is given; allowed then: shared, per-node")
        for proxy in self.proxy:
            require("--proxy", _proxy(proxy), _is_proxy(proxy), f"HOST:PORT, or a URL of {', '.join(PROXY_SCHEMES)}")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PlanConfig(Selection):
    """What `plan` shows."""

    output: str | None = None
    """A dataset that exists already: what it holds is not planned again."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BuildConfig(Selection):
    """What `build` does."""

    output: str
    """The dataset: a folder or a URI (s3://, gs://)."""
    max_disk: Size | None = None
    """The most that the cache may hold, as 200GB."""
    max_wait: Duration = 5400.0
    """End with work left when only paused egresses are left to wait for, longer than this."""
    cool_down: Duration = 3600.0
    """How long an address rests that YouTube has refused; each refusal in a row doubles it."""
    cookies: Path | None = None
    """A Netscape cookie file for YouTube."""
    allow_access: Annotated[tuple[str, ...], Repeated] = ()
    """With cookies: also fetch `private`, `members_only` or `age_restricted` videos."""
    ytdlp_option: Annotated[tuple[str, ...], Repeated] = ()
    """KEY=JSON, handed to yt-dlp as it is."""
    clip_time_limit: Duration = 1800.0
    """The longest one stage may work on one clip."""
    cpus: int | None = None
    """Cores of an embedded Ray. Default: all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        most = most_processes()
        require("--cpus", self.cpus, self.cpus is None or 1 <= self.cpus <= most, f"1 to {most} on this machine")
        ytdlp_options(self.ytdlp_option)


PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def _is_proxy(text: str) -> bool:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in PROXY_SCHEMES and re.fullmatch(r"[\w.:-]+", parts.hostname or "") is not None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """What `demo` does."""

    folder: Path = Path("demo")
    """Where everything goes; an earlier demo there is replaced."""
    steps: int = 200
    """Training steps a stream."""
    clips: int = 40
    """Rendered clips."""

    def __post_init__(self) -> None:
        require("--steps", self.steps, self.steps >= 1, "1 or more")
        require("--clips", self.clips, self.clips >= 16, "16 or more")


def require(flag: str, value: Any, right: bool, allowed: str) -> None:
    """Raises UserError that names flag, value and what is allowed."""
    if not right:
        raise UserError(f'{flag} is "{value}"; allowed: {allowed}')


def most_processes() -> int:
    """On this machine."""
    return MOST_A_CORE * (os.cpu_count() or 1)


def require_loaders(loaders: int) -> None:
    """Raises UserError for fewer loading processes than none, and for more than this machine can feed."""
    require("--loaders", loaders, 0 <= loaders <= most_processes(), f"0 to {most_processes()} on this machine")


def comma_separated(values: Sequence[str]) -> tuple[str, ...]:
    """Values of a flag that may be repeated or comma-separated."""
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())


def ytdlp_options(pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=JSON, ... -> options for yt-dlp. Raises UserError that names the pair, but not what may be a secret of it."""
    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        try:
            options[key] = json.loads(value)
        except ValueError:
            key = ""
        if not (key.isidentifier() and equals):
            said = _shown_option(pair)
            raise UserError(f"--ytdlp-option is '{said}'; allowed: KEY=JSON, as socket_timeout=20 or format='\"bv\"'")
    return options


def _shown_option(pair: str) -> str:
    """KEY=JSON, its value withheld where it may hold a password, a token or an address."""
    key, equals, _ = pair.partition("=")
    if not equals or not key.isidentifier():
        return "..."
    return pair if key in PASSED_OPTIONS and key not in SECRET_OPTIONS else f"{key}={WITHHELD}"


def as_record(config: Any) -> dict[str, Any]:
    """A config as JSON-able data, without secrets: no accounts and queries of URLs, no values of yt-dlp options, no
    addresses of proxies."""
    record = {k: _plain(v) for k, v in asdict(config).items()}
    if "proxy" in record:
        record["proxy"] = ["(given)"] * len(config.proxy)
    if "ytdlp_option" in record:
        record["ytdlp_option"] = [pair.partition("=")[0] for pair in config.ytdlp_option]
    if record.get("cookies"):
        record["cookies"] = "(given)"
    return record


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    return without_secrets(value) if isinstance(value, str) else value


def command_line(command: str, arguments: Sequence[str], config: Any, *, kept: bool = False) -> str:
    """The command that does the same again, to be copied into a shell: what differs from the defaults. Where a secret
    stood it says so. `kept`: for the dataset, where the place of the cookies and the addresses of proxies have no
    business either."""
    words = ["kinetics-pipeline", command, *map(without_secrets, arguments)]
    for f in fields(config):
        value = getattr(config, f.name)
        if f.default is not MISSING and value == f.default:
            continue
        flag = "--" + f.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words += [flag, _shown(f.name, str(one), kept=kept)]
    return shlex.join(words)


def _shown(name: str, value: str, *, kept: bool) -> str:
    if name == "ytdlp_option":
        return _shown_option(value)
    if name == "proxy":
        return "HOST:PORT" if kept else _proxy(value)
    return "FILE" if kept and name == "cookies" else without_secrets(value)


def _proxy(value: str) -> str:
    return without_secrets(value if "://" in value else f"http://{value}")
