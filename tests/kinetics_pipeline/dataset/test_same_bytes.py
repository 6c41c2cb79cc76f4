"""A dataset of the same input keeps its bytes from version to version: hashes of what earlier versions wrote.

The input is lossless and needs no scaling: scaling and optical flow round as the processor's instructions do, so their
bytes are the same only on one family of processors, and no hash of theirs can be kept here. The columns are hashed, not
the file, whose footer names the version of Arrow that wrote it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kinetics_pipeline.clip import process_clip
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.plan_files import plan_name
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, Record, clip_id
from kinetics_pipeline.shards.writer import write_shard
from kinetics_pipeline.sources.base import Media
from kinetics_pipeline.video import read_clip
from tests.builders.clips import planned
from tests.data.make_exact import pictures

INPUT = Path(__file__).parents[2] / "data" / "exact.mkv"
CLIP = Clip(clip_id("exact", 0.2, 0.9), "exact", 0.2, 0.9, "a", "train")
COLUMNS = ("clip_id", "chunk", "start_frame", "n", "height", "width", "label", "rgb", "crc_rgb")
KEPT = {
    "parquet": "d6872c364e7adba681b377a653b117a71c39f6cfd9a552300de8f4430bbeda4f",
    "array": "d14597133785fa13b62048890d72cf38aae4348199aaf855cc33b908ae1127e0",
}
"""SHA-256 of the columns, written first by version 0.1.0 (libjpeg-turbo 3). Another hash is another dataset: it needs
a new version of the recipe or the schema, and a line in the changelog."""


@pytest.mark.parametrize("layout", sorted(KEPT))
def test_the_data_file_of_a_kept_input_has_the_bytes_that_it_always_had(layout: str, tmp_path: Path) -> None:
    assert np.array_equal(read_clip(INPUT, 0.2, 0.9, short_side=32), pictures()[5:23])
    recipe = Recipe(short_side=32, flow="none", layout=layout)  # type: ignore[arg-type]
    done = process_clip(CLIP, [Media(INPUT, "kept")], recipe, 0)
    dataset = Dataset.create(tmp_path / "dataset", recipe, ["a"], {"a.csv": "00"})
    shard = next(iter(planned(dataset, [CLIP]).shards()))
    record = Record(CLIP.clip_id, "exact", 0.2, 0.9, "a", "ok", source="kept", frames=done.frames)
    write_shard(
        dataset.store,
        name=shard.name,
        plan=plan_name(0),
        clips=[(record, done.payload)],
        recipe=recipe,
        classes=["a"],
        scratch=tmp_path / "scratch",
        still_current=lambda: True,
    )
    (file,) = (path for path in (tmp_path / "dataset" / "shards").iterdir() if path.suffix != ".json")
    table = pq.read_table(file) if layout == "parquet" else pa.ipc.open_file(pa.memory_map(str(file))).read_all()
    digest = hashlib.sha256()
    for row in table.select(COLUMNS).to_pylist():
        for name in COLUMNS:
            pieces = row[name] if isinstance(row[name], list) else [row[name]]
            for piece in pieces:
                digest.update(piece if isinstance(piece, bytes) else f"{name}={piece};".encode())
    assert digest.hexdigest() == KEPT[layout]
