"""What trained networks said of clips, as `evaluate` wrote it: the surest mistakes first, and who is taken for whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kinetics_pipeline.errors import JobFailed, UserError

SUFFIX = "-predictions.parquet"
MOST_CELLS = 2000
"""Pairs of classes told, those of most clips."""
_COLUMNS = ("stream", "clip_id", "label", "predicted", "logits")
_AT_ONCE = 4096
Wanted = Literal["mistakes", "correct", "all"]


@dataclass(frozen=True)
class Scored:
    """What one network, or two fused, said of the clips of one evaluation."""

    name: str
    """The evaluation and the stream: `evaluation-val, rgb`."""
    clip_ids: pa.Array
    labels: NDArray[np.int64]
    """Positions in `classes`; -1: none."""
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]
    """The probability of the predicted class, in [0, 1]."""
    classes: tuple[str, ...]

    def mistakes(self) -> NDArray[np.bool_]:
        """Whether each clip has a label, and another one was predicted."""
        wrong: NDArray[np.bool_] = (self.labels >= 0) & (self.labels != self.predicted)
        return wrong

    def chosen(self, wanted: Wanted, cell: tuple[int, int] | None) -> NDArray[np.int64]:
        """Positions of the clips that are wanted, the surest first; of one cell (label, predicted) if given."""
        wrong = self.mistakes()
        keep = {"mistakes": wrong, "correct": (self.labels >= 0) & ~wrong, "all": np.ones(len(wrong), np.bool_)}[wanted]
        if cell is not None:
            keep = (self.labels == cell[0]) & (self.predicted == cell[1])
        found = np.flatnonzero(keep)
        return found[np.argsort(-self.confidence[found], kind="stable")]

    def cells(self) -> list[list[int]]:
        """[label, predicted, clips] of each pair of different classes that was met, those of most clips first."""
        wrong = self.mistakes()
        pairs = np.stack([self.labels[wrong], self.predicted[wrong]], axis=1)
        found, counts = np.unique(pairs, axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:MOST_CELLS]
        return [[*map(int, found[place]), int(counts[place])] for place in order]


def find_predictions(run: Path) -> list[Path]:
    """The files of predictions in a run folder, or the one that is given. Raises UserError when there is none."""
    files = sorted(run.glob(f"*{SUFFIX}")) if run.is_dir() else [run] if run.name.endswith(SUFFIX) else []
    if not files or not all(file.is_file() for file in files):
        raise UserError(f"--run is {run}, which has no *{SUFFIX}; `evaluate` writes them beside its results")
    return files


def read_predictions(file: Path) -> list[Scored]:
    """The streams of a file. Raises JobFailed for one that is damaged or not of `evaluate`."""
    try:
        with pq.ParquetFile(file) as stored:
            if tuple(stored.schema_arrow.names) != _COLUMNS:
                raise ValueError(f"its columns are not {', '.join(_COLUMNS)}")
            parts = [_part(batch) for batch in stored.iter_batches(_AT_ONCE)]
        nothing = pa.table({name: pa.array([], pa.string()) for name in _COLUMNS[:4]})
        table = pa.concat_tables([nothing, *(texts for texts, _ in parts)])
        confidence = np.concatenate([np.zeros(0, np.float32), *(sure for _, sure in parts)])
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
        raise JobFailed(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    return list(_streams(file.name.removesuffix(SUFFIX), table, confidence))


def _part(batch: pa.RecordBatch) -> tuple[pa.Table, NDArray[np.float32]]:
    """The texts of some rows, and how sure each prediction is."""
    batch.validate(full=True)
    lengths = pc.list_value_length(batch["logits"])
    if lengths.null_count or len(lengths.unique()) > 1:
        raise ValueError("its logits are not of one length")
    logits = batch["logits"].flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(batch), -1)
    return pa.table(batch.select(list(_COLUMNS[:4]))), _confidence(logits)


def _confidence(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The probability of each row's largest value, by softmax; rows that are probabilities stay as they are, as those
    of two streams fused by softmax."""
    if not values.size:
        return np.zeros(len(values), np.float32)
    are_probabilities = (values >= 0).all(axis=1) & (np.abs(values.sum(axis=1) - 1) < 1e-3)
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    sure = np.where(are_probabilities, values.max(axis=1), 1 / powers.sum(axis=1))
    return np.asarray(np.nan_to_num(sure), np.float32)


def _streams(name: str, table: pa.Table, confidence: NDArray[np.float32]) -> Iterator[Scored]:
    texts = pa.concat_arrays([table[column].combine_chunks() for column in ("label", "predicted")])
    classes = sorted(pc.drop_null(texts.unique()).to_pylist())
    labels, predicted = (_numbers(table[column], classes) for column in ("label", "predicted"))
    for stream in table["stream"].unique().to_pylist():
        mine = np.flatnonzero(pc.equal(table["stream"], stream).to_numpy())
        ids: Any = table["clip_id"].combine_chunks().take(pa.array(mine))
        yield Scored(f"{name}, {stream}", ids, labels[mine], predicted[mine], confidence[mine], tuple(classes))


def _numbers(column: pa.ChunkedArray, classes: list[str]) -> NDArray[np.int64]:
    found = pc.fill_null(pc.index_in(column, pa.array(classes, pa.string())), -1)
    return np.asarray(found.to_numpy(), np.int64)
