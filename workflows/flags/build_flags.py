"""One typed object per job: it gives the flags and their help, `--config FILE`, and the record kept with the result."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cyclopts import Parameter

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.recipe import CRF, FlowMethod, Interpolation, Layout
from kinetics_pipeline.sources.pace.egress import Sharing
from kinetics_pipeline.workflows.flags.panels import panels
from kinetics_pipeline.workflows.flags.places import Config, FileOrText, Place, PlaceOrName
from kinetics_pipeline.workflows.flags.record import shown_option, shown_proxy
from kinetics_pipeline.workflows.flags.values import (
    Duration,
    Repeated,
    Size,
    host_and_port,
    most_processes,
    require,
    words_of,
)
from kinetics_pipeline.workflows.flags.written import require_folder_name

ARCHIVES_PER_PLAN = 8


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Selection(Config):
    """Which clips are asked, and where their videos may come from."""

    source: Annotated[tuple[PlaceOrName, ...], Repeated] = ("youtube",)
    """`youtube`, `cvdf`, `https://host/{video_id}.mp4`, `s3://...`, a folder, archives, their address; in order."""
    allow_private_addresses: Annotated[bool, Parameter(negative=())] = False
    """Also fetch from a URL template whose host is in a private network, and follow its redirects there."""
    labels: Path | None = None
    """A file with one class a line; its order numbers the classes. Default: the sorted labels of ANNOTATIONS."""
    mirror: str | None = None
    """The base address of a copy of https://s3.amazonaws.com/kinetics; its annotations count for names of Kinetics."""
    split: Annotated[tuple[str, ...], Repeated] = ()
    """Only these splits."""
    split_by: str | None = None
    """Share out clips without a split, by video: 0.9,0.1 for train and val, or with a third share for test."""
    classes: Annotated[tuple[FileOrText, ...], Repeated] = ()
    """Only these classes: comma-separated, the flag repeated, or a file with one a line."""
    per_class: int | None = None
    """Only the first N clips of each class, in the plan's fixed order."""
    limit: int | None = None
    """Only the first N clips of the plan's fixed order."""
    on_bad_row: Literal["fail", "skip"] = "fail"
    """Whether a row that cannot be read ends the command, or is left out and counted."""
    retry: Annotated[tuple[str, ...], Repeated] = ()
    """Plan again the clips of these outcomes (comma-separated), or `all`; never a withdrawn one."""
    clips_per_shard: int = 64
    """At most this many clips a shard."""
    rate: float = 300.0
    """Extractions an hour from YouTube, for the whole run."""
    proxy: Annotated[tuple[str, ...], Repeated] = ()
    """A proxy to fetch through; each is an egress of its own, all under one --rate unless --egress says otherwise."""
    egress: Sharing = "shared"
    """What --rate counts for: all nodes together, every node (where each has its own address), or every --proxy."""
    cache: Path | None = None
    """Where downloads and finished clips wait for their shard. Default: ~/.cache/kinetics-pipeline."""
    keep_clips: Place | None = None
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
    """What computes the flow; `auto` is decided once for a dataset."""
    layout: Layout = "parquet"
    """JPEG in Parquet; raw arrays in Arrow IPC; or video: H.264 in Parquet, a quarter of JPEG's bytes."""
    rgb_quality: int = 90
    """JPEG quality of the frames."""
    crf: int = CRF
    """Quality of the video layout, as x264 counts: higher is smaller and worse."""
    flow_quality: int = 90
    """JPEG quality of the flow."""
    chunk_length: int = 16
    """Frames a row."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require("--per-class", self.per_class, self.per_class is None or self.per_class >= 1, "1 or more")
        if self.mirror is not None:
            from kinetics_pipeline.annotations.published import is_base_address  # here: `--help` needs no pandas

            require("--mirror", self.mirror, is_base_address(self.mirror), "an address as https://host/kinetics")
        if self.split_by is not None:
            from kinetics_pipeline.annotations.split_by import parse_shares

            parse_shares(self.split_by)
        require("--limit", self.limit, self.limit is None or self.limit >= 1, "1 or more")
        require("--clips-per-shard", self.clips_per_shard, self.clips_per_shard >= 1, "1 or more")
        require("--rate", self.rate, 0 < self.rate < 1e9, "more than 0")
        require("--source", "", bool(self.source) and all(self.source), "youtube, a URL template, a folder or archives")
        if self.egress == "per-proxy" and not self.proxy:
            raise UserError("--egress is per-proxy and no --proxy is given; allowed then: shared, per-node")
        for proxy in self.proxy:
            allowed = f"HOST:PORT, or a URL of {', '.join(PROXY_SCHEMES)}"
            require("--proxy", shown_proxy(proxy), _is_proxy(proxy), allowed)


@panels(
    Most_used="source output limit classes split labels short_side flow rate nodes",
    Which_clips="split_by per_class retry on_bad_row mirror clips_per_shard",
    Forecast="cores gpus rates",
    Recipe="fps interpolation flow_backend layout crf rgb_quality flow_quality chunk_length",
    Network="proxy egress allow_private_addresses",
    Machine="cache keep_clips",
)
@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PlanConfig(Selection):
    """What `plan` shows."""

    output: Place | None = None
    """A dataset that exists already: what it holds is not planned again."""
    nodes: int | None = None
    """Machines of the cluster that the hours are for. Default: this machine alone."""
    cores: int | None = None
    """Cores of each of them. Default: as many as here."""
    gpus: int | None = None
    """GPUs of each of them. Default: as many as here."""
    rates: Annotated[tuple[FileOrText, ...], Repeated] = ()
    """Prices, for the cost: core-hour=0.05,gpu-hour=2,gb-month=0.02,gb-out=0.09, or a .toml or .json file of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag, least in (("nodes", 1), ("cores", 1), ("gpus", 0)):
            value = getattr(self, flag)
            require(f"--{flag}", value, value is None or least <= value <= 100_000, f"{least} to 100000")


@panels(
    Most_used="output source limit classes split retry short_side flow cache max_disk",
    Which_clips="labels split_by per_class on_bad_row mirror clips_per_shard",
    Recipe="fps interpolation flow_backend layout crf rgb_quality flow_quality chunk_length",
    YouTube_and_other_servers="rate egress proxy cookies allow_access ytdlp_option cool_down allow_private_addresses",
    What_is_kept="keep_clips keep_archives archives_per_plan",
    Machine_and_waiting="cpus max_wait clip_time_limit metrics_port notify",
)
@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BuildConfig(Selection):
    """What `build` does."""

    output: Place
    """The dataset: a folder or a URI (s3://, gs://)."""
    max_disk: Size | None = None
    """The most that the cache may hold, as 200GB."""
    archives_per_plan: int = ARCHIVES_PER_PLAN
    """Archives of a public copy that are fetched together; the cache holds two groups of them."""
    keep_archives: Place | None = None
    """Also keep archives that were fetched in this folder or URI, and take those from there that it has."""
    max_wait: Duration = 5400.0
    """End, with work left, when all addresses are paused, or no core or GPU comes, for longer than this."""
    cool_down: Duration = 3600.0
    """How long YouTube is left alone after it refused an address; doubled with each refusal in a row."""
    cookies: Path | None = None
    """A Netscape cookie file for YouTube."""
    allow_access: Annotated[tuple[str, ...], Repeated] = ()
    """Also fetch `private`, `members_only` or `age_restricted` videos; needs --cookies."""
    ytdlp_option: Annotated[tuple[str, ...], Repeated] = ()
    """KEY=JSON, passed to yt-dlp unchanged."""
    clip_time_limit: Duration = 1800.0
    """The longest one stage may work on one clip."""
    cpus: int | None = None
    """Cores of an embedded Ray. Default: all."""
    metrics_port: str | None = None
    """PORT or HOST:PORT where Prometheus reads metrics of the build; a port alone is open to this machine only."""
    notify: str | None = None
    """Command to run at the end, a failure or a pause; it gets JSON and KINETICS_EVENT, and 60 s (at the end 10)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_folder_name("--output", self.output)
        require_folder_name("--keep-clips", self.keep_clips)
        require_folder_name("--keep-archives", self.keep_archives)
        most = most_processes()
        require("--archives-per-plan", self.archives_per_plan, self.archives_per_plan >= 1, "1 or more")
        require("--cpus", self.cpus, self.cpus is None or 1 <= self.cpus <= most, f"1 to {most} on this machine")
        ytdlp_options(self.ytdlp_option)
        if self.metrics_port is not None:
            host_and_port(self.metrics_port)
        if self.notify is not None:
            words_of(self.notify)


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
class DemoConfig(Config):
    """What `demo` does."""

    folder: Path = Path("demo")
    """Where everything goes; an earlier demo there is replaced."""
    steps: int = 40
    """Training steps a stream."""
    clips: int = 168
    """Rendered clips; with the default 120 to train on and 48 to be scored."""
    seed: int = 0
    """The seed of the videos and of the trainings."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require("--steps", self.steps, self.steps >= 1, "1 or more")
        require("--clips", self.clips, self.clips >= 48, "48 or more")
        require("--seed", self.seed, self.seed >= 0, "0 or more")


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
            shown = shown_option(pair)
            raise UserError(f"--ytdlp-option is '{shown}'; allowed: KEY=JSON, as socket_timeout=20 or format='\"bv\"'")
    return options
