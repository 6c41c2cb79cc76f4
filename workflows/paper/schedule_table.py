"""`paper schedules`: with what every experiment of Tables 2 to 5 is trained, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kinetics_pipeline.workflows.paper.experiments import Resources, Score
from kinetics_pipeline.workflows.paper.schedule_groups import groups_of
from kinetics_pipeline.workflows.paper.schedule_picture import draw
from kinetics_pipeline.workflows.paper.tables import TABLES
from kinetics_pipeline.workflows.pictures.sheets import require_picture_file, write_picture

DRAWN = ("2", "3", "4", "5")


def schedules(resources: Resources, picture: Path | None) -> None:
    """Prints the schedules, and draws them where `picture` is given. Raises UserError where it cannot be written."""
    if picture is not None:
        require_picture_file(picture)
    scores = [score for name in DRAWN for score in TABLES[name]().scores()]
    print_schedules(Console(highlight=False, soft_wrap=True), scores, resources)
    if picture is not None:
        write_picture(picture, draw(groups_of(scores, resources), resources))
        print(f"picture: {picture}")


def print_schedules(console: Console, scores: Sequence[Score], resources: Resources) -> None:
    """A row for trainings that are alike, each figure with its source."""
    table = Table(box=None, pad_edge=False, title_justify="left")
    table.title = "Schedules, SGD with momentum 0.9; each figure from the paper, the released code, or ours"
    table.add_column("")
    for column in ("trainings", "GPUs", "clips a GPU", "a step", "steps", "first rate"):
        table.add_column(column, justify="right")
    table.add_column("the rate falls at")
    table.add_column("here")
    for group in groups_of(scores, resources):
        schedule, plan = group.plan.schedule, group.plan
        figures = (schedule.gpus, schedule.clips, schedule.clips_a_step, schedule.steps, schedule.rate)
        counts = (str(len(group.experiments)), *map(str, figures))
        table.add_row(group.title, *counts, group.falls, plan.said())
    wide = Console(highlight=False, width=max(console.width, 240), file=console.file)
    wide.print(table)
    console.print(
        "plateau of N x M steps: the rate falls tenfold (paper) after N evaluations, M steps apart, without progress "
        "(ours);\nthose of UCF-101 and HMDB-51 look at groups held out of the training list (ours)"
    )
