"""What there is to say of a dataset, as one document: counts of all clips, and of some failures all that is known.

Everything is computed from commit markers and plans. Clips that were withdrawn are counted and never named.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from kinetics_pipeline.annotations.published_classes import PublishedClasses, published_classes
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.fingerprint import ENTRIES, fingerprint
from kinetics_pipeline.dataset.verify import Fault, QuickLook
from kinetics_pipeline.shards.data_file import data_name
from kinetics_pipeline.shards.markers import shard_of
from kinetics_pipeline.storage.cache import cache_folder
from kinetics_pipeline.workflows.building.advice import advice, command_of
from kinetics_pipeline.workflows.building.reconciliation import reconcile, told
from kinetics_pipeline.workflows.datasets.page.history import build_events
from kinetics_pipeline.workflows.datasets.page.meanings import MEANINGS
from kinetics_pipeline.workflows.datasets.page.media import examples
from kinetics_pipeline.workflows.datasets.page.runs import runs_of

MOST_FAILURES = 2000
"""Failures that are told in full."""
MOST_REASONS = 20
"""Reasons told of an outcome, those of most clips."""
MOST_VALUES = 12
"""Frame rates, or sizes, told: those of most clips."""
BINS = 120
"""Steps of the timeline at most."""
SHORTEST_STEP = 60
"""Seconds of a step of the timeline at least."""
LONGEST_DETAIL = 500
"""Letters of a failure's reason."""
_WIDER = 1 << 24
"""More than a picture has rows: a width and a height are one number, which a float holds."""
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("clip_id", "split", "file", "label", "outcome", "detail", "finished")),
        *((name, pa.int32()) for name in ("frames", "source_width", "source_height", "repeated")),
        ("source_fps", pa.float64()),
    ]
)
_READ = pa.unify_schemas([_SCHEMA, ENTRIES, pa.schema([("source", pa.string())])])
"""All that is read of the markers: also what counts, fingerprint and reconciliation ask for."""


def facts_of(dataset: Dataset, runs: Sequence[Path] = (), cache: Path | None = None) -> dict[str, Any]:
    """The document of `report --json`. A value that older records lack is counted under `not_recorded`.

    `runs`: folders of runs to tell of; without any, those that lie beside the dataset. `cache`: where the log of builds
    is looked for. Raises JobFailed for a damaged dataset, UserError for a folder that is not a run's.
    """
    look = QuickLook(dataset)
    with dataset.one_reading(_READ, look.see) as table:
        counts = dataset.counts()
        clips = table.select(_SCHEMA.names[1:]).to_pandas(strings_to_categorical=True)
        known = published_classes(dataset.classes)
        prints = fingerprint(dataset).to_json()
        return {
            "place": dataset.store.uri,
            "written": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "clips": counts.clips,
            "ok": counts.ok,
            "pending": counts.pending,
            "shards": counts.shards,
            "bytes": counts.bytes,
            "recipe": dataset.recipe.to_json(),
            "annotations": dataset.annotations,
            "fingerprint": prints,
            "advice": advice(counts.reasons, command_of(dataset)),
            "outcomes": _outcomes(clips),
            "classes": _classes(clips, known),
            "published": None if known is None else {"name": known.name, "clips": known.clips, "source": known.source},
            "sources": _sources(dataset),
            "durations": _durations(clips, dataset.recipe.fps),
            "source_rates": _values(clips, _rates(clips)),
            "source_sizes": _values(clips, _sizes(clips)),
            "repeated": _repeated(clips),
            "timeline": _timeline(clips) | {"events": build_events(dataset, cache_folder(cache))},
            "failures": _failures(clips, table["clip_id"]),
            "shard_list": _shards(dataset, clips, look.faults()),
            "withdrawals": [
                {"time": stone.time, "clips": len(stone.held), "reason": stone.reason} for stone in dataset.tombstones()
            ],
            "runs": runs_of(dataset, runs, prints),
            "examples": examples(clips, table["clip_id"]),
        }


def _outcomes(clips: pd.DataFrame) -> list[dict[str, Any]]:
    """Outcomes with their clips by split, `ok` first, then those of most clips."""
    found = []
    for outcome, mine in clips.groupby("outcome", observed=True):
        meaning, to_do = MEANINGS[outcome]  # type: ignore[index]
        reasons = _counted(mine["detail"]) if outcome not in ("ok", "withdrawn") else {}
        found.append(
            {
                "outcome": outcome,
                "clips": len(mine),
                "splits": _counted(mine["split"]),
                "meaning": meaning,
                "to_do": to_do,
                "reasons": [{"detail": text, "clips": number} for text, number in list(reasons.items())[:MOST_REASONS]],
            }
        )
    return sorted(found, key=lambda one: (one["outcome"] != "ok", -one["clips"], one["outcome"]))


def _counted(column: pd.Series) -> dict[str, int]:
    """How often each value is there, the most frequent first."""
    return {str(value): int(number) for value, number in column.value_counts().items() if number}


def _classes(clips: pd.DataFrame, known: PublishedClasses | None) -> list[dict[str, Any]]:
    """Classes with their outcomes, the one of which the largest share is missing first; those of a list that was
    published also with their clips by split, for they are held against it."""
    table = clips.groupby(["label", "outcome"], observed=True).size().unstack(fill_value=0)
    found = []
    for label, row in zip(table.index, table.to_dict("records"), strict=True):
        outcomes = {outcome: int(number) for outcome, number in row.items() if number}
        asked = sum(outcomes.values())
        found.append({"label": str(label), "asked": asked, "ok": outcomes.pop("ok", 0), "failed": outcomes})
    if known is not None:
        stored = clips[clips["outcome"] == "ok"].groupby(["label", "split"], observed=True).size()
        for one in found:
            one["splits"] = {split: int(stored.get((one["label"], split), 0)) for split in known.clips}
    return sorted(found, key=lambda one: (one["ok"] / one["asked"], one["label"]))


def _sources(dataset: Dataset) -> list[dict[str, str]]:
    names = ("split", "source", "asked", "there", "lacking", "broken", "replaced", "extra", "known")
    rows = [dict(zip(names, row, strict=True)) for row in told(reconcile(dataset))]
    split = ""
    for row in rows:
        split = row["split"] = row["split"] or split
    return rows


def _durations(clips: pd.DataFrame, fps: float) -> list[list[float]]:
    """Pairs of seconds (whole ones, from) and the number of clips that last so long."""
    seconds = (clips.loc[clips["outcome"] == "ok", "frames"] / fps).round(3).astype(int).clip(upper=600)
    counts = seconds.value_counts().sort_index()
    return [[int(length), int(number)] for length, number in zip(counts.index, counts, strict=True)]


def _rates(clips: pd.DataFrame) -> pd.Series:
    different = clips["source_fps"].dropna().unique()
    return clips["source_fps"].map({rate: f"{rate:.2f}".rstrip("0").rstrip(".") for rate in different})


def _sizes(clips: pd.DataFrame) -> pd.Series:
    pixels = clips["source_width"].astype(float) * _WIDER + clips["source_height"].astype(float)
    return pixels.map({both: f"{int(both) // _WIDER}x{int(both) % _WIDER}" for both in pixels.dropna().unique()})


def _values(clips: pd.DataFrame, column: pd.Series) -> dict[str, Any]:
    """How many clips that are ok have each value, those of most clips, the others together, and those without one."""
    mine = column[clips["outcome"] == "ok"]
    counts = mine.dropna().value_counts()
    most = [{"value": str(value), "clips": int(number)} for value, number in counts.head(MOST_VALUES).items()]
    return {"most": most, "others": int(counts[MOST_VALUES:].sum()), "not_recorded": int(mine.isna().sum())}


def _repeated(clips: pd.DataFrame) -> dict[str, int]:
    known = clips[(clips["outcome"] == "ok") & clips["repeated"].notna()]
    half = known["repeated"] >= 0.4 * known["frames"]
    return {
        "recorded": len(known),
        "clips": int((known["repeated"] > 0).sum()),
        "clips_of_mostly_repeats": int(half.sum()),
        "frames": int(known["repeated"].sum()),
        "of_frames": int(known["frames"].sum()),
    }


def _unix(times: pd.Series) -> pd.Series:
    """Times as they are recorded in seconds since 1970; nothing where there is none, or no such day."""
    texts = times.dropna().unique()
    read = pd.to_datetime(pd.Series(texts, dtype=object), errors="coerce", utc=True, format="%Y-%m-%dT%H:%M:%SZ")
    seconds = (read - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(seconds=1)
    return times.astype(object).map(dict(zip(texts, seconds, strict=True)))


def _timeline(clips: pd.DataFrame) -> dict[str, Any]:
    """Clips finished in each step of time: `begins` in seconds since 1970, `step` in seconds."""
    unix = _unix(clips["finished"]).dropna()
    if unix.empty:
        return {"begins": [], "ok": [], "failed": [], "step": 0, "not_recorded": len(clips)}
    first, last = int(unix.min()), int(unix.max())
    step = max(SHORTEST_STEP, -(-(last - first + 1) // BINS))
    bins = (unix - first) // step
    good = clips.loc[unix.index, "outcome"] == "ok"
    steps = range(int(bins.max()) + 1)
    ok, failed = (bins[chosen].value_counts().reindex(steps, fill_value=0).tolist() for chosen in (good, ~good))
    begins = [first + step * number for number in steps]
    return {"begins": begins, "ok": ok, "failed": failed, "step": step, "not_recorded": len(clips) - len(unix)}


def _failures(clips: pd.DataFrame, clip_ids: pa.ChunkedArray) -> list[dict[str, Any]]:
    """Some failures, of each outcome and class as many as fit."""
    failed = clips[~clips["outcome"].isin(["ok", "withdrawn"])]
    number = failed.groupby(["outcome", "label"], observed=True, dropna=False).cumcount()
    chosen = number.sort_values(kind="stable").index[:MOST_FAILURES]
    rows = failed.loc[chosen, ["label", "split", "outcome", "detail"]].astype(object)
    rows.insert(0, "clip_id", clip_ids.take(pa.array(chosen.to_numpy())).to_pylist())
    rows = rows.where(rows.notna(), "").sort_values(["outcome", "label", "clip_id"])
    rows["detail"] = rows["detail"].str.slice(0, LONGEST_DETAIL)
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def _shards(dataset: Dataset, clips: pd.DataFrame, found: list[Fault]) -> list[dict[str, Any]]:
    """Shards by name: their clips, bytes, and what a quick look (`verify --quick`) finds wrong."""
    faults = {fault.shard: fault.problem for fault in found if fault.shard is not None}
    sizes = dict(dataset.store.list("shards"))
    asked, stored = _counted(clips["file"]), _counted(clips.loc[clips["outcome"] == "ok", "file"])
    return [
        {
            "shard": shard_of(file),
            "clips": number,
            "ok": stored.get(file, 0),
            "bytes": sizes.get(data_name(file, dataset.recipe.layout), 0),
            "fault": faults.get(shard_of(file), ""),
        }
        for file, number in sorted(asked.items())
    ]
