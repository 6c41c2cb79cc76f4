"""Ways in which people train: each goes through a dataset twice and tells the clips and crops that every rank saw."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.utils.data import BatchSampler, DataLoader, Dataset, DistributedSampler, Sampler, Subset

from kinetics_pipeline.loading import ClipDataset, ClipSampler, collate

EPOCHS, RANKS, BATCH = 2, 2, 4
Seen = list[list[tuple[str, str]]]
"""The clips of each epoch that all ranks took together, each with what stands for its frames, crop and flip."""
SamplerOf = Callable[[ClipDataset, int, int], Sampler[int] | None]
"""(dataset, rank, ranks) -> sampler; None for `shuffle=True`."""


def clips_of(folder: str, **options: Any) -> ClipDataset:
    return ClipDataset(folder, frames=4, crop=24, raw=True, **options)


def seen_in(batches: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for batch in batches:
        for clip_id, video, flip in zip(batch["clip_id"], batch["video"], batch["flip"].tolist(), strict=True):
            yield clip_id, hashlib.sha256(video.numpy().tobytes() + bytes([flip])).hexdigest()


def with_loader(folder: str, sampler_of: SamplerOf, ranks: int = 1, subset: bool = False, **options: Any) -> Seen:
    """DataLoaders of torch, one for each rank, in this process; a sampler's `set_epoch` is called where it has one."""
    found: Seen = [[] for _ in range(EPOCHS)]
    for rank in range(ranks):
        clips = clips_of(folder)
        sampler = sampler_of(clips, rank, ranks)
        data: Dataset[Any] = Subset(clips, range(len(clips))) if subset else clips
        loader = DataLoader(data, BATCH, sampler=sampler, shuffle=sampler is None, collate_fn=collate, **options)
        for epoch, seen in enumerate(found):
            if isinstance(sampler, DistributedSampler):
                sampler.set_epoch(epoch)
            seen += seen_in(loader)
    return found


def no_sampler(clips: ClipDataset, rank: int, ranks: int) -> None:
    return None


def torchs_sampler(clips: ClipDataset, rank: int, ranks: int) -> Sampler[int]:
    return DistributedSampler(clips, ranks, rank)


def our_sampler(clips: ClipDataset, rank: int, ranks: int) -> Sampler[int]:
    return ClipSampler(clips, rank=rank, world_size=ranks)


def without_set_epoch(folder: str, in_batches: bool) -> Seen:
    """A loop that knows no epochs, with two workers that persist."""
    clips = clips_of(folder)
    sampler = ClipSampler(clips)
    how: dict[str, Any] = {"batch_size": BATCH, "sampler": sampler}
    if in_batches:
        how = {"batch_sampler": BatchSampler(sampler, BATCH, drop_last=False)}
    loader = DataLoader(clips, collate_fn=collate, num_workers=2, persistent_workers=True, **how)
    return [[*seen_in(loader)] for _ in range(EPOCHS)]


def with_stateful_loader(folder: str) -> Seen:
    """torchdata's loader with two workers; in each epoch it is stopped after two batches and goes on in a new one."""
    from torchdata.stateful_dataloader import StatefulDataLoader

    found: Seen = []
    for epoch in range(EPOCHS):

        def begun(epoch: int = epoch) -> Any:
            clips = clips_of(folder)
            sampler = ClipSampler(clips)
            sampler.set_epoch(epoch)
            return StatefulDataLoader(clips, BATCH, sampler=sampler, collate_fn=collate, num_workers=2)

        loader = begun()
        batches = iter(loader)
        seen = [*seen_in([next(batches), next(batches)])]
        following = begun()
        following.load_state_dict(loader.state_dict())
        found.append([*seen, *seen_in(following)])
    return found


def with_ddp(folder: str) -> Seen:
    """Two processes of torch.distributed, in which ClipSampler finds rank and world size by itself."""
    with tempfile.TemporaryDirectory() as notes:
        torch.multiprocessing.start_processes(_ddp_rank, (folder, notes), RANKS, start_method="fork")
        return noted(Path(notes))


def _ddp_rank(rank: int, folder: str, notes: str) -> None:
    distributed.init_process_group("gloo", f"file://{notes}/.meet", rank=rank, world_size=RANKS)
    clips = clips_of(folder)
    sampler = ClipSampler(clips)
    loader = DataLoader(clips, BATCH, sampler=sampler, collate_fn=collate)
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        note(notes, epoch, rank, [*seen_in(loader)])
    distributed.destroy_process_group()


def with_lightning(folder: str, sampler: bool, devices: int = 1) -> Seen:
    """Lightning's Trainer; with two devices, two processes of its DDP."""
    import lightning

    with tempfile.TemporaryDirectory() as notes:
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=devices,
            strategy="ddp_fork" if devices > 1 else "auto",
            max_epochs=EPOCHS,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=notes,
        )
        trainer.fit(_lightning_module(folder, notes, sampler))
        return noted(Path(notes))


def _lightning_module(folder: str, notes: str, sampler: bool) -> Any:
    from tests.builders.lightning_module import Noting

    return Noting(folder, notes, sampler)


def note(notes: str, epoch: int, rank: int, seen: list[tuple[str, str]]) -> None:
    Path(notes, f"{epoch}-{rank}.json").write_text(json.dumps(seen))


def noted(notes: Path) -> Seen:
    found: Seen = []
    for epoch in range(EPOCHS):
        files = sorted(notes.glob(f"{epoch}-*.json"))
        found.append([(clip, crop) for file in files for clip, crop in json.loads(file.read_text())])
    return found


TRAINERS: dict[str, Callable[[str], Seen]] = {
    "DataLoader(shuffle=True)": lambda folder: with_loader(folder, no_sampler),
    "DataLoader(shuffle=True), 2 workers": lambda folder: with_loader(folder, no_sampler, num_workers=2),
    "DataLoader(shuffle=True), 2 workers that persist": lambda folder: with_loader(
        folder, no_sampler, num_workers=2, persistent_workers=True
    ),
    "DataLoader(Subset, shuffle=True)": lambda folder: with_loader(folder, no_sampler, subset=True),
    "DistributedSampler, 2 ranks": lambda folder: with_loader(folder, torchs_sampler, RANKS),
    "ClipSampler, 2 workers that persist": lambda folder: with_loader(
        folder, our_sampler, num_workers=2, persistent_workers=True
    ),
    "ClipSampler, 2 ranks": lambda folder: with_loader(folder, our_sampler, RANKS),
    "ClipSampler, set_epoch never called": lambda folder: without_set_epoch(folder, in_batches=False),
    "BatchSampler of a ClipSampler": lambda folder: without_set_epoch(folder, in_batches=True),
    "StatefulDataLoader, resumed in each epoch": with_stateful_loader,
    "Lightning, shuffle=True": lambda folder: with_lightning(folder, sampler=False),
    "Lightning, ClipSampler": lambda folder: with_lightning(folder, sampler=True),
}
IN_SEVERAL_PROCESSES: dict[str, Callable[[str], Seen]] = {
    "DDP, ClipSampler": with_ddp,
    "Lightning DDP, shuffle=True": lambda folder: with_lightning(folder, sampler=False, devices=RANKS),
    "Lightning DDP, ClipSampler": lambda folder: with_lightning(folder, sampler=True, devices=RANKS),
}
