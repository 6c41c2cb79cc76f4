"""The validation split while a run trains: whole clips, centre crop, shared by the ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from kinetics_pipeline.loading.balanced import balanced
from kinetics_pipeline.loading.whole_clips import SameLength, WholeClips
from kinetics_pipeline.models import Diverged
from kinetics_pipeline.models.i3d import I3D
from kinetics_pipeline.models.scoring.actions import ActionScores, action_loss, upsample
from kinetics_pipeline.models.scoring.evaluation import Predictions, evaluate
from kinetics_pipeline.models.training.loop import model_inputs
from kinetics_pipeline.models.training.state import TrainingState
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.training.data import loader, parts, plain_errors
from kinetics_pipeline.workflows.training.group import Group
from kinetics_pipeline.workflows.training.long_clips import compute_long, dense_logits
from kinetics_pipeline.workflows.training.settings import Settings

Batch = Mapping[str, Any]
Share = TypeVar("Share")
FORWARD_AND_BACKWARD = 3
"""The computation of a training step, in forward passes over the same frames: a backward pass takes two."""
DEAR = 0.25
"""Share of the training above which an evaluation is worth a word on how it is bounded."""


class Stopped(Exception):
    """A stop was asked in the middle."""


def validation_clips(settings: Settings) -> WholeClips:
    """The labelled clips of the validation split (or held out of the training split), or its videos of several actions,
    from end to end; of these `--val-clips`, of each class as many. Raises UserError when there are none."""
    config = settings.config
    clips = _whole_clips(settings, parts(settings)[1] if config.hold_out else None)
    if config.val_clips is None or len(clips) <= config.val_clips:
        return clips
    return _whole_clips(settings, balanced(clips.index, config.val_clips, config.seed))


def cost_of(clips: WholeClips, settings: Settings) -> str:
    """What an evaluation of `clips` costs beside the training between two, in words."""
    config, every = settings.config, settings.evaluate_every
    frames = int(clips.lengths().sum())
    trained = every * settings.clips_per_step * config.frames * (1 if config.freeze_features else FORWARD_AND_BACKWARD)
    share = frames / trained
    of = f"held out of {config.train_split}" if config.hold_out else f"of {config.val_split}"
    text = (
        f"each evaluation looks at {counted(len(clips), 'clip')} {of}, {frames:,} frames in all: about {share:.2g} "
        f"times the computation of the {counted(every, 'step')} between two"
    )
    return f"{text}; --val-clips N bounds it" if share > DEAR and config.val_clips is None else text


def _whole_clips(settings: Settings, clips: list[str] | None) -> WholeClips:
    config = settings.config
    return WholeClips(
        settings.uri,
        config.train_split if config.hold_out else config.val_split,
        settings.stream,
        config.crop,
        classes=list(settings.classes),
        clips=clips,
        labelled_only=True,
        stride=config.stride,
    )


@dataclass(frozen=True)
class Validation:
    """Clips, and how the ranks look at them together.

    What it finds is the same in all ranks. Raises Diverged for what is not finite, and Stopped when `stop_asked` says
    so in any rank; all ranks raise.
    """

    state: TrainingState
    clips: WholeClips
    group: Group
    placed: Callable[[Batch], Batch]
    """Makes a model's batch of a raw one."""
    loaders: int
    stop_asked: Callable[[], bool]

    def predictions(self) -> Predictions:
        """Computes the logits of all clips."""

        def look(batches: Iterable[Batch]) -> Predictions:
            return evaluate(self.state.model, batches, self.group.device, self.state.precision, compute_long)

        found = self._gather_from_ranks(look)
        return Predictions(
            tuple(clip_id for share in found for clip_id in share.clip_ids),
            np.concatenate([share.logits for share in found]),
            np.concatenate([share.labels for share in found]),
        )

    def action_scores(self) -> dict[str, float]:
        """`loss`, `classification_map` and `localisation_map` of videos with several actions."""
        model, precision, device = self.state.model, self.state.precision, self.group.device
        assert isinstance(model, I3D)

        @torch.no_grad()
        def look(batches: Iterable[Batch]) -> tuple[ActionScores, list[float]]:
            gathered, losses = ActionScores(), []
            model.eval()
            for batch in batches:
                with precision.autocast(device):
                    inputs = [precision.place(x) for x in model_inputs(model, batch)]
                    logits = upsample(dense_logits(model, inputs[0]).float(), inputs[0].shape[2])
                targets = batch["targets"].to(device)
                losses.append(float(action_loss(logits, targets)))
                if not np.isfinite(losses[-1]):
                    raise Diverged(self.state.step, "a validation loss is not finite", None)
                for of_video, truth in zip(logits, targets, strict=True):
                    gathered.add(of_video, truth)
            return gathered, losses

        scores, losses = ActionScores(), list[float]()
        for share, some in self._gather_from_ranks(look):
            scores.extend(share)
            losses += some
        result = scores.result()
        del result["videos"]
        return {"loss": float(np.mean(losses)), **result}

    def _gather_from_ranks(self, look: Callable[[Iterable[Batch]], Share]) -> list[Share]:
        """What each rank that has clips found in its share of them."""
        group = self.group
        order = SameLength(self.clips, 1, group.rank, group.size)
        mine, why = None, ""

        def batches() -> Iterator[Batch]:
            for raw in plain_errors(loader(self.clips, order, self.loaders, group.device)):
                if self.stop_asked():
                    raise Stopped
                yield self.placed(raw)

        try:
            if len(order):
                mine = look(batches())
        except Stopped:
            why = "stopped"
        except Diverged:
            why = "diverged"
        # Ranks that end early say so here: nobody waits for one that is gone.
        shares = group.all((mine, why))
        ends = {why for _, why in shares}
        if "diverged" in ends:
            raise Diverged(self.state.step, "the validation's logits are not finite", self.state.last_checkpoint)
        if "stopped" in ends:
            raise Stopped
        return [share for share, _ in shares if share is not None]
