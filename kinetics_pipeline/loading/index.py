"""Which rows of which shard hold which clip: built once from the commit markers, and kept beside the dataset.

Only committed shards count. Of a clip with several records the newest counts: where it is not `ok`, the clip is left
out.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.kept_table import KeptTable
from kinetics_pipeline.shards.markers import SHARD_NAME, shard_of

_CACHE = "state/loader-index-2.arrow"
_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("video_id", pa.string()),
        ("time_start", pa.float64()),  # seconds of the video; null for a whole video
        ("time_end", pa.float64()),
        ("split", pa.string()),
        ("label", pa.string()),
        ("shard", pa.string()),  # the name of its data file
        ("first_row", pa.int64()),
        ("position", pa.int32()),  # among the clips of the shard that are ok: its record batch in the array layout
        ("frames", pa.int32()),
        ("height", pa.int16()),
        ("width", pa.int16()),
    ]
)


def load_index(dataset: Dataset) -> pa.Table:
    """A row for each clip that can be read, in the order of shards and rows; columns as in `_SCHEMA`.

    Comes from the cache unless a marker appeared, went or changed since. Raises JobFailed naming a damaged marker.
    """
    return _KEPT.load(dataset, lambda: _build(dataset))


def _is_possible(index: pa.Table) -> bool:
    """Whether a build can have written these rows, as far as names and ranges say."""
    if any(index[field.name].null_count for field in _SCHEMA if field.name != "label"):
        return False
    if not all(SHARD_NAME.fullmatch(shard_of(name)) for name in index["shard"].unique().to_pylist()):
        return False
    least = {"first_row": 0, "position": 0, "frames": 1, "height": 1, "width": 1}
    ranges = {name: pc.min_max(index[name]) for name in least}
    return not len(index) or all(
        least[name] <= found["min"].as_py() and found["max"].as_py() < 2**31 for name, found in ranges.items()
    )


def _build(dataset: Dataset) -> pa.Table:
    schema = pa.schema([pa.field("file", field.type) if field.name == "shard" else field for field in _SCHEMA])
    index = dataset.newest_table(schema, "ok").rename_columns({"file": "shard"}).select(_SCHEMA.names)
    for number, field in enumerate(_SCHEMA):  # one by one: two copies of all would be a third of the memory
        index = index.set_column(number, field, index[field.name].combine_chunks())
    return index


_KEPT = KeptTable(_CACHE, _SCHEMA, _is_possible)
