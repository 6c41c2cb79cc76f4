"""A folder as Hugging Face's `datasets` and its viewer read it: mp4 files with a `metadata.jsonl` in each split, or
tars, and a card that names the classes in the dataset's order (https://huggingface.co/docs/datasets/video_dataset)."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from kinetics_pipeline.dataset.card import CARD, class_names, inline, quoted, size_category
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.storage.local import new_file
from kinetics_pipeline.workflows.datasets.exports.clips import ExportedClip

METADATA = "metadata.jsonl"
_ABOUT = (
    ("clip_id", "string"), ("video_id", "string"), ("time_start", "float64"), ("time_end", "float64"),
    ("split", "string"), ("label", "string"),
)  # fmt: skip


def write_metadata(to: Path, clips: Sequence[ExportedClip]) -> list[str]:
    """What is known of each file, in its split's folder; the files written."""
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for clip in clips:
        about = {
            "file_name": f"{clip.relative.partition('/')[2]}.mp4",
            "label": clip.place.label,
            "clip_id": clip.place.clip_id,
            "video_id": clip.video_id,
            "time_start": clip.time_start,
            "time_end": clip.time_end,
        }
        lines[clip.split].append(json.dumps(about, ensure_ascii=False))
    for split, rows in lines.items():
        with new_file(to / split / METADATA) as out:
            out.write("".join(f"{row}\n" for row in rows).encode())
    return [f"{split}/{METADATA}" for split in sorted(lines)]


def write_card(dataset: Dataset, clips: Sequence[ExportedClip], to: Path, *, in_tars: bool) -> str:
    """The card; its file's name."""
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
        *class_names(dataset),
        *(line for name, kind in plain for line in (f"  - name: {name}", f"    dtype: {kind}")),
    ]


def _features_of_tars(dataset: Dataset) -> list[str]:
    return [
        "  - name: mp4",
        "    dtype: video",
        "  - name: cls",
        *class_names(dataset),
        "  - name: json",
        "    struct:",
        *(line for name, kind in _ABOUT for line in (f"    - name: {name}", f"      dtype: {kind}")),
        "  - name: __key__",
        "    dtype: string",
        "  - name: __url__",
        "    dtype: string",
    ]
