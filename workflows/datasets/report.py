"""`report`: what a dataset is, in words for a paper's appendix, and its certificate."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kinetics_pipeline.dataset.certificate import certificate_of, write_certificate
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.redaction import counted, visible
from kinetics_pipeline.shards.markers import Marker
from kinetics_pipeline.workflows.building.advice import advice, command_of, is_earlier_gone
from kinetics_pipeline.workflows.building.reconciliation import reconcile, told
from kinetics_pipeline.workflows.runtime.progress import duration, size

WORST = 10
"""Classes named, those of which most is missing."""
NAMED = 20
"""Clips named that may not be gone."""


def report(uri: str, certificate: Path | None) -> None:
    """Prints what was asked, what survived, by split and class, how it was made, and the fingerprint.

    Raises UserError where there is no dataset, or the certificate cannot be written.
    """
    dataset = Dataset.open(uri)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    entries = dataset.newest(_of_interest)
    made = certificate_of(dataset)
    console.print(
        f"{dataset.store.uri}: {counted(len(entries), 'clip')} asked and done with, {len(made.survivors())} ok"
    )
    _recipe(dataset, console)
    _outcomes(entries, console)
    _reconciliation(dataset, console)
    _doubts(dataset, entries, console)
    _classes(dataset, entries, console)
    _times(entries, console)
    console.print("fingerprint")
    for name, value in made.fingerprint.to_json().items():
        console.print(f"  {name} {value}")
    for stone in dataset.tombstones():
        console.print(visible(f"withdrawn on {stone.time[:10]}: {counted(len(stone.held), 'clip')} ({stone.reason})"))
    if certificate is not None:
        write_certificate(made, certificate)
        console.print(f"the certificate is {certificate}: compare it with `kinetics-pipeline compare`")


def _of_interest(marker: Marker, entry: dict[str, Any]) -> tuple[str, str | None, str, dict[str, float], str]:
    return marker.split, entry["label"], entry["outcome"], entry["seconds"], entry.get("detail") or ""


def _recipe(dataset: Dataset, console: Console) -> None:
    counts = dataset.counts()
    console.print(f"{counted(counts.shards, 'shard')}, {size(counts.bytes)}; {counted(counts.pending, 'clip')} pending")
    console.print("recipe: " + ", ".join(f"{k} {v}" for k, v in dataset.recipe.to_json().items() if k[:6] != "flow_p"))
    for name, sha256 in dataset.annotations.items():
        console.print(visible(f"annotations: {name}, SHA-256 {sha256}"))


def _outcomes(entries: dict[str, Any], console: Console) -> None:
    splits = sorted({split for split, *_ in entries.values()})
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for split, _, outcome, *_ in entries.values():
        counts[outcome][split] += 1
    table = Table("outcome", *splits, "all", box=None, pad_edge=False)
    for outcome in sorted(counts, key=lambda name: (name != "ok", -counts[name].total(), name)):
        table.add_row(outcome, *(str(counts[outcome][split]) for split in splits), str(counts[outcome].total()))
    console.print(table)


def _reconciliation(dataset: Dataset, console: Console) -> None:
    """What each source had of what was asked, beside the known counts of Kinetics."""
    found = reconcile(dataset)
    table = Table("split", "source", *("asked", "there", "lacking", "broken", "replaced", "extra", "known"), box=None)
    for row in told(found):
        table.add_row(*map(visible, row))
    console.print(table)
    for name, one in found.held.items():
        if line := one.told(name):
            console.print(visible(line))
    for name, number in found.enlarged().items():
        console.print(
            visible(f"clips of {name} that are enlarged, since their pictures are smaller than the recipe: {number}")
        )
    for line in found.terms:
        console.print(line)


def _doubts(dataset: Dataset, entries: dict[str, Any], console: Console) -> None:
    """What the failures say together, and which clips an earlier version wrote down too soon."""
    reasons = Counter((outcome, detail) for _, _, outcome, _, detail in entries.values() if outcome != "ok")
    for line in advice(reasons, command_of(dataset)):
        console.print(visible(line))
    early = sorted(clip for clip, (_, _, outcome, _, detail) in entries.items() if is_earlier_gone(outcome, detail))
    for clip in early[:NAMED]:
        console.print(visible(f"  {clip}"))
    if len(early) > NAMED:
        console.print(f"  and {len(early) - NAMED} more")


def _classes(dataset: Dataset, entries: dict[str, Any], console: Console) -> None:
    """The share of each class that survived: the mean, and the classes of which most is missing."""
    asked, alive = Counter[str](), Counter[str]()
    for _, label, outcome, *_ in entries.values():
        if label is not None:
            asked[label] += 1
            alive[label] += outcome == "ok"
    if not asked:
        return
    share = {label: alive[label] / number for label, number in asked.items()}
    mean = sum(share.values()) / len(share)
    console.print(f"{len(asked)} of {len(dataset.classes)} classes have clips; of a class {mean:.1%} is ok on average")
    missing = sorted((label for label in share if share[label] < 1), key=lambda label: (share[label], label))
    if missing:
        table = Table("least complete classes", "ok", "asked", "", box=None, pad_edge=False)
        for label in missing[:WORST]:
            table.add_row(visible(label), str(alive[label]), str(asked[label]), f"{share[label]:.1%}")
        console.print(table)


def _times(entries: dict[str, Any], console: Console) -> None:
    seconds: Counter[str] = Counter()
    for *_, stages, _ in entries.values():
        seconds.update(stages)
    if seconds:
        spent = ", ".join(f"{stage} {duration(value)}" for stage, value in seconds.most_common())
        console.print(visible(f"spent by stage: {spent}"))
