"""`tools forget`: withdraws clips for good, and names the runs that were trained on them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from kinetics_pipeline.dataset.card import refresh_card
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.withdraw import finish_withdrawals, remove_kept, withdraw
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import CLIP_ID
from kinetics_pipeline.redaction import counted, visible
from kinetics_pipeline.shards.markers import Tombstone
from kinetics_pipeline.storage.cache import cache_folder
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.building.lease import Lease, is_current
from kinetics_pipeline.workflows.building.state import last_run


def forget(uri: str, ids: Path, reason: str, kept: Sequence[str], runs: Sequence[Path]) -> None:
    """Prints what was withdrawn and which runs were trained on it.

    Raises UserError for a file without ids, or while the dataset is being built.
    """
    dataset = Dataset.open(uri)
    asked = _ids(ids)
    configs = list(_runs(runs))
    places = _kept(kept)
    with Lease.acquire(dataset.store) as lease, tempfile.TemporaryDirectory() as scratch:
        stone = withdraw(dataset, asked, reason)
        if stone is None:
            print(f"{counted(len(asked), 'id is', 'ids are')} withdrawn already")
        else:
            print(
                f"{counted(len(stone.ids), 'id is', 'ids are')} withdrawn from now on; "
                f"the dataset held {counted(len(stone.held), 'clip')} of them"
            )
        rewritten = finish_withdrawals(dataset, Path(scratch), lambda: is_current(dataset.store, lease.generation))
        refresh_card(dataset.store.uri)
        dataset.refresh_index()
        print(f"shards rewritten: {rewritten}")
        if rewritten and dataset.store.local_path("") is None:
            print(f"machines that trained on it may hold copies of the old shards in {cache_folder(None) / 'shards'}")
        stones = [stone for stone in dataset.tombstones() if not set(stone.ids).isdisjoint(asked)]
        for place in places:
            removed = counted(remove_kept(place, dataset, asked), "kept segment was", "kept segments were")
            print(f"{removed} removed from {place.uri}")
        run = last_run(dataset.store)
        if not places and run is not None and run.config.get("keep_clips"):
            print(visible(f"its last build kept segments in {run.config['keep_clips']}; to remove them: --kept PLACE"))
    for folder, config in configs:
        if told := _trained(config, dataset, stones):
            print(visible(f"{folder} {told}"))


def _ids(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--ids is {file}, which cannot be read: {getattr(error, 'strerror', None) or error}") from None
    ids = []
    for number, line in enumerate(lines, start=1):
        if id_ := line.strip():
            if not CLIP_ID.fullmatch(id_):
                raise UserError(f"--ids is {file}, whose line {number} is {id_[:60]!r}; allowed: a clip_id or video id")
            ids.append(id_)
    if not ids:
        raise UserError(f"--ids is {file}, which names nothing; allowed: a clip_id or video id a line")
    return ids


def _kept(given: Sequence[str]) -> list[Store]:
    """Where segments are kept: from the command line alone, never from what a dataset says. Raises UserError for what
    is not a place."""
    places = [open_store(place) for place in dict.fromkeys(given)]
    for place in places:
        if (folder := place.local_path("")) is not None and not folder.is_dir():
            raise UserError(f"--kept names {place.uri}, which is not a folder; allowed: what --keep-clips filled")
    return places


class _Record(msgspec.Struct):
    command: str | None = None


class _Trained(msgspec.Struct):
    fingerprint: dict[str, str]
    uri: str


class _Run(msgspec.Struct):
    """What is read of the config that `train` keeps with a run."""

    config: dict[str, Any]
    classes: list[str]
    dataset: _Trained


def _runs(folders: Sequence[Path]) -> Iterator[tuple[Path, _Run]]:
    """The run folders given, or those in a folder given, with their configs. Raises UserError where there is none."""
    for folder in folders:
        configs = (
            [folder / "config.json"] if (folder / "config.json").is_file() else sorted(folder.glob("*/config.json"))
        )
        if not configs:
            raise UserError(f"--runs names {folder}, which is not a run folder and holds none")
        for config in configs:
            try:
                data = config.read_bytes()
                if msgspec.json.decode(data, type=_Record).command == "train":
                    yield config.parent, msgspec.json.decode(data, type=_Run)
            except OSError as error:
                raise UserError(f"--runs names {config.parent}, whose config.json cannot be read: {error}") from None
            except (RecursionError, UnicodeDecodeError, msgspec.DecodeError):
                raise UserError(f"--runs names {config.parent}, whose config.json is damaged") from None


def _trained(run: _Run, dataset: Dataset, stones: Sequence[Tombstone]) -> str:
    """What to say of a run; empty when it has nothing to do with what was withdrawn."""
    split, classes = run.config.get("train_split", "train"), {*run.classes, None}
    # Which clips were on a list of the annotations, as `train1`, and which actions they had, no tombstone says.
    on_a_list = split not in {name.removeprefix("shards/").rpartition("-")[0] for name in dataset.marker_names()}
    told = []
    for stone in stones:
        chosen = [clip for clip in stone.held if clip["label"] in classes and (on_a_list or clip["split"] == split)]
        if not chosen:
            continue
        of_then = run.dataset.fingerprint.get("content") == stone.fingerprint["content"]
        doubtful = on_a_list or any(clip["label"] is None for clip in chosen)
        clips = f"{counted(len(chosen), 'withdrawn clip')}, as {chosen[0]['clip_id']}"
        if of_then and not doubtful and run.config.get("examples_per_class") is None:
            told.append(f"was trained on {clips}")
        elif of_then or run.dataset.uri == dataset.store.uri:
            told.append(f"may have been trained on {clips}")
    return "; ".join(told)
