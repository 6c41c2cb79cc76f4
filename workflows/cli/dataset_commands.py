"""The commands for datasets that exist: verify, report, compare, and the tools.

Each imports its work when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.recipe import Layout
from kinetics_pipeline.workflows.flags.places import Place, PlaceOrName
from kinetics_pipeline.workflows.flags.report_flags import ReportConfig
from kinetics_pipeline.workflows.flags.written import JSON, LIST, require_file_name, require_folder_name

Flag = Parameter(negative=())


def verify(dataset: Place, /, *, quick: Annotated[bool, Flag] = False) -> None:
    """Check every byte of a dataset; name every bad shard and clip, and end with 1 if there is one.

    Parameters
    ----------
    dataset
        The dataset.
    quick
        Look at markers, plans and file sizes only.
    """
    from kinetics_pipeline.workflows.datasets.verify import verify as job

    job(dataset, quick)


def report(
    dataset: Place,
    /,
    *,
    html: Path | None = None,
    by: Literal["class"] | None = None,
    json: Annotated[bool, Flag] = False,
    certificate: Path | None = None,
    picture: Path | None = None,
    serve: Annotated[bool, Flag] = False,
    more: ReportConfig | None = None,
) -> None:
    """Say what a dataset is: what was asked, what survived by split and class, how it was made, its fingerprint.

    Of a training run it says how it went, what its evaluations found, and which classes it takes for which.

    Parameters
    ----------
    dataset
        The dataset, or a run folder.
    html
        Write all of it as one page here, which needs no network: classes, failures and shards to sort and search, the
        rate of the build, some clips' flow, and the runs that were trained on it.
    by
        class: print every class with what became of its clips and why, the one that lost most first.
    json
        Print the facts of the page as one JSON document.
    certificate
        Write its certificate here: fingerprint and clips, to be kept with results and compared with other datasets.
    picture
        Draw the curves and confusions of a run here (.png, .svg or .pdf).
    serve
        Show the clips in a browser on this machine, RGB and flow playing, until Ctrl-C.
    """
    config = more or ReportConfig()
    from kinetics_pipeline.workflows.datasets.compare_trained import is_run

    if is_run(dataset):
        _require_of_run(certificate, serve, config)
        from kinetics_pipeline.workflows.datasets.run_report import report_run

        report_run(Path(dataset), html, picture, by_class=by is not None, as_json=json)
        return
    if picture is not None:
        raise UserError(f"--picture draws a training run, and {dataset} is none; `tools inspect --picture` draws clips")
    _report_dataset(dataset, html, certificate, config, by_class=by is not None, as_json=json, serve=serve)


def _report_dataset(
    dataset: str,
    html: Path | None,
    certificate: Path | None,
    config: ReportConfig,
    *,
    by_class: bool,
    as_json: bool,
    serve: bool,
) -> None:
    require_file_name("--certificate", certificate, JSON)
    if serve and (html is not None or by_class or as_json or certificate is not None):
        raise UserError("--serve goes alone; allowed beside it: --run, --marks, --port")
    config.require_use(html=html is not None, json=as_json, serve=serve)
    if serve:
        from kinetics_pipeline.workflows.datasets.viewer.job import serve as show

        show(dataset, config)
        return
    if html is None and not by_class and not as_json:
        from kinetics_pipeline.workflows.datasets.report import report as job

        job(dataset, certificate)
        return
    from kinetics_pipeline.workflows.datasets.page.job import report_facts

    report_facts(dataset, html, certificate, config, by_class=by_class, as_json=as_json)


def _require_of_run(certificate: Path | None, serve: bool, config: ReportConfig) -> None:
    if certificate is not None or serve or config != ReportConfig():
        raise UserError("a run is reported with --html, --picture, --json and --by class alone; DATASET is a run")


def compare(first: Place, second: Place, /, *, common: Path | None = None) -> int:
    """Say whether two datasets have the same annotations, survivors, recipe and content; end with 1 if not.

    A run or a checkpoint stands for the dataset that it was trained on; then their classes are compared too.

    Parameters
    ----------
    first
        A dataset, the certificate of one, a run, or a checkpoint.
    second
        Another.
    common
        Write the ids of the clips that both have here: `evaluate --clips` takes the file.
    """
    from kinetics_pipeline.workflows.datasets.compare import compare_datasets as job

    require_file_name("--common", common, LIST)

    return job(first, second, common)


def inspect(
    dataset: Place,
    /,
    *,
    clip: Annotated[tuple[str, ...], Flag] = (),
    picture: Path | None = None,
    frames: int = 8,
) -> None:
    """Show what a dataset holds, or what is known of a clip; draw frames and flow.

    Parameters
    ----------
    dataset
        The dataset.
    clip
        A clip_id; may be given several times. Default: the dataset as a whole.
    picture
        Write a contact sheet (PNG or JPEG) of the clips here, else of one clip of each of the first classes.
    frames
        Frames of a clip in the picture.
    """
    from kinetics_pipeline.workflows.datasets.inspect import inspect as job

    job(dataset, clip, picture, frames)


def repair(dataset: Place, /, *, quick: Annotated[bool, Flag] = False) -> None:
    """Take what `verify` names out of a dataset, so that the next build makes it again.

    Parameters
    ----------
    dataset
        The dataset.
    quick
        Only what `verify --quick` names.
    """
    from kinetics_pipeline.workflows.datasets.repair import repair as job

    job(dataset, quick)


def forget(
    dataset: Place,
    /,
    *,
    ids: Path,
    reason: str,
    kept: Annotated[tuple[Place, ...], Flag] = (),
    runs: Annotated[tuple[Path, ...], Parameter(negative=(), consume_multiple=True)] = (),
) -> None:
    """Withdraw clips for good: from the shards, from kept segments, and from every later build.

    Run it again if it was interrupted. It is done at once for who reads the dataset; rewriting the shards follows.

    Parameters
    ----------
    dataset
        The dataset.
    ids
        A file with a clip_id or a video id a line; a video's stands for all its clips, also those asked later.
    reason
        Why, in a line: it is kept with the records.
    kept
        Also remove the segments from this folder or URI, which --keep-clips filled.
    runs
        Run folders, or folders of such: those trained on what is withdrawn are named.
    """
    from kinetics_pipeline.workflows.datasets.forget import forget as job

    job(dataset, ids, reason, kept, runs)


def convert(
    dataset: Place,
    /,
    *,
    output: Place,
    layout: Layout,
    classes: Annotated[tuple[str, ...], Flag] = (),
    split: Annotated[tuple[str, ...], Flag] = (),
    clips: Path | None = None,
    examples_per_class: int | None = None,
    clips_per_shard: int = 64,
) -> None:
    """Make a dataset of another layout or of fewer clips, as raw arrays that train fast; the same command resumes.

    Parameters
    ----------
    dataset
        The dataset.
    output
        The new dataset: a folder or a URI.
    layout
        JPEG in Parquet; raw arrays in Arrow IPC; or video: H.264 in Parquet, a quarter of JPEG's bytes.
    classes
        Only these classes: comma-separated, the flag repeated, or a file with one a line; they keep their numbers.
    split
        Only these splits.
    clips
        Only the clips in this file of ids, or of this certificate.
    examples_per_class
        Only the first so many clips of each class and split that are ok.
    clips_per_shard
        At most this many clips a shard.
    """
    from kinetics_pipeline.workflows.datasets.convert import convert as job

    require_folder_name("--output", output)

    job(dataset, output, layout, classes, split, clips, examples_per_class, clips_per_shard)


def export(
    dataset: Place,
    /,
    *,
    format: Literal["mp4", "frames", "webdataset", "huggingface", "croissant"],
    to: Path,
    split: str | None = None,
    ids: Path | None = None,
    kept: Place | None = None,
) -> None:
    """Write the clips as files that other programs train from, with mmaction2's and SlowFast's lists.

    Parameters
    ----------
    dataset
        The dataset.
    format
        mp4: a video for each clip, in the folders of torchvision's Kinetics; frames: a folder of JPEGs for each clip,
        as denseflow makes; webdataset: mp4 in tars of 1,000 clips; huggingface: mp4 with a dataset card, in
        tars beyond 100,000 clips; croissant: croissant.json, a description of the dataset itself.
    to
        The folder to write to; what is there already is not made again.
    split
        Only this split.
    ids
        Only the clips in this file of ids, as the viewer saves it, or of this certificate.
    kept
        For all but frames: copy the segments from this folder or URI, which --keep-clips filled.
    """
    from kinetics_pipeline.workflows.datasets.export import export as job

    require_folder_name("--to", to)

    job(dataset, format, to, split, kept, ids)


def refusals(file: PlaceOrName, /) -> None:
    """Say how messages of yt-dlp are read: which outcome each has, and which nobody knows yet.

    Parameters
    ----------
    file
        A log, or messages pasted into a file, one a line; `-` reads standard input.
    """
    from kinetics_pipeline.workflows.datasets.refusals import refusals as job

    job(file)


def register(app: App, tools: App) -> None:
    """Adds the commands to the command line and to its `tools`."""
    app.command(verify)
    app.command(report)
    app.command(compare)
    tools.command(inspect)
    tools.command(repair)
    tools.command(forget)
    tools.command(convert)
    tools.command(export)
    tools.command(refusals)
