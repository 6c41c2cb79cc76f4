"""What each network said of each clip, beside the results of `evaluate`: for whoever looks at the mistakes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kinetics_pipeline.models.scoring.evaluation import Predictions

SCHEMA = pa.schema(
    [
        ("stream", pa.string()),
        ("clip_id", pa.string()),
        ("label", pa.string()),
        ("predicted", pa.string()),
        ("logits", pa.list_(pa.float32())),
    ]
)


def predictions_file(results: Path) -> Path:
    """The file that lies beside a file of results: `evaluation-val.json` has `evaluation-val-predictions.parquet`."""
    return results.with_name(f"{results.stem}-predictions.parquet")


def write_predictions(results: Path, found: Mapping[str, Predictions], classes: Sequence[str]) -> None:
    """Writes a row for each stream and clip: its label and the class of the largest logit, and all logits in the
    order of `classes`, which the footer has as JSON. `label` is null where there is none. Raises OSError."""
    schema = SCHEMA.with_metadata({"classes": json.dumps(list(classes))})
    file = predictions_file(results)
    unfinished = file.with_name(f".{file.name}.tmp")
    try:
        with pq.ParquetWriter(unfinished, schema) as out:
            for stream, predictions in found.items():
                columns = [
                    [stream] * len(predictions.clip_ids),
                    list(predictions.clip_ids),
                    [classes[number] if number >= 0 else None for number in predictions.labels],
                    [classes[number] for number in predictions.logits.argmax(axis=1)],
                    list(predictions.logits),
                ]
                arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
                out.write_table(pa.Table.from_arrays(arrays, schema=schema))
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
