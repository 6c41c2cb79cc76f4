"""`report RUN`: how a training went, what its evaluations found, and which classes are taken for which."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from kinetics_pipeline.redaction import counted, visible
from kinetics_pipeline.workflows.datasets.page.runs import SCORES, run_facts
from kinetics_pipeline.workflows.datasets.page.write import require_html, run_page, write_html
from kinetics_pipeline.workflows.runtime.progress import duration

SHOWN = 10
"""Evaluations, classes and pairs of classes told on the terminal."""


def report_run(folder: Path, html: Path | None, picture: Path | None, *, by_class: bool, as_json: bool) -> None:
    """Prints what there is to say of a run, or only its classes, or all as JSON; writes the page and the picture.

    Raises UserError for a folder that is not a run's, and for a file that cannot be written.
    """
    if html is not None:
        require_html(html)
    if picture is not None:
        from kinetics_pipeline.workflows.datasets.run_picture import draw_run, require_run_picture

        require_run_picture(picture)
    written = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    facts = {"folder": str(folder), "written": written, **run_facts(folder), **_told_by_the_run(folder)}
    if as_json:
        print(json.dumps(facts, indent=2))
    elif by_class:
        _print_classes(facts, None)
    else:
        _print(facts, folder)
    if html is not None:
        write_html(run_page(facts), html)
    if picture is not None:
        draw_run(facts, picture)
    for name, path in (("page", html), ("picture", picture)):
        if path is not None:
            print(f"the {name} is {path}", file=sys.stderr if as_json else sys.stdout)


class _TrainedOn(msgspec.Struct):
    uri: str = ""


class _Told(msgspec.Struct):
    """What is read of a run's `config.json` (dataset) and `results.json` (seconds)."""

    dataset: _TrainedOn = msgspec.field(default_factory=_TrainedOn)
    seconds: float = 0.0


def _told_by_the_run(folder: Path) -> dict[str, Any]:
    """Where its dataset lay, and its seconds of work, where they are known."""
    told = []
    for name in ("config.json", "results.json"):
        try:
            told.append(msgspec.json.decode((folder / name).read_bytes(), type=_Told))
        except (OSError, ValueError, RecursionError):
            told.append(_Told())
    return {"dataset": told[0].dataset.uri, "seconds": told[1].seconds}


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True, markup=False)


def _print(facts: Mapping[str, Any], folder: Path) -> None:
    console = _console()
    network = ", ".join(part for part in (facts["model"], facts["stream"]) if part)
    console.print(visible(f"{folder}: {network}, {counted(facts['steps'], 'step')}{_work(facts)}"))
    curve = Table("step", "loss", "accuracy", "", box=None, pad_edge=False)
    for name, points in (("training", facts["training"][-1:]), ("evaluation", facts["validation"][-SHOWN:])):
        for step, loss, score in points:
            curve.add_row(str(step), _number(loss), _share(score), name)
    console.print(curve)
    for result in facts["results"]:
        console.print(visible(f"{result['name']}, split {result['split']}"))
        known = [name for name in SCORES if any(score[name] is not None for score in result["scores"])]
        table = Table("network", "clips", *(SCORES[name] for name in known), box=None, pad_edge=False)
        for score in result["scores"]:
            table.add_row(visible(score["stream"]), str(score["clips"]), *(_share(score[name]) for name in known))
        console.print(table)
    _print_classes(facts, SHOWN)
    if facts["dataset"]:
        console.print(visible(_next_command(facts, folder)))


def _next_command(facts: Mapping[str, Any], folder: Path) -> str:
    dataset, run = shlex.quote(facts["dataset"]), shlex.quote(str(folder))
    if any(folder.glob("*-predictions.parquet")):
        return f"see its mistakes: kinetics-pipeline report {dataset} --serve --run {run}"
    stream = facts["stream"] if facts["model"] not in ("two_stream", "fused_two_stream") else "both"
    return f"score it, and see its mistakes then: kinetics-pipeline evaluate {dataset} --{stream} {run}"


def _print_classes(facts: Mapping[str, Any], most: int | None) -> None:
    """The classes of the newest evaluation, the least known first, and what they are taken for."""
    console = _console()
    for result in facts["results"]:
        for score in result["scores"]:
            if score["cells"]:
                _print_matrix(console, result["classes"], score, f"{result['name']}, {score['stream']}", most)
        if any(score["cells"] for score in result["scores"]):
            return
    console.print("no evaluation of this run has told its mistakes yet; `evaluate` does")


def _print_matrix(
    console: Console, classes: Sequence[str], score: Mapping[str, Any], title: str, most: int | None
) -> None:
    clips = {true: number for true, number in enumerate(score["asked"]) if number}
    right = Counter[int]()
    taken: dict[int, list[tuple[int, int]]] = {}
    for true, said, number in score["cells"]:
        if true == said:
            right[true] = number
        else:
            taken.setdefault(true, []).append((number, said))
    table = Table(visible(title), "clips", "right", "", "taken most for", box=None, pad_edge=False)
    for true in sorted(clips, key=lambda one: (right[one] / clips[one], classes[one]))[:most]:
        others = sorted(taken.get(true, []), reverse=True)[:3]
        named = ", ".join(f"{classes[said]} {number}" for number, said in others)
        share = _share(right[true] / clips[true])
        table.add_row(visible(classes[true]), str(clips[true]), str(right[true]), share, visible(named))
    console.print(table)


def _work(facts: Mapping[str, Any]) -> str:
    return f" in {duration(facts['seconds'])} of work" if facts["seconds"] else ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
