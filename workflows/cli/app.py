"""The command line: a command is a function here, its flags are the fields of its config, its work lies elsewhere.

Only the parser is imported here; each command imports what it needs when it runs.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, TextIO

from cyclopts import App, CycloptsError, Group, Parameter

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.workflows.cli import dataset_commands, model_commands
from kinetics_pipeline.workflows.cli.config_file import config_source
from kinetics_pipeline.workflows.cli.usage_errors import said_of
from kinetics_pipeline.workflows.extras import how_to_get
from kinetics_pipeline.workflows.flags.build_flags import BuildConfig, DemoConfig, PlanConfig
from kinetics_pipeline.workflows.flags.features_flags import FeaturesConfig
from kinetics_pipeline.workflows.flags.places import Config, Place, PlaceOrName, places_absolute
from kinetics_pipeline.workflows.flags.training_flags import EvaluateConfig, PaperConfig, PredictConfig, TrainConfig
from kinetics_pipeline.workflows.runtime.cluster import prepare

PROGRAM = "kinetics-pipeline"
INTERRUPTED = 130


def _version() -> str:
    try:
        return version(PROGRAM)
    except PackageNotFoundError:
        return "0 (not installed)"


app = App(
    name=PROGRAM,
    version=_version,
    help="From a Kinetics annotation file to a trained two-stream I3D.",
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `run` says that the same command resumes
)
app.meta.suppress_keyboard_interrupt = False
ELSEWHERE = Group("From a file", sort_key=90)
Annotations = Annotated[tuple[str, ...], Parameter(negative=())]


@app.command
def demo(*, config: DemoConfig | None = None) -> None:
    """Build, kill, resume, train and evaluate on small rendered videos. No internet needed."""
    from kinetics_pipeline.workflows.demo.job import demo as job

    job(config or DemoConfig())


@app.command(usage="Usage: kinetics-pipeline doctor [OPTIONS] [ANNOTATIONS...]")
def doctor(
    *annotations: PlaceOrName,
    json: Annotated[bool, Parameter(negative=())] = False,
    canary: Annotated[tuple[str, ...] | None, Parameter(negative=(), consume_multiple=(0, 1))] = None,
    rate: float = 300.0,
    cluster: Annotated[bool, Parameter(negative=())] = False,
    output: Place | None = None,
    source: Annotated[tuple[PlaceOrName, ...], Parameter(negative=())] = (),
    cache: Path | None = None,
) -> int:
    """Look at this machine: programs, packages, GPU, memory, disk; say what is wrong and what to do.

    Parameters
    ----------
    annotations
        Also say how long YouTube takes for the videos of these annotation files.
    json
        Print one JSON document instead of lines.
    canary
        Also ask YouTube for one video, as a build would: its id, or nothing for YouTube's first video.
    rate
        Videos an hour that YouTube would be asked for.
    cluster
        Also look at every node of the cluster that RAY_ADDRESS names: versions, disk, GPUs, what it reaches.
    output
        With --cluster: the dataset's place, which every node has to reach.
    source
        With --cluster: a source that every node has to reach; may be given several times.
    cache
        With --cluster: the build's --cache.
    """
    from kinetics_pipeline.workflows.doctor.machine import CANARY
    from kinetics_pipeline.workflows.doctor.machine import doctor as job
    from kinetics_pipeline.workflows.doctor.nodes import ToReach

    for flag, value in (("--output", output), ("--source", source), ("--cache", cache)):
        if value and not cluster:
            raise UserError(f"{flag} is given without --cluster, for which it is")
    nodes = ToReach(output, source, cache) if cluster else None
    return job(json, None if canary is None else next(iter(canary), CANARY), annotations, rate, nodes)


@app.command(usage="Usage: kinetics-pipeline plan [OPTIONS] ANNOTATIONS...")
def plan(*annotations: PlaceOrName, config: PlanConfig | None = None) -> None:
    """Show what a build would do: clips, videos, where they would come from, bytes, days at the present rate.

    Parameters
    ----------
    annotations
        Annotation files: csv or json, also gzipped or inside the zip or tar.gz they are published in; path or URL.
    """
    from kinetics_pipeline.workflows.building.preview import plan as job

    job(_some(annotations), config or PlanConfig())


@app.command(usage="Usage: kinetics-pipeline build --output STR [OPTIONS] ANNOTATIONS...")
def build(*annotations: PlaceOrName, config: BuildConfig) -> None:
    """Download, cut, compute flow, write shards. After any interruption, the same command resumes.

    Parameters
    ----------
    annotations
        Annotation files: csv or json, also gzipped or inside the zip or tar.gz they are published in; path or URL.
    """
    from kinetics_pipeline.workflows.building.job import build as job

    job(_some(annotations), config)


@app.command
def status(
    dataset: Place,
    /,
    *,
    watch: Annotated[bool, Parameter(negative=())] = False,
    clip: str | None = None,
    cache: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Say what a dataset holds, how the build at work goes, what failed and why, and what to run next.

    Parameters
    ----------
    dataset
        The dataset.
    watch
        Go on showing the build at work until it ends.
    clip
        Tell the whole way of this clip: plans, tries, record, and the log of the builds on this machine.
    cache
        The build's --cache, where its log lies. Default: ~/.cache/kinetics-pipeline.
    json
        Print one JSON document instead of a table; with --watch one a line.
    """
    from kinetics_pipeline.workflows.datasets.clip_way import clip_way
    from kinetics_pipeline.workflows.datasets.status import status as job
    from kinetics_pipeline.workflows.datasets.watching import watch as following
    from kinetics_pipeline.workflows.runtime.slow_calls import slow_calls_told

    if cache is not None and clip is None:
        print("note: --cache has no effect without --clip", file=sys.stderr)
    with slow_calls_told([lambda line: print(line, file=sys.stderr)]):
        if clip is not None:
            clip_way(dataset, clip, cache, json)
        elif watch:
            following(dataset, json)
        else:
            job(dataset, json)


@app.command
def train(dataset: Place, /, *, config: TrainConfig) -> None:
    """Train a model on one stream of a dataset; the same command resumes from the last checkpoint.

    Parameters
    ----------
    dataset
        The dataset.
    """
    from kinetics_pipeline.workflows.training.share import PASSIVE_WAITING

    for name, value in PASSIVE_WAITING.items():  # before torch is imported, which reads it then
        os.environ.setdefault(name, value)
    from kinetics_pipeline.workflows.training.job import train as job

    job(dataset, config)


@app.command(usage="Usage: kinetics-pipeline evaluate [OPTIONS] DATASET")
def evaluate(dataset: Place | None = None, /, *, config: EvaluateConfig | None = None) -> None:
    """Score trained streams on whole clips, and both fused.

    Parameters
    ----------
    dataset
        The dataset.
    """
    config = config or EvaluateConfig()
    if config.deepmind_sample is not None:
        from kinetics_pipeline.workflows.scoring.deepmind_sample import deepmind_sample

        deepmind_sample(config.deepmind_sample, config)
        return
    if dataset is None:
        raise UserError("DATASET is missing; name the dataset to be scored on")
    from kinetics_pipeline.workflows.scoring.evaluate import evaluate as job

    job(dataset, config)


@app.command
def predict(video: PlaceOrName, /, *, config: PredictConfig | None = None) -> None:
    """Name what happens in a video file, at a URL, or in a clip of a dataset.

    Parameters
    ----------
    video
        A video file, a URL (of YouTube, or of a file), or a clip_id of the dataset given with --dataset.
    """
    from kinetics_pipeline.workflows.scoring.predict import predict as job

    job(video, config or PredictConfig())


@app.command(usage="Usage: kinetics-pipeline features --to PATH [OPTIONS] VIDEOS...")
def features(*videos: Place, config: FeaturesConfig) -> None:
    """Write what the last layer of trained networks sees of videos of any length, as the field's files.

    Parameters
    ----------
    videos
        Video files, folders of them, lists (.txt, a path a line), or datasets.
    """
    from kinetics_pipeline.workflows.scoring.extraction.job import features as job

    job(videos, config)


tools = App(name="tools", help="Work on datasets and checkpoints that exist.", help_format="plaintext")
app.command(tools)
dataset_commands.register(app, tools)
model_commands.register(tools)


paper = App(name="paper", help="The tables of the I3D paper as commands.", help_format="plaintext")
app.command(paper)


@paper.command
def reproduce(table: str, /, *, config: PaperConfig | None = None) -> None:
    """Run what a table of the paper needs and is missing, then print it beside the paper's figures.

    Parameters
    ----------
    table
        1 to 5, minikinetics, examples (accuracy over training examples), figure4, or motion (no data needed).
    """
    from kinetics_pipeline.workflows.paper.job import reproduce as job

    job(table, config or PaperConfig())


@paper.command
def transfer(*, table: Annotated[bool, Parameter(negative=())] = False, config: PaperConfig | None = None) -> None:
    """Transfer from Kinetics to UCF-101 and HMDB-51: Original, Fixed, Full-FT; Tables 4 and 5.

    Parameters
    ----------
    table
        Only print the tables, from the runs that are finished.
    """
    from kinetics_pipeline.workflows.paper.job import transfer as job

    job(config or PaperConfig(), table=table)


@paper.command
def schedules(*, picture: Path | None = None, config: PaperConfig | None = None) -> None:
    """Print how every network of Tables 2 to 5 is trained: clips a step, steps, learning rates, and where each figure
    stands. Nothing is run.

    Parameters
    ----------
    picture
        Draw the learning rates over the steps here (PNG).
    """
    from kinetics_pipeline.workflows.paper.job import resources_of
    from kinetics_pipeline.workflows.paper.schedule_table import schedules as job

    job(resources_of(config or PaperConfig()), picture)


@app.meta.default
def _with_config(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(name="--config", group=ELSEWHERE)] = None,
) -> Any:
    """Flags may also come from a file; those on the command line win.

    Parameters
    ----------
    config
        A TOML or JSON file with the flags of the command, as `short_side = 128`; or a run's own config.json.
    """
    app.config = [] if config is None else [config_source(config)]
    command, given, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    places_absolute(command, given)
    _say_without_effect(given.arguments.values())
    return command(*given.args, **given.kwargs)


def _say_without_effect(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, Config):
            from kinetics_pipeline.workflows.flags.without_effect import without_effect

            for line in without_effect(value):
                print(f"note: {line}", file=sys.stderr)


def _some(annotations: tuple[str, ...]) -> tuple[str, ...]:
    if not annotations:
        raise UserError("ANNOTATIONS is missing; name at least one annotation file (csv or json)")
    return annotations


def _require_utf8(arguments: Sequence[str]) -> None:
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{argument!a} is not UTF-8, as all names have to be; set LC_ALL or LANG to a UTF-8 locale"
            ) from error


def _give_up(stream: TextIO) -> None:
    """Discards what could not be written: Python would try to write it again at exit, and print a traceback."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def run(arguments: Sequence[str]) -> int:
    """Runs one command; see `kinetics_pipeline.workflows.__main__.main`."""
    try:
        _require_utf8(arguments)
        prepare()
        app.config = []  # not the file of an earlier call
        result = app.meta(list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        print(f"{PROGRAM}: {said_of(error, arguments)}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        if (advice := how_to_get(error.name)) is None:
            raise
        print(f"{PROGRAM}: {advice}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP) and error.filename is not None:
            print(f"{PROGRAM}: {error.filename}: {error.strerror}", file=sys.stderr)
            return 2
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or "the place of what this writes"
        print(f"{PROGRAM}: {where} is full: {error.strerror}", file=sys.stderr)
        _give_up(sys.stdout)
        return 1
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    return result if isinstance(result, int) else 0
