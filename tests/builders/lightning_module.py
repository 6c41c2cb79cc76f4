"""A Lightning module that trains one number, and notes the clips and crops it was given."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader

from kinetics_pipeline.loading import ClipSampler, collate
from tests.builders import trainers


class Noting(lightning.LightningModule):
    def __init__(self, folder: str, notes: str, sampler: bool) -> None:
        super().__init__()
        self.folder, self.notes, self.with_sampler = folder, notes, sampler
        self.number = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[str, str]] = []

    def train_dataloader(self) -> DataLoader[Any]:
        clips = trainers.clips_of(self.folder)
        sampler = ClipSampler(clips) if self.with_sampler else None
        return DataLoader(clips, trainers.BATCH, sampler=sampler, shuffle=sampler is None, collate_fn=collate)

    def training_step(self, batch: dict[str, Any], number: int) -> torch.Tensor:
        self.seen += trainers.seen_in([batch])
        return self.number * batch["video"].float().mean()

    def on_train_epoch_end(self) -> None:
        trainers.note(self.notes, self.current_epoch, self.global_rank, self.seen)
        self.seen = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)
