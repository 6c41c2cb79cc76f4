"""The clips of the zoo in a dataset, and what `tools export` makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.plan_files import plan_name
from kinetics_pipeline.records import Record
from kinetics_pipeline.shards.writer import write_shard
from kinetics_pipeline.workflows.datasets.export import export
from tests.builders.clips import planned
from tests.builders.videos import number_of, numbers_of
from tests.media_zoo.checking import CUT, RECIPE, Found, _same, clip_of


def check_exports(found: Sequence[Found], folder: Path) -> None:
    """Exports the clips that were read, and notes with each what is wrong: the folder of frames, the mp4 encoded from
    them, and the copy of the kept segment."""
    read = {clip_of(one.entry).clip_id: one for one in found if one.payload and one.kept is not None}
    if not read:
        return
    dataset = Dataset.create(folder / "dataset", RECIPE, ["zoo"], {"zoo.csv": "00"})
    plan = planned(dataset, [clip_of(one.entry) for one in read.values()], clips_per_shard=32)
    for shard in plan.shards():
        records = [
            Record(c.clip_id, c.video_id, c.time_start, c.time_end, c.label, "ok", source="zoo",
                   frames=read[c.clip_id].frames)
            for c in shard.clips
        ]  # fmt: skip
        write_shard(
            dataset.store,
            name=shard.name,
            plan=plan_name(0),
            clips=[(record, read[record.clip_id].payload) for record in records],
            recipe=RECIPE,
            classes=dataset.classes,
            scratch=folder / "scratch",
            still_current=lambda: True,
        )
    export(dataset.store.uri, "frames", folder / "frames", None, None)
    export(dataset.store.uri, "mp4", folder / "encoded", None, None)
    export(dataset.store.uri, "mp4", folder / "copied", None, str(folder / "kept"))
    for name, one in read.items():
        one.export = _check_export(one, name, folder)


def _check_export(one: Found, name: str, folder: Path) -> bool | str:
    assert one.kept is not None
    wanted = one.entry.shown.on_grid(*CUT)
    pictures = sorted((folder / "frames" / "train" / "zoo" / name).glob("img_*.jpg"))
    shown = [np.ascontiguousarray(np.rot90(cv2.imread(str(p)), one.entry.turned)) for p in pictures]
    with av.open(str(folder / "encoded" / "train" / "zoo" / f"{name}.mp4")) as container:
        encoded = [np.rot90(f.to_ndarray(format="rgb24"), one.entry.turned) for f in container.decode(video=0)]
    if (in_frames := _same([number_of(p) for p in shown], wanted)) is not True:
        return f"folder of frames: {in_frames}"
    if (in_mp4 := _same(numbers_of(np.stack(encoded)), wanted)) is not True:
        return f"encoded mp4: {in_mp4}"
    if (folder / "copied" / "train" / "zoo" / f"{name}.mp4").read_bytes() != one.kept.read_bytes():
        return "the kept segment was not copied"
    return True
