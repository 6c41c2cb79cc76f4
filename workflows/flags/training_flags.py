"""Configs of the jobs that train and use networks; see `kinetics_pipeline.workflows.flags.build_flags`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.workflows.flags.panels import panels
from kinetics_pipeline.workflows.flags.places import Config, Place
from kinetics_pipeline.workflows.flags.values import Repeated, require, require_epsilon, require_loaders
from kinetics_pipeline.workflows.flags.written import JSON, require_file_name, require_folder_name

Stream = Literal["rgb", "flow"]
Logger = Literal["tensorboard", "wandb"]
ModelName = Literal["i3d", "c3d", "convnet_lstm", "two_stream", "fused_two_stream", "inception2d"]


@panels(
    Most_used="run model stream recipe init steps batch_size workers loaders classes",
    Schedule="learning_rate scale_learning_rate warmup clip_gradients accumulate dropout seed",
    Clips="train_split frames stride crop flip class_list examples_per_class",
    Evaluation="val_split hold_out evaluate_every val_clips checkpoint_every logger",
    Weights="new_head bn_eps freeze_features freeze_batch_norm",
    Batch_norm="batch_norm_momentum precise_batch_norm sync_batch_norm",
    Machine="device precision compile checkpoint_activations",
)
@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """What `train` does. The defaults are the recipe's; a number given here wins over the recipe."""

    model: ModelName = "i3d"
    """The architecture."""
    stream: Stream = "rgb"
    """Its input."""
    run: Path
    """The run folder: config, checkpoints, metrics. A run in it is resumed from its last checkpoint."""
    recipe: Literal["paper", "released"] = "released"
    """The schedule: the paper's (tenfold less when validation saturates) or the released code's steps."""
    init: Place | None = None
    """Weights: a checkpoint of ours, a port's or DeepMind's, a folder of safetensors, or hf://OWNER/NAME."""
    new_head: bool = False
    """Start the last layer from random weights, also where its number of classes fits; needs --init."""
    bn_eps: float | None = None
    """What batch norm adds to the variance. Default: as --init says if it is a checkpoint of ours, else 0.001."""
    steps: int | None = None
    """Steps of the optimiser; a shorter run shrinks the schedule with it. Default: the recipe's."""
    batch_size: int = 6
    """Clips a worker and step."""
    accumulate: int = 1
    """Batches whose gradients are summed for a step."""
    workers: int = 1
    """Training processes, one GPU each where there are GPUs."""
    loaders: int | Literal["auto"] = "auto"
    """Loading processes of each worker. auto: as many as an H100 needs, if the cores are there; 1 on CPUs."""
    learning_rate: float | None = None
    """The rate for the recipe's batch of 64 x 6 clips; scaled to the batch that is used. Default: the recipe's."""
    scale_learning_rate: bool = True
    """Scale the learning rate with the batch (Goyal et al., 2017)."""
    frames: int = 64
    """Frames a snippet."""
    stride: int = 1
    """Only every so many-th frame: 16 --frames at --stride 4 span 61."""
    crop: int = 224
    """Pixels a side."""
    flip: bool = True
    """Mirror half of the clips, negating the flow's u; not for classes that differ in left and right."""
    dropout: float = 0.5
    """Probability that a feature is dropped before the classifier."""
    batch_norm_momentum: float | None = None
    """Share of the running statistics that a step replaces. Default: 0.001, the released code's; more in short runs."""
    precise_batch_norm: int = 0
    """Batches from which batch norm's statistics are computed again before evaluations and at the end; 0: never."""
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
    """The split that is trained on."""
    val_split: str = "val"
    """The split that is evaluated during training."""
    hold_out: float = 0.0
    """Evaluate this share of the training clips in place of --val-split: whole groups, which are not trained on."""
    classes: Annotated[tuple[str, ...], Repeated] = ()
    """Only these classes: comma-separated, the flag repeated, or a file with one a line."""
    class_list: Path | None = None
    """Only the classes in this file, one a line (miniKinetics is such a list)."""
    examples_per_class: int | None = None
    """Only the first so many training clips of each class."""
    val_clips: int | None = None
    """Evaluate at most so many clips during training: of each class as many, always the same ones. Default: all."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    evaluate_every: int | None = None
    """Steps between evaluations; 0: never. Default: 2000; of the recipe `paper` a fortieth of the steps."""
    logger: Logger = "tensorboard"
    """wandb: show the metrics on Weights & Biases, too; `wandb login` or WANDB_MODE=offline comes first."""
    seed: int = 0
    """The seed of weights, order and crops."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_folder_name("--run", self.run)
        counted = ("steps", "batch_size", "accumulate", "workers", "checkpoint_every", "frames", "stride", "crop")
        for flag in (*counted, "examples_per_class", "val_clips"):
            value = getattr(self, flag)
            require("--" + flag.replace("_", "-"), value, value is None or value >= 1, "1 or more")
        require("--loaders", self.loaders, self.loaders == "auto" or self.loaders >= 0, "auto, or 0 or more")
        for flag in ("warmup", "evaluate_every", "precise_batch_norm", "seed"):
            value = getattr(self, flag)
            require("--" + flag.replace("_", "-"), value, value is None or value >= 0, "0 or more")
        require("--hold-out", self.hold_out, 0 <= self.hold_out < 1, "0 to less than 1")
        require("--dropout", self.dropout, 0 <= self.dropout < 1, "0 to less than 1")
        require("--init", "none", self.init is not None or not self.freeze_features, "weights, with --freeze-features")
        require("--init", "none", self.init is not None or not self.new_head, "weights, with --new-head")
        require_epsilon(self.bn_eps)
        for flag in ("learning_rate", "clip_gradients"):
            rate = getattr(self, flag)
            require("--" + flag.replace("_", "-"), rate, rate is None or 0 < rate < float("inf"), "more than 0")
        momentum = self.batch_norm_momentum
        require("--batch-norm-momentum", momentum, momentum is None or 0 < momentum <= 1, "more than 0, at most 1")


@panels(
    Most_used="split rgb flow both clips fuse views output batch_size workers",
    Views="mirrored window stride crops frames crop",
    What_is_scored="groups any_recipe bn_eps loaders",
    Sample_of_DeepMind="deepmind_sample top",
)
@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Config):
    """What `evaluate` does."""

    split: str = "val"
    """The split that is scored."""
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
    """The whole clip at once (the paper's), half-overlapping windows as long as in training, or ten of three crops."""
    mirrored: bool = False
    """Show every view once more, mirrored."""
    window: int | None = None
    """Frames of a view that is not the whole clip. Default: that of training."""
    stride: int | None = None
    """Only every so many-th frame. Default: that of training."""
    crops: Literal[1, 3, 10] | None = None
    """The centre, three along the longer side, or corners and centre and their mirrors. Default: 3 for 10x3, else 1."""
    frames: int | None = None
    """At most this many frames of a clip, from its start. Default: all."""
    crop: int | None = None
    """Pixels a side of the centre crop. Default: that of training, and the shards' short side for 10x3."""
    batch_size: int = 1
    """Clips at a time."""
    loaders: int | Literal["auto"] = "auto"
    """Loading processes of each worker. auto: as many as an H100 needs, if the cores are there; 1 on CPUs."""
    workers: int = 1
    """Processes that share out the clips, one GPU each where there are GPUs. Not for clips with several actions."""
    output: Path | None = None
    """Where the results are written as JSON. Default: in the run folder."""
    any_recipe: bool = False
    """Score a checkpoint that was trained on shards of another recipe."""
    bn_eps: float | None = None
    """What batch norm adds to the variance. Default: as the checkpoint says, else 0.001."""
    deepmind_sample: Path | None = None
    """kinetics-i3d's data folder, scored instead of a dataset; --rgb and --flow may then be weights of any origin."""
    top: int = 5
    """How many classes of DeepMind's sample are named."""

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [stream for stream in (self.rgb, self.flow, self.both) if stream is not None]
        if not given:
            raise UserError("none of --rgb, --flow and --both is given; allowed: one of them, or --rgb and --flow")
        require("--both", self.both, self.both is None or len(given) == 1, "a network of both streams, alone")
        require_file_name("--output", self.output, JSON)
        require_loaders(self.loaders)
        require_epsilon(self.bn_eps)
        for flag, least in (("batch_size", 1), ("workers", 1), ("frames", 1), ("window", 1), ("stride", 1), ("top", 1)):
            value = getattr(self, flag)
            require("--" + flag.replace("_", "-"), value, value is None or value >= least, f"{least} or more")
        require("--crop", self.crop, self.crop is None or self.crop >= 1, "1 or more")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PredictConfig(Config):
    """What `predict` does."""

    rgb: Path | None = None
    """A run folder or checkpoint of the RGB stream."""
    flow: Path | None = None
    """A run folder or checkpoint of the flow stream."""
    both: Path | None = None
    """A run folder or checkpoint of a network that takes both streams."""
    dataset: Place | None = None
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
        super().__post_init__()
        given = [stream for stream in (self.rgb, self.flow, self.both) if stream is not None]
        if not given:
            raise UserError("none of --rgb, --flow and --both is given; allowed: one of them, or --rgb and --flow")
        require("--both", self.both, self.both is None or len(given) == 1, "a network of both streams, alone")
        require("--top", self.top, self.top >= 1, "1 or more")
        require("--start", self.start, self.start is None or 0 <= self.start < 1e7, "0 or more")
        require("--end", self.end, self.end is None or 0 < self.end < 1e7, "more than --start")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PaperConfig(Config):
    """What `paper` works with. Tables leave out, and name, what needs something that is not given here."""

    runs: Path = Path("paper")
    """Where runs and scores lie; what is finished there is not run again."""
    kinetics: Place | None = None
    """The Kinetics dataset."""
    ucf: Place | None = None
    """The UCF-101 dataset, built from its own lists."""
    hmdb: Place | None = None
    """The HMDB-51 dataset, built from its own lists."""
    imagenet: Path | None = None
    """2D weights to begin with: torchvision's GoogLeNet file."""
    mini_classes: Path | None = None
    """miniKinetics' classes, one a line."""
    schedules: Literal["paper", "released"] = "paper"
    """The schedules of trainings (`paper schedules` prints them); the released code has one for I3D on Kinetics."""
    steps: int | None = None
    """Steps of a training on Kinetics, each of the schedule's number of clips. Default: the schedule's."""
    transfer_steps: int | None = None
    """Steps of a training on UCF-101 or HMDB-51, likewise. Default: 5000."""
    train_flags: Annotated[str, Parameter(allow_leading_hyphen=True)] = ""
    """Flags for every training, as one text: `--batch-size 8 --workers 4`; `--accumulate 1` takes more steps."""
    run: bool = True
    """Run what is missing; --no-run only prints its commands and the table."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag in ("steps", "transfer_steps"):
            value = getattr(self, flag)
            require("--" + flag.replace("_", "-"), value, value is None or value >= 1, "1 or more")
        try:
            shlex.split(self.train_flags)
        except ValueError as error:
            raise UserError(f"--train-flags cannot be read: {error}") from error
