"""`evaluate` on videos with several actions (Charades): classification and localisation mean average precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.views import Views
from kinetics_pipeline.loading.whole_clips import SameLength
from kinetics_pipeline.models.i3d import I3D
from kinetics_pipeline.models.scoring.actions import ActionScores, upsample
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.runtime.progress import Meter
from kinetics_pipeline.workflows.scoring.trained import Trained
from kinetics_pipeline.workflows.training.data import loader, on_device, plain_errors
from kinetics_pipeline.workflows.training.long_clips import dense_logits


@dataclass(frozen=True)
class VideoLogits:
    """What was computed for a video: logits [classes, T'] of the steps, truth [classes, T] (bool)."""

    steps: Tensor
    truth: Tensor


def video_logits(trained: Trained, clips: Views, loaders: int, device: torch.device) -> dict[str, VideoLogits]:
    """Computes the logits of every video, by clip_id. Raises UserError for a network without logits of steps."""
    network = trained.network().to(device)
    if not isinstance(network, I3D):
        raise UserError(f"{trained.path} is {trained.checkpoint.model}; allowed for several actions: i3d")
    if trained.classes != clips.classes:
        raise UserError(
            f"{trained.path} knows {counted(len(trained.classes), 'class')}, not those of {clips.uri} in their order"
        )
    found = {}
    with Meter(len(clips), f"{trained.stream} videos") as meter, torch.inference_mode():
        for raw in plain_errors(loader(clips, SameLength(clips, 1), loaders, device)):
            batch = on_device(raw, device)
            steps = dense_logits(network, batch["video"]).float().cpu()
            for clip_id, logits, targets in zip(batch["clip_id"], steps, batch["targets"], strict=True):
                found[clip_id] = VideoLogits(logits, targets.cpu() > 0.5)
            meter.at(meter.done + len(batch["clip_id"]))
    return found


def action_scores(streams: Mapping[str, Mapping[str, VideoLogits]]) -> dict[str, dict[str, float]]:
    """The scores of each stream and, where there are two, of the sum of their logits."""
    kinds: dict[str, tuple[str, ...]] = {name: (name,) for name in streams}
    if len(streams) == 2:
        kinds["fused"] = tuple(streams)
    scores = {}
    for name, parts in kinds.items():
        gathered = ActionScores()
        for clip_id, seen in streams[parts[0]].items():
            logits = torch.stack([streams[part][clip_id].steps for part in parts]).sum(dim=0)
            gathered.add(upsample(logits[None], seen.truth.shape[1])[0], seen.truth)
        scores[name] = gathered.result()
    return scores


def print_action_scores(results: Mapping[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("stream")
    for column in ("videos", "classification mAP", "localisation mAP"):
        table.add_column(column, justify="right")
    for name, score in results["scores"].items():
        maps = (f"{score[key]:.1%}" for key in ("classification_map", "localisation_map"))
        table.add_row(name, f"{score['videos']:.0f}", *maps)
    Console(highlight=False, soft_wrap=True).print(table)
