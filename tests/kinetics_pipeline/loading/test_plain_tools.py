"""Shards are Parquet: tools that know nothing of this project read them."""

from __future__ import annotations

from pathlib import Path

import cv2
import duckdb
import numpy as np
import pandas as pd

from tests.builders.clips import built, drawn_frames


def test_pandas_reads_a_shard_and_opencv_its_frames(tmp_path: Path) -> None:
    built(tmp_path / "data", 4)
    rows = pd.read_parquet(sorted((tmp_path / "data/shards").glob("*.parquet"))[0])
    first = rows.iloc[0]
    frame = cv2.imdecode(np.frombuffer(first["rgb"][0], np.uint8), cv2.IMREAD_COLOR)
    assert frame.shape == (first["height"], first["width"], 3)
    assert len(first["rgb"]) == len(first["flow"]) == first["n"]


def test_duckdb_counts_the_frames_of_every_clip(tmp_path: Path) -> None:
    built(tmp_path / "data", 4)
    query = f"select clip_id, sum(n) as frames from '{tmp_path}/data/shards/*.parquet' group by clip_id"
    assert duckdb.sql(query).df()["frames"].tolist() == [len(drawn_frames(0))] * 4
