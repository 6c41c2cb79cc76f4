"""The validation split while a run trains: whole clips, centre crop, shared by the ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from kinetics_pipeline.loading.snippets import WHOLE_CLIP
from models import Diverged
from models.evaluation import Predictions, evaluate
from models.training.state import TrainingState
from workflows.train.data import loader, only_labelled, plain_errors
from workflows.train.group import Group
from workflows.train.settings import Settings
from workflows.whole_clips import SameLength, WholeClips


class Stopped(Exception):
    """A stop was asked in the middle."""


def validation_clips(settings: Settings) -> WholeClips:
    """The labelled clips of the validation split. Raises UserError when there are none."""
    config = settings.config
    split, classes = config.val_split, list(settings.classes)
    clips = WholeClips(settings.uri, split, settings.stream, config.crop, WHOLE_CLIP, classes=classes)
    only_labelled(clips)
    return clips


def validate(
    state: TrainingState,
    clips: WholeClips,
    group: Group,
    placed: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    loaders: int,
    stop_asked: Callable[[], bool],
) -> Predictions:
    """Predictions for all `clips`, the same in all ranks; `placed` makes a model's batch of a raw one.

    Raises Diverged for logits that are not finite, and Stopped when `stop_asked` says so in any rank; all ranks raise.
    """
    order = SameLength(clips, 1, group.rank, group.size)
    mine, why = None, ""

    def batches() -> Iterator[Mapping[str, Any]]:
        for raw in plain_errors(loader(clips, order, loaders, group.device)):
            if stop_asked():
                raise Stopped
            yield placed(raw)

    try:
        if len(order):
            mine = evaluate(state.model, batches(), group.device, state.precision)
    except Stopped:
        why = "stopped"
    except Diverged:
        why = "diverged"
    # Ranks that end early say so here: nobody waits for one that is gone.
    shares = group.all((mine, why))
    ends = {why for _, why in shares}
    if "diverged" in ends:
        raise Diverged(state.step, "the validation's logits are not finite", state.last_checkpoint)
    if "stopped" in ends:
        raise Stopped
    found = [share for share, _ in shares if share is not None]
    return Predictions(
        tuple(clip_id for share in found for clip_id in share.clip_ids),
        np.concatenate([share.logits for share in found]),
        np.concatenate([share.labels for share in found]),
    )
