"""Makes `schema_2_parquet` and `schema_2_array` beside this file: the tiny datasets of schema version 2.

They were made once and stay for ever: what was written under version 2 must stay readable. Do not run this to make a
test pass; a schema that changes has a new version, and datasets and a script of its own.

    python -m tests.data.make_schema_2
"""

from __future__ import annotations

import shutil
from pathlib import Path

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.recipe import Recipe
from tests.builders.clips import CLASSES, asked_clips, commit, planned

HERE = Path(__file__).parent
HEIGHT, WIDTH = 24, 32
GONE = "v001_000001_000011"
FRAMES = {"v000_000000_000010": 20, "v002_000002_000012": 5, "v003_000003_000013": 17}


def make(folder: Path, recipe: Recipe) -> None:
    dataset = Dataset.create(folder, recipe, CLASSES, {"a.csv": "00" * 32})
    for shard in planned(dataset, asked_clips(4, ("train", "train", "train", "val"))).shards():
        commit(dataset, shard.name, shard.clips, outcomes={GONE: "gone"}, frames=FRAMES, height=HEIGHT, width=WIDTH)
    shutil.rmtree(folder.with_suffix(".scratch"), ignore_errors=True)


if __name__ == "__main__":
    make(HERE / "schema_2_parquet", Recipe(short_side=HEIGHT))
    make(HERE / "schema_2_array", Recipe(short_side=HEIGHT, layout="array"))
