"""`croissant.json`: a dataset's shards, columns and classes in Croissant 1.1, which dataset searches and loaders read
(https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.recipe import Layout
from kinetics_pipeline.shards.data_file import data_name
from kinetics_pipeline.shards.markers import Marker
from kinetics_pipeline.shards.schema import row_schema
from kinetics_pipeline.storage.local import new_file

FILE = "croissant.json"
CLASSES = "class-names"
"""A record set that is not named as a split may be."""
_FORMATS: dict[Layout, str] = {
    "parquet": "application/x-parquet",
    "array": "application/vnd.apache.arrow.file",
    "video": "application/x-parquet",
}
_TYPES = {
    "string": "sc:Text",
    "double": "cr:Float64",
    "int16": "cr:Int16",
    "int32": "cr:Int32",
    "uint32": "cr:UInt32",
    "binary": "sc:VideoObject",
}
_MEANING = {
    "clip_id": "The clip.",
    "video_id": "The video that it is cut from.",
    "time_start": "Where it begins in the video, in seconds.",
    "time_end": "Where it ends in the video, in seconds.",
    "chunk": "The row's place among those of its clip.",
    "start_frame": "The row's first frame within the clip.",
    "n": "The frames of the row.",
    "height": "Pixels.",
    "width": "Pixels.",
    "label": "The class, a number of the record set class-names; -1 for none or several.",
    "rgb": "A JPEG for each frame.",
    "flow": "A grey JPEG for each frame, u over v; the value 128 + rint(px * 127 / 20) is a motion of px pixels.",
    "crc_rgb": "CRC-32 over the length and the bytes of each picture.",
    "crc_flow": "CRC-32 over the length and the bytes of each picture.",
}
_VIDEO = "The frames as H.264 (Annex B), of which the first is a key frame."
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{
        name: f"cr:{name}"
        for name in (
            *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject"),
            *("fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
            *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
            *("separator", "source", "subField", "transform"),
        )
    },
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
"""That of the specification (its appendix 1), letter by letter: readers warn of another one."""


def write_croissant(dataset: Dataset, to: Path, terms: Sequence[str]) -> list[str]:
    """Writes the description, in which the shards' addresses are relative to the dataset's folder; the file's name.

    Raises UserError for a dataset without a clip, JobFailed for a damaged marker.
    """
    shards = sorted((marker for marker in dataset.markers() if marker.sha256), key=lambda marker: marker.shard)
    if not shards:
        raise UserError(f"{dataset.store.uri} holds no clips")
    with new_file(to / FILE) as out:
        out.write(json.dumps(_description(dataset, shards, terms), ensure_ascii=False, indent=1).encode())
    return [FILE]


def _description(dataset: Dataset, shards: Sequence[Marker], terms: Sequence[str]) -> dict[str, Any]:
    annotations = ", ".join(sorted(dataset.annotations))
    newest = max((entry.get("finished") or "" for marker in shards for entry in marker.clips), default="")
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": f"Clips of {annotations}",
        "description": f"Clips of videos as frames and optical flow, built by kinetics-pipeline from {annotations}.",
        "version": f"{dataset.schema_version}.0.0",
        "license": "; ".join(terms) or "the videos belong to those who made them, the annotations to their authors",
        **({"datePublished": newest[:10]} if newest else {}),
        "distribution": [*_files(dataset, shards), *_file_sets(dataset, shards)],
        "recordSet": list(_record_sets(dataset, shards)),
    }


def _files(dataset: Dataset, shards: Sequence[Marker]) -> Iterator[dict[str, Any]]:
    for marker in shards:
        name = data_name(marker.file, dataset.recipe.layout)
        yield {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "contentSize": f"{marker.bytes} B",
            "encodingFormat": _FORMATS[dataset.recipe.layout],
            "sha256": marker.sha256,
        }


def _file_sets(dataset: Dataset, shards: Sequence[Marker]) -> Iterator[dict[str, Any]]:
    for split in _splits(shards):
        yield {
            "@type": "cr:FileSet",
            "@id": f"shards-of-{split}",
            "name": f"shards of {split}",
            "encodingFormat": _FORMATS[dataset.recipe.layout],
            "includes": data_name(f"{split}-*", dataset.recipe.layout),
        }


def _record_sets(dataset: Dataset, shards: Sequence[Marker]) -> Iterator[dict[str, Any]]:
    if dataset.classes:
        yield {
            "@type": "cr:RecordSet",
            "@id": CLASSES,
            "name": CLASSES,
            "dataType": "sc:Enumeration",
            "key": {"@id": f"{CLASSES}/number"},
            "field": [
                {"@type": "cr:Field", "@id": f"{CLASSES}/{name}", "name": name, "dataType": kind}
                for name, kind in (("number", "cr:Int32"), ("name", "sc:Text"))
            ],
            "data": [
                {f"{CLASSES}/number": number, f"{CLASSES}/name": name} for number, name in enumerate(dataset.classes)
            ],
        }
    if dataset.recipe.layout == "array":  # Croissant has no word for the columns of an Arrow file
        return
    columns = row_schema(dataset.recipe.layout, dataset.schema_version)
    for split in _splits(shards):
        yield {
            "@type": "cr:RecordSet",
            "@id": split,
            "name": split,
            "description": f"A row for up to {dataset.recipe.chunk_length} frames of a clip.",
            "key": [{"@id": f"{split}/clip_id"}, {"@id": f"{split}/chunk"}],
            "field": [
                _field(split, column)
                for column in columns
                if dataset.recipe.flow != "none" or "flow" not in column.name
            ],
        }


def _field(split: str, column: pa.Field) -> dict[str, Any]:
    pictures = pa.types.is_list(column.type)
    several = {"isArray": True, "arrayShape": "-1", "repeated": True}  # mlcroissant 1.1 needs the older word, too
    return {
        "@type": "cr:Field",
        "@id": f"{split}/{column.name}",
        "name": column.name,
        "description": _VIDEO if column.type == pa.binary() else _MEANING.get(column.name, ""),
        "dataType": "sc:ImageObject" if pictures else _TYPES[str(column.type)],
        **(several if pictures else {}),
        "source": {"fileSet": {"@id": f"shards-of-{split}"}, "extract": {"column": column.name}},
    }


def _splits(shards: Sequence[Marker]) -> list[str]:
    return sorted({marker.split for marker in shards})
