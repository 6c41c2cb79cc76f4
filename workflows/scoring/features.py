"""`tools features`: what the last layer of a trained I3D sees of each clip, as Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.whole_clips import SameLength, WholeClips
from kinetics_pipeline.models.i3d import I3D
from kinetics_pipeline.models.layers.inception import FEATURES
from kinetics_pipeline.storage.local import new_file
from kinetics_pipeline.workflows.flags.values import require_loaders
from kinetics_pipeline.workflows.runtime.progress import Meter
from kinetics_pipeline.workflows.scoring.trained import Trained, open_trained
from kinetics_pipeline.workflows.training.data import loader, on_device, plain_errors

Per = Literal["clip", "step"]
FRAMES_A_STEP = 8
"""I3D halves time three times; the step's field of view is wider than these."""


def features(
    output: str, target: Path, rgb: Path | None, flow: Path | None, per: Per, split: str | None, loaders: int
) -> int:
    """Writes a row a clip, or a row a step; how many clips. Raises UserError for what cannot be used."""
    given = {stream: path for stream, path in (("rgb", rgb), ("flow", flow)) if path is not None}
    if len(given) != 1:
        raise UserError(f"--rgb and --flow: {len(given)} are given; allowed: one of them")
    require_loaders(loaders)
    stream, path = next(iter(given.items()))
    dataset, trained = Dataset.open(output), open_trained(path, stream)
    trained.require_recipe(dataset.recipe, dataset.store.uri)
    clips = WholeClips(dataset.store.uri, split, stream, trained.crop, 250, stride=trained.stride)  # type: ignore[arg-type]
    schema = _schema(per, trained, dataset)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with new_file(target) as out, pq.ParquetWriter(out, schema, compression="zstd") as writer:
            for rows in _rows(clips, trained, per, loaders):
                writer.write_table(pa.table(rows, schema=schema))
    except OSError as error:
        raise UserError(f"--to is {target}, which cannot be written: {error.strerror}") from error
    print(f"{len(clips)} clips, {FEATURES} features a {per}: {target}")
    return len(clips)


def _schema(per: Per, trained: Trained, dataset: Dataset) -> pa.Schema:
    """clip_id, label (null for none), split; for steps their number and the frame they begin at; the features."""
    steps = [("step", pa.int16()), ("start_frame", pa.int32())] if per == "step" else []
    columns = [("clip_id", pa.string()), ("label", pa.string()), ("split", pa.string()), *steps]
    metadata = {"checkpoint_sha256": trained.sha256, "stream": trained.stream, "dataset": dataset.store.uri}
    return pa.schema([*columns, ("features", pa.list_(pa.float32(), FEATURES))], metadata=metadata)


def _rows(clips: WholeClips, trained: Trained, per: Per, loaders: int) -> Iterator[dict[str, list[Any]]]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = trained.network().to(device)
    if not isinstance(network, I3D):
        raise UserError(f"{trained.path} is {trained.checkpoint.model}; allowed: i3d")
    known = {c["clip_id"]: c for c in clips.index.select(["clip_id", "label", "split"]).to_pylist()}
    with Meter(len(clips), "clips") as meter, torch.inference_mode():
        for raw in plain_errors(loader(clips, SameLength(clips, 1), loaders, device)):
            batch = on_device(raw, device)
            found = network.features(batch["video"]).float().cpu()  # [N, 1024, T']
            found = found if per == "step" else found.mean(dim=2, keepdim=True)
            for clip_id, values in zip(batch["clip_id"], found, strict=True):
                count = values.shape[1]
                row: dict[str, list[Any]] = {name: [known[clip_id][name]] * count for name in known[clip_id]}
                if per == "step":
                    row["step"] = list(range(count))
                    row["start_frame"] = [FRAMES_A_STEP * step for step in range(count)]
                row["features"] = values.T.tolist()
                yield row
            meter.at(meter.done + len(batch["clip_id"]))
