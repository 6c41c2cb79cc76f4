"""A folder as Hugging Face's `datasets` and its viewer read it: mp4 files with a `metadata.parquet` in each split, or
tars, and a card that names the classes in the dataset's order (https://huggingface.co/docs/datasets/video_dataset)."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kinetics_pipeline.dataset.card import CARD, class_names, inline, quoted, size_category
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.storage.local import new_file
from kinetics_pipeline.workflows.datasets.exports.clips import ExportedClip

METADATA = "metadata.parquet"
_ABOUT = (
    ("clip_id", "string"), ("video_id", "string"), ("time_start", "float64"), ("time_end", "float64"),
    ("split", "string"), ("label", "string"),
)  # fmt: skip


def write_metadata(dataset: Dataset, to: Path, clips: Sequence[ExportedClip]) -> list[str]:
    """What is known of each file, in its split's folder; the files written."""
    columns: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for clip in clips:
        about = {
            "file_name": f"{clip.relative.partition('/')[2]}.mp4",
            "label": clip.place.label,
            **clip.about(),
        }
        columns[clip.split].append(about)
    for split, rows in columns.items():
        with new_file(to / split / METADATA) as out:
            pq.write_table(pa.Table.from_pylist(rows, _metadata_schema(dataset)), out)
    return [f"{split}/{METADATA}" for split in sorted(columns)]


def _metadata_schema(dataset: Dataset) -> pa.Schema:
    """The columns, with their types as `datasets` keeps them in a file: it takes those of a folder of videos from
    nowhere else, and a class number would be a plain number."""
    plain = {"file_name": "string", **{name: kind for name, kind in _ABOUT if name not in ("split", "label")}}
    features: dict[str, Any] = {name: {"dtype": kind, "_type": "Value"} for name, kind in plain.items()}
    classes, number = list(dataset.classes), {"dtype": "int64", "_type": "Value"}
    features["label"] = {"names": classes, "_type": "ClassLabel"} if classes else number
    types = {"string": pa.string(), "float64": pa.float64()}
    fields = [pa.field("label", pa.int64()), *(pa.field(name, types[kind]) for name, kind in plain.items())]
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": features}})})


def write_card(
    dataset: Dataset, clips: Sequence[ExportedClip], to: Path, terms: Sequence[str], *, in_tars: bool
) -> str:
    """The card, with these terms among others; its file's name."""
    splits = Counter(clip.split for clip in clips)
    head = [
        "---",
        f"pretty_name: {quoted('Clips of ' + ', '.join(sorted(dataset.annotations)))}",
        "license: other",
        "task_categories:",
        "- video-classification",
        "size_categories:",
        f"- {size_category(len(clips))}",
        "configs:",
        "- config_name: default",
        "  data_files:",
        *(
            line
            for split in sorted(splits)
            for line in (f"  - split: {split}", f"    path: {f'{split}-*.tar' if in_tars else f'{split}/**'}")
        ),
        "dataset_info:",
        "  features:",
        *(_features_of_tars(dataset) if in_tars else _features_of_files(dataset)),
        "---",
    ]
    held = ", ".join(f"{count} of {split}" for split, count in sorted(splits.items()))
    text = f"""
# Clips

Clips: {held}; {len(dataset.classes)} classes. Exported by kinetics-pipeline from a dataset that was built from
{inline(", ".join(sorted(dataset.annotations)))}.

## Terms

The videos belong to those who made them, and the annotations to their authors. Make sure that the terms of both, and
of the sites the videos come from, allow what you do with this dataset, publishing it included. A clip whose author
asks for it has to be taken out of every copy.
{"".join(f"{chr(10)}- {inline(line)}" for line in terms)}
"""
    with new_file(to / CARD) as out:
        out.write("".join(f"{line}\n" for line in head).encode() + text.encode())
    return CARD


def _features_of_files(dataset: Dataset) -> list[str]:
    plain = [(name, kind) for name, kind in _ABOUT if name not in ("split", "label")]
    return [
        "  - name: video",
        "    dtype: video",
        "  - name: label",
        *class_names(dataset, "int64"),
        *(line for name, kind in plain for line in (f"  - name: {name}", f"    dtype: {kind}")),
    ]


def _features_of_tars(dataset: Dataset) -> list[str]:
    return [
        "  - name: mp4",
        "    dtype: video",
        "  - name: cls",
        *class_names(dataset, "int64"),
        "  - name: json",
        "    struct:",
        *(line for name, kind in _ABOUT for line in (f"    - name: {name}", f"      dtype: {kind}")),
        "  - name: __key__",
        "    dtype: string",
        "  - name: __url__",
        "    dtype: string",
    ]
