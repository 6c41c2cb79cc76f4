"""`README.md` in a dataset: says what the folder holds, to people and, as a dataset card, to Hugging Face's tools.

The front matter is that of https://huggingface.co/docs/hub/datasets-cards: with it `datasets.load_dataset(OUT)` finds
the shards among the other files, and knows the class names.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.shards.schema import row_schema, suffix_of, written_version

CARD = "README.md"
_WRITTEN = "<!-- Written by kinetics-pipeline, anew by each build. Take this line out to keep a text of your own. -->"
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of characters that YAML does not take as they are."""
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_TYPES = {"double": "float64"}
_OLDER = """
Begun under schema version {version}, whose rows do not say video, seconds and split{limit}. `kinetics-pipeline tools
convert` writes a dataset whose rows all do.
"""
_LIMITS = {
    "parquet": ": `load_dataset` gives the columns that all rows have",
    "array": ": `load_dataset` reads it only until a build adds to it",
}
_COUNTED = pa.schema([("clip_id", pa.string()), ("split", pa.string()), ("rows", pa.int16())])


def write_card(dataset: Dataset) -> bool:
    """Writes the card from what is committed; whether it did: a text that somebody put there instead stays."""
    try:
        if _WRITTEN.encode() not in dataset.store.read(CARD):
            return False
    except FileNotFoundError:
        pass
    dataset.store.write(CARD, card(dataset).encode())
    return True


def refresh_card(uri: str) -> None:
    """Writes the card of a dataset that may or may not be there, at the end of whatever changed it.

    Nothing is raised: a build that ends for another reason says that one.
    """
    with suppress(UserError, OSError):
        write_card(Dataset.open(uri))


def card(dataset: Dataset) -> str:
    """The card's text: front matter in YAML, then what a person should know."""
    committed = dataset.newest_table(_COUNTED, "ok")
    clips = Counter(committed["split"].to_pylist())
    rows = pc.sum(committed["rows"]).as_py() or 0
    return "".join(f"{line}\n" for line in _front_matter(dataset, sorted(clips), rows)) + _text(dataset, clips)


def _front_matter(dataset: Dataset, splits: list[str], rows: int) -> Iterator[str]:
    suffix = suffix_of(dataset.recipe.layout)
    yield "---"
    yield f"pretty_name: {quoted('Clips of ' + ', '.join(sorted(dataset.annotations)))}"
    yield "license: other"
    yield "task_categories:"
    yield "- video-classification"
    yield "tags:"
    yield from (f"- {tag}" for tag in ("kinetics-pipeline", "video", "action-recognition", "optical-flow"))
    yield "size_categories:"
    yield f"- {size_category(rows)}"
    if not splits:
        yield "---"
        return
    yield "configs:"
    yield "- config_name: default"
    yield "  data_files:"
    for split in splits:
        yield f"  - split: {split}"
        yield f"    path: shards/{split}-[0-9]*{suffix}"
    older = dataset.schema_version < written_version(dataset.recipe.layout)
    fields = row_schema(dataset.recipe.layout, dataset.schema_version)  # a newer version only adds columns
    if older and dataset.recipe.layout == "parquet":
        yield "  columns:"
        yield from (f"  - {field.name}" for field in fields)
    if not older or dataset.recipe.layout == "parquet":
        yield "dataset_info:"
        yield "  features:"
        for field in fields:
            yield f"  - name: {field.name}"
            yield from _feature(field, dataset)
    yield "---"


def _feature(field: pa.Field, dataset: Dataset) -> Iterator[str]:
    if field.name == "label":
        yield from class_names(dataset, "int32")
    elif pa.types.is_list(field.type):
        yield "    list: image"
    else:
        name = str(field.type)
        yield f"    dtype: {_TYPES.get(name, name)}"


def class_names(dataset: Dataset, number: str) -> list[str]:
    """The type of a feature that is a class number; `number` where the dataset has no classes."""
    if not dataset.classes:
        return [f"    dtype: {number}"]
    names = [f"          '{place}': {quoted(label)}" for place, label in enumerate(dataset.classes)]
    return ["    dtype:", "      class_label:", "        names:", *names]


def size_category(count: int) -> str:
    return next((name for most, name in _SIZES if count < most), "1M<n<10M")


def quoted(text: str) -> str:
    """A text as a double-quoted YAML scalar."""
    plain = json.dumps(text, ensure_ascii=False)
    return "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in _UNSEEN else c for c in plain)


def _text(dataset: Dataset, clips: Mapping[str, int]) -> str:
    recipe = dataset.recipe
    held = ", ".join(f"{count} of {split}" for split, count in sorted(clips.items())) or "none yet"
    flow = "no optical flow" if recipe.flow == "none" else f"{recipe.flow} optical flow"
    older = ""
    if dataset.schema_version < written_version(dataset.recipe.layout):
        older = _OLDER.format(version=dataset.schema_version, limit=_LIMITS[recipe.layout])
    return f"""{_WRITTEN}

# A dataset of clips

Clips: {held}; {counted(len(dataset.classes), "class")}.
{recipe.fps:g} frames a second, short side {recipe.short_side}, {flow}.
Built by kinetics-pipeline from {inline(", ".join(sorted(dataset.annotations)))}.

- `shards/`: the clips, and a JSON file beside each shard that says what became of every clip in it. A row is
  {recipe.chunk_length} frames of a clip: its video, seconds and split, the number of its label (the names are in the
  footer and above), `rgb` and `flow`. `datasets.load_dataset` reads this folder; `kinetics_pipeline.loading` gives
  whole clips.
- `plans/`: the clips that were asked for. `dataset.json`: recipe and classes. `state/`: the state of builds.
{older}
## Terms

The videos belong to those who made them, and the annotations to their authors. Make sure that the terms of both, and
of the sites the videos come from, allow what you do with this dataset. A clip whose author asks for it is taken out by
`kinetics-pipeline tools forget`.
"""


def inline(text: str) -> str:
    """A text within a line of Markdown, without the characters that would end it or begin a tag."""
    return "".join(" " if unicodedata.category(c) in _UNSEEN or c in "<>`[]" else c for c in text)
