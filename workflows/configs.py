"""One typed object per job: it gives the flags and their help, `--config FILE`, and the record kept with the result."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from cyclopts import Parameter

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.recipe import Interpolation, Layout


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


Repeated = Parameter(negative=())
"""A flag that may be given several times; its values are never cut at commas."""
Size = Annotated[int, Parameter(converter=positive_size)]
Duration = Annotated[float, Parameter(converter=positive_duration)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which clips are asked, and where their videos may come from."""

    source: Annotated[tuple[str, ...], Repeated] = ("youtube",)
    """`youtube`, a URL template such as `https://host/{video_id}.mp4`, a folder, or tar files; tried in the order
    given."""
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
    fps: float = 25.0
    """Frames a second."""
    short_side: int = 256
    """Pixels of the shorter side."""
    interpolation: Interpolation = "bilinear"
    """How frames are resized."""
    flow: Literal["tvl1", "none"] = "tvl1"
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
    cache: Path | None = None
    """Where downloads and finished clips wait for their shard. Default: ~/.cache/kinetics-pipeline."""
    max_disk: Size | None = None
    """The most that the cache may hold, as 200GB."""
    keep_clips: str | None = None
    """Also keep the cut segments as mp4 in this folder or URI."""
    max_wait: Duration = 5400.0
    """End with work left when only paused egresses are left to wait for, longer than this (90m)."""
    cookies: Path | None = None
    """A Netscape cookie file for YouTube."""
    allow_access: Annotated[tuple[str, ...], Repeated] = ()
    """With cookies: also fetch `private`, `members_only` or `age_restricted` videos."""
    proxy: Annotated[tuple[str, ...], Repeated] = ()
    """A proxy to fetch through; each is an egress of its own under the one rate."""
    egress: Literal["shared", "per-node"] = "shared"
    """Whether all nodes share one address, or each has its own."""
    ytdlp_option: Annotated[tuple[str, ...], Repeated] = ()
    """KEY=JSON, handed to yt-dlp as it is."""
    clip_time_limit: Duration = 1800.0
    """The longest one stage may work on one clip (30m)."""
    cpus: int | None = None
    """Cores of an embedded Ray. Default: all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require("--cpus", self.cpus, self.cpus is None or self.cpus >= 1, "1 or more")
        ytdlp_options(self.ytdlp_option)


Stream = Literal["rgb", "flow"]
ModelName = Literal["i3d", "c3d", "convnet_lstm", "two_stream", "fused_two_stream", "inception2d"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What `train` does. The defaults are the recipe's; a number given here wins over the recipe."""

    model: ModelName = "i3d"
    """The architecture."""
    stream: Stream = "rgb"
    """What it sees."""
    run: Path
    """The run folder: config, checkpoints, metrics. A folder with a run in it goes on from its last checkpoint."""
    recipe: Literal["paper", "released"] = "released"
    """The schedule: the paper's (tenfold less when validation saturates) or the released code's steps."""
    init: Path | None = None
    """Weights to start from: a checkpoint of ours, a public PyTorch port's, or DeepMind's TensorFlow files."""
    steps: int | None = None
    """Steps of the optimiser; a shorter run shrinks the schedule with it. Default: the recipe's."""
    batch_size: int = 6
    """Clips a worker and step."""
    accumulate: int = 1
    """Batches whose gradients are summed for a step."""
    workers: int = 1
    """Training processes, one GPU each where there are GPUs."""
    loaders: int = 1
    """Loading processes of each worker."""
    learning_rate: float | None = None
    """At the recipe's batch of 64 x 6 clips, scaled to the batch that is used. Default: the recipe's."""
    scale_learning_rate: bool = True
    """Scale the learning rate with the batch (Goyal et al., 2017)."""
    frames: int = 64
    """Frames a snippet."""
    crop: int = 224
    """Pixels a side."""
    flip: bool = True
    """Mirror half of the clips, negating the flow's u; not for classes that differ in left and right."""
    dropout: float = 0.5
    """Probability that a feature is dropped before the classifier."""
    batch_norm_momentum: float | None = None
    """Share of the running statistics that a step replaces. Default: 0.001, the released code's; more in short runs."""
    precise_batch_norm: int = 0
    """Batches over which batch norm's statistics are computed anew before each evaluation; 0: running ones."""
    warmup: int = 0
    """Steps over which the learning rate rises to its value."""
    clip_gradients: float | None = None
    """Largest norm of the gradient."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where one timed step says that it pays, and its result agrees."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """auto: a GPU for each worker where there are GPUs."""
    compile: bool = False
    """Let torch.compile fuse the network; the first step then takes minutes."""
    checkpoint_activations: bool = False
    """Compute activations twice and keep few of them: less memory for a third more time."""
    sync_batch_norm: bool = False
    """Batch norm over the batches of all workers."""
    freeze_batch_norm: bool = False
    """Keep batch norm as --init has it."""
    freeze_features: bool = False
    """Train the last layer alone, on features as --init has them (the paper's Fixed)."""
    train_split: str = "train"
    """Trained on."""
    val_split: str = "val"
    """Evaluated on while training."""
    classes: Annotated[tuple[str, ...], Repeated] = ()
    """Only these classes, comma-separated or repeated."""
    class_list: Path | None = None
    """Only the classes in this file, one a line (miniKinetics is such a list)."""
    examples_per_class: int | None = None
    """Only the first so many training clips of each class."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    evaluate_every: int = 2000
    """Steps between evaluations on the validation split; 0: never."""
    seed: int = 0
    """Of weights, order and crops."""

    def __post_init__(self) -> None:
        counted = ("steps", "batch_size", "accumulate", "workers", "checkpoint_every", "frames", "crop")
        for flag in (*counted, "examples_per_class"):
            value = getattr(self, flag)
            require("--" + flag.replace("_", "-"), value, value is None or value >= 1, "1 or more")
        for flag in ("loaders", "warmup", "evaluate_every", "precise_batch_norm", "seed"):
            require("--" + flag.replace("_", "-"), getattr(self, flag), getattr(self, flag) >= 0, "0 or more")
        require("--dropout", self.dropout, 0 <= self.dropout < 1, "0 to less than 1")
        require("--init", "none", self.init is not None or not self.freeze_features, "weights, with --freeze-features")
        for flag in ("learning_rate", "clip_gradients"):
            rate = getattr(self, flag)
            require("--" + flag.replace("_", "-"), rate, rate is None or 0 < rate < float("inf"), "more than 0")
        momentum = self.batch_norm_momentum
        require("--batch-norm-momentum", momentum, momentum is None or 0 < momentum <= 1, "more than 0, at most 1")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What `evaluate` does."""

    split: str = "val"
    """Scored on."""
    rgb: Path | None = None
    """A run folder or checkpoint of the RGB stream."""
    flow: Path | None = None
    """A run folder or checkpoint of the flow stream."""
    both: Path | None = None
    """A run folder or checkpoint of a network that takes both streams."""
    clips: Path | None = None
    """A file of clip ids: only these."""
    groups: Path | None = None
    """A CSV with a class and its group in each row (person, person-person, ...): accuracy is also given by group."""
    fuse: Literal["logits", "softmax"] = "logits"
    """What is averaged: the released code adds logits, the paper averages predictions."""
    views: Literal["whole", "sliding", "10x3"] = "whole"
    """What of a clip is shown, and the logits averaged over: the whole clip at once (the paper's), windows as long as
    in training and half a window apart, or ten windows with three crops each."""
    mirrored: bool = False
    """Show every view once more, mirrored."""
    window: int | None = None
    """Frames of a view that is not the whole clip. Default: that of training."""
    frames: int = 250
    """At most this many frames of a clip, from its start."""
    crop: int | None = None
    """Pixels a side of the centre crop; I3D averages over places too, as with 256. Default: that of training, and the
    shards' short side for 10x3."""
    batch_size: int = 1
    """Clips at a time."""
    loaders: int = 1
    """Loading processes."""
    output: Path | None = None
    """Where the results are written as JSON. Default: in the run folder."""
    any_recipe: bool = False
    """Score a checkpoint that was trained on shards of another recipe."""
    deepmind_sample: Path | None = None
    """Instead of a dataset: kinetics-i3d's data folder, with the published clip's *_rgb.npy and *_flow.npy; prints
    norms and top classes beside the expected ones. --rgb and --flow may then be weights of any origin."""
    top: int = 5
    """How many classes of DeepMind's sample are named."""

    def __post_init__(self) -> None:
        given = [stream for stream in (self.rgb, self.flow, self.both) if stream is not None]
        require("--rgb, --flow and --both", "", bool(given), "a run folder for one of them, or for RGB and flow")
        require("--both", self.both, self.both is None or len(given) == 1, "a network of both streams, alone")
        for flag, least in (("batch_size", 1), ("frames", 1), ("loaders", 0), ("window", 1), ("top", 1)):
            value = getattr(self, flag)
            require("--" + flag.replace("_", "-"), value, value is None or value >= least, f"{least} or more")
        require("--crop", self.crop, self.crop is None or self.crop >= 1, "1 or more")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """What `predict` does."""

    rgb: Path | None = None
    """A run folder or checkpoint of the RGB stream."""
    flow: Path | None = None
    """A run folder or checkpoint of the flow stream."""
    both: Path | None = None
    """A run folder or checkpoint of a network that takes both streams."""
    dataset: str | None = None
    """The dataset that holds the clip, when VIDEO is a clip_id."""
    start: float | None = None
    """Seconds at which to begin."""
    end: float | None = None
    """Seconds at which to stop."""
    top: int = 5
    """How many classes are named."""
    picture: Path | None = None
    """Write an annotated picture (PNG) here."""
    fuse: Literal["logits", "softmax"] = "logits"
    """What is averaged over the streams."""

    def __post_init__(self) -> None:
        given = [stream for stream in (self.rgb, self.flow, self.both) if stream is not None]
        require("--rgb, --flow and --both", "", bool(given), "a run folder for one of them, or for RGB and flow")
        require("--both", self.both, self.both is None or len(given) == 1, "a network of both streams, alone")
        require("--top", self.top, self.top >= 1, "1 or more")
        require("--start", self.start, self.start is None or 0 <= self.start < 1e7, "0 or more")
        require("--end", self.end, self.end is None or 0 < self.end < 1e7, "more than --start")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PaperConfig:
    """What `paper` works with: what is missing here is left out of the tables, and said."""

    runs: Path = Path("paper")
    """Where runs and scores lie; what is finished there is not run again."""
    kinetics: str | None = None
    """The Kinetics dataset."""
    ucf: str | None = None
    """The UCF-101 dataset, built from its own lists."""
    hmdb: str | None = None
    """The HMDB-51 dataset, built from its own lists."""
    imagenet: Path | None = None
    """2D weights to begin with: torchvision's GoogLeNet file."""
    mini_classes: Path | None = None
    """miniKinetics' classes, one a line."""
    steps: int | None = None
    """Steps of a training on Kinetics. Default: the recipe's."""
    transfer_steps: int = 5000
    """Steps of a training on UCF-101 or HMDB-51."""
    train_flags: str = ""
    """Flags for every training, as one text: `--batch-size 8 --workers 4`."""
    run: bool = True
    """Run what is missing; --no-run only prints its commands and the table."""

    def __post_init__(self) -> None:
        for flag in ("steps", "transfer_steps"):
            value = getattr(self, flag)
            require("--" + flag.replace("_", "-"), value, value is None or value >= 1, "1 or more")
        try:
            shlex.split(self.train_flags)
        except ValueError as error:
            raise UserError(f"--train-flags cannot be read: {error}") from error


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


def comma_separated(values: Sequence[str]) -> tuple[str, ...]:
    """Values of a flag that may be repeated or comma-separated."""
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())


def ytdlp_options(pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=JSON, ... -> options for yt-dlp. Raises UserError that names the pair."""
    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        try:
            options[key] = json.loads(value)
        except ValueError:
            key = ""
        if not (key.isidentifier() and equals):
            raise UserError(f"--ytdlp-option is '{pair}'; allowed: KEY=JSON, as socket_timeout=20 or format='\"bv\"'")
    return options


def as_record(config: Any) -> dict[str, Any]:
    """A config as JSON-able data, without secrets: no credentials of proxies, no values of yt-dlp options."""
    record = {k: _plain(v) for k, v in asdict(config).items()}
    if "proxy" in record:
        record["proxy"] = [without_credentials(p) for p in record["proxy"]]
    if "ytdlp_option" in record:
        record["ytdlp_option"] = [pair.partition("=")[0] for pair in record["ytdlp_option"]]
    if record.get("cookies"):
        record["cookies"] = "(given)"
    return record


def without_credentials(url: str) -> str:
    """A URL without user, password and query."""
    parts = urlsplit(url)
    host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def command_line(command: str, arguments: Sequence[str], config: Any) -> str:
    """The command that does the same again, to be copied into a shell: what differs from the defaults, no secrets."""
    words = ["kinetics-pipeline", command, *arguments]
    withheld = {"ytdlp_option": "KEY=JSON", "cookies": "FILE"}
    for f in fields(config):
        value = getattr(config, f.name)
        if f.default is not MISSING and value == f.default:
            continue
        flag = "--" + f.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
            continue
        for one in value if isinstance(value, tuple) else (value,):
            shown = without_credentials(str(one)) if f.name == "proxy" else str(one)
            words += [flag, withheld.get(f.name, shown)]
    return shlex.join(words)
