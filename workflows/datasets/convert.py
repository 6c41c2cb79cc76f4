"""`tools convert`: a dataset of another layout, or of fewer clips, from one that is built."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kinetics_pipeline.annotations.class_names import chosen_classes
from kinetics_pipeline.dataset.card import refresh_card
from kinetics_pipeline.dataset.convert import Choice, begin
from kinetics_pipeline.dataset.convert import convert as convert_shards
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.index import load_index
from kinetics_pipeline.loading.selection import select
from kinetics_pipeline.recipe import Layout
from kinetics_pipeline.redaction import counted, without_secrets
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.workflows.building.lease import Lease, is_current
from kinetics_pipeline.workflows.building.state import RUN
from kinetics_pipeline.workflows.flags.values import comma_separated
from kinetics_pipeline.workflows.runtime.progress import Meter, size


def convert(
    uri: str,
    output: str,
    layout: Layout,
    classes: Sequence[str],
    splits: Sequence[str],
    clips: Path | None,
    examples_per_class: int | None,
    clips_per_shard: int,
) -> None:
    """Prints what was made. Raises UserError for a choice that leaves nothing, and while `output` is being built."""
    if clips_per_shard < 1:
        raise UserError(f"--clips-per-shard is {clips_per_shard}; allowed: 1 or more")
    source = Dataset.open(uri)
    store = open_store(output)
    if store.uri == source.store.uri:
        raise UserError(f"--output is {output}, which is the dataset that is to be converted; give another")
    named = chosen_classes(classes, source.classes)
    chosen = None
    if clips is not None or examples_per_class is not None:
        index = load_index(source)
        parts = [
            select(index, source, split, named or None, clips, examples_per_class)
            for split in comma_separated(splits) or sorted(set(index["split"].to_pylist()))
        ]
        chosen = {clip for part in parts for clip in part["clip_id"].to_pylist()}
    command = ["kinetics-pipeline", "tools", "convert", uri, "--output", output, "--layout", layout]
    for flag, values in (
        ("--classes", classes),
        ("--split", splits),
        ("--clips", [] if clips is None else [clips]),
        ("--examples-per-class", [] if examples_per_class is None else [examples_per_class]),
        ("--clips-per-shard", [clips_per_shard]),
    ):
        command += [word for value in values for word in (flag, str(value))]
    choice = Choice(named or None, comma_separated(splits) or None, chosen)
    with Lease.acquire(store) as lease, tempfile.TemporaryDirectory() as scratch:
        dataset = begin(source, output, layout, choice, clips_per_shard)
        store.write(RUN, json.dumps({"command": shlex.join(map(without_secrets, command)), "config": {}}).encode())
        unfinished = dataset.unfinished()
        with Meter(len(unfinished[2]) if unfinished else 0, "shards") as meter:
            convert_shards(source, dataset, Path(scratch), lambda: is_current(store, lease.generation), meter.at)
        dataset.refresh_index()
        refresh_card(dataset.store.uri)
    counts = dataset.counts()
    print(
        f"{counted(counts.ok, 'clip')} in {counted(counts.shards, 'shard')}, "
        f"{size(counts.bytes)} in {dataset.store.uri} ({layout})"
    )
