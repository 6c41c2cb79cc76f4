"""`paper reproduce` and `paper transfer`: run what a table needs and is missing, then print it beside the paper's."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Literal

import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.index import load_index
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.flags.places import words_absolute
from kinetics_pipeline.workflows.flags.training_flags import PaperConfig, TrainConfig
from kinetics_pipeline.workflows.paper.commands import command
from kinetics_pipeline.workflows.paper.experiments import Resources, Score, in_training_order
from kinetics_pipeline.workflows.paper.schedule_table import print_schedules
from kinetics_pipeline.workflows.paper.tables import TABLES, Cell, PaperTable

SPECIAL = ("1", "figure4", "motion")


def reproduce(name: str, config: PaperConfig) -> None:
    """Raises UserError for a name that is none, JobFailed when a command fails."""
    if name not in (*TABLES, *SPECIAL):
        raise UserError(f"TABLE is {name!r}; allowed: {', '.join(sorted((*TABLES, *SPECIAL)))}")
    console = Console(highlight=False, soft_wrap=True)
    if name == "1":
        from kinetics_pipeline.workflows.paper.architectures import print_architectures

        print_architectures(console)
    elif name == "motion":
        from kinetics_pipeline.workflows.paper.motion import motion

        motion(console, config)
    elif name == "figure4":
        _figure_4(console, resources_of(config), config)
    else:
        _table(console, TABLES[name](), resources_of(config), config)


def transfer(config: PaperConfig, *, table: bool) -> None:
    """Tables 4 and 5: what is missing is run first, unless only the table is asked."""
    console = Console(highlight=False, soft_wrap=True)
    for name in ("4", "5"):
        _table(console, TABLES[name](), resources_of(config), config, run=config.run and not table)


def resources_of(config: PaperConfig) -> Resources:
    given = {"kinetics": config.kinetics, "mini": config.kinetics, "ucf": config.ucf, "hmdb": config.hmdb}
    return Resources(
        runs=config.runs,
        datasets={place: uri for place, uri in given.items() if uri is not None},
        imagenet=config.imagenet,
        mini_classes=config.mini_classes,
        flags=tuple(words_absolute(shlex.split(config.train_flags), TrainConfig)),
        steps=config.steps,
        transfer_steps=config.transfer_steps,
        schedules=config.schedules,
        tested=frozenset(
            place for place in ("kinetics", "mini") if place in given and _has_labelled_test(given[place])
        ),
    )


def _has_labelled_test(uri: str | None) -> bool:
    if uri is None:
        return False
    try:
        index = load_index(Dataset.open(uri))
    except UserError:  # which the first command on it says
        return False
    return bool(pc.any(pc.and_(pc.equal(index["split"], "test"), pc.is_valid(index["label"]))).as_py())


def _table(
    console: Console, table: PaperTable, resources: Resources, config: PaperConfig, run: bool | None = None
) -> None:
    scores = [score for score in table.scores() if score.missing(resources) is None]
    commands: list[list[str]] = []
    for experiment in in_training_order(scores):
        if not experiment.is_trained(resources):
            commands.append(experiment.training(resources))
    stale = {tuple(command) for command in commands}
    for score in scores:
        trained_anew = any(tuple(one.training(resources)) in stale for one in score.experiments)
        evaluation = score.evaluation(resources)  # one for all heads of a network
        if evaluation not in commands and (trained_anew or score.measured(resources) is None):
            commands.append(evaluation)
    if commands:
        print_schedules(console, scores, resources)
    _run_commands(console, commands, config.run if run is None else run)
    _print(console, table, resources)


def _run_commands(console: Console, commands: list[list[str]], run: bool) -> None:
    for number, words in enumerate(commands, start=1):
        console.print(f"[{number}/{len(commands)}] kinetics-pipeline {shlex.join(words)}", markup=False)
        if run:
            command(words)


def _figure_4(console: Console, resources: Resources, config: PaperConfig) -> None:
    from kinetics_pipeline.workflows.paper.tables import score_of

    score = score_of("i3d", "rgb+flow", "kinetics", imagenet=True)
    assert score is not None
    if (lacking := score.missing(resources)) is not None:
        raise UserError(f"{lacking} is missing: figure 4 shows I3D trained on Kinetics from ImageNet's weights")
    rgb, flow = (one.weights(resources) for one in score.experiments)
    commands = [one.training(resources) for one in in_training_order([score]) if not one.is_trained(resources)]
    picture = str(resources.runs / "figure4.png")
    words = ["--rgb", str(rgb), "--flow", str(flow), "--flat", str(resources.imagenet)]
    _run_commands(console, [*commands, ["tools", "filters", picture, *words]], config.run)


def _print(console: Console, table: PaperTable, resources: Resources) -> None:
    drawn = Table(title=f"{table.title}: paper / here (%)", box=None, pad_edge=False, title_justify="left")
    drawn.add_column("")
    for column in table.columns:
        drawn.add_column(column, justify="right")
    for label, cells in table.rows:
        drawn.add_row(label, *(shown(cell, resources) for cell in cells))
    wide = Console(highlight=False, width=max(console.width, 24 + 18 * len(table.columns)), file=console.file)
    wide.print(drawn)
    _print_provenance(console, table, resources)


def shown(cell: Cell, resources: Resources) -> str:
    """The paper's figure, and the mean of what was measured: `?` where none was yet, a dash where none can be. Top-5 is
    in brackets where the paper has it, and a star says that the split of validation was scored."""
    top5 = cell.paper_top5 is not None
    paper = "–" if cell.paper is None else f"{cell.paper:.1f}" + (f" ({cell.paper_top5:.1f})" if top5 else "")
    if not cell.scores:
        return paper if cell.paper is None else f"{paper} / –"
    here = _mean(cell, resources, "top1")
    if here is None:
        return f"{paper} / ?"
    brackets = f" ({_mean(cell, resources, 'top5'):.1f})" if top5 else ""
    return f"{paper} / {here:.1f}{brackets}{'*' if _on_validation(cell.scores, resources) else ''}"


def _mean(cell: Cell, resources: Resources, top: Literal["top1", "top5"]) -> float | None:
    found = [score.accuracy(resources, top) for score in cell.scores]
    values = [value for value in found if value is not None]
    return sum(values) / len(values) if len(values) == len(found) else None


def _on_validation(scores: Sequence[Score], resources: Resources) -> bool:
    return any(one.scored_on(resources) == "val" for score in scores for one in score.experiments)


def _print_provenance(console: Console, table: PaperTable, resources: Resources) -> None:
    """Clips, datasets and steps behind the figures here, and what is missing."""
    lines: dict[str, None] = {}
    missing: dict[str, int] = {}
    on_validation = False
    for score in table.scores():
        results = score.measured(resources)
        if results is None:
            flag = score.missing(resources)
            key = f"without {flag}" if flag else "not run yet"
            missing[key] = missing.get(key, 0) + 1
            continue
        cover, print_ = results["coverage"], results["dataset"]["fingerprint"]["content"][:12]
        steps = "/".join(str(one["step"]) for one in results["checkpoints"].values())
        split = results["config"]["split"]
        lines[
            f"{score.name}: {cover['ok']} of {cover['asked']} clips of {split} in {results['dataset']['uri']} "
            f"(content {print_}), {counted(len(results['classes']), 'class')}, {steps} steps"
        ] = None
        on_validation = on_validation or _on_validation([score], resources)
    if on_validation:
        console.print(
            "* the last checkpoint on val, whose loss decided when the learning rate fell: the dataset has no labelled "
            "test split"
        )
    if lines:
        console.print("measured here:")
        for line in lines:
            console.print(f"  {line}", markup=False)
    for why, count in missing.items():
        console.print(f"{count} of {len(table.scores())} scores are not measured: {why}", markup=False)
