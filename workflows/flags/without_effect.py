"""Flags that change nothing beside the others that were given: said, so that nobody waits for their effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields
from typing import Any

from kinetics_pipeline.workflows.flags.build_flags import Selection
from kinetics_pipeline.workflows.flags.features_flags import FeaturesConfig
from kinetics_pipeline.workflows.flags.training_flags import EvaluateConfig, PredictConfig, TrainConfig

OF_YOUTUBE = ("rate", "cookies", "allow_access", "ytdlp_option", "cool_down")
OF_THE_NETWORK = ("proxy", "egress", "allow_private_addresses")
OF_ARCHIVES = ("keep_archives", "archives_per_plan")
OF_A_DATASET = ("split", "clips", "groups", "views", "mirrored", "window", "stride", "crops", "workers", "output")
OF_FLOW = ("flow_backend", "flow_quality")


def without_effect(config: Any) -> list[str]:
    """A line for each flag that differs from its default and has no effect."""
    given = {f.name for f in fields(config) if f.default is not MISSING and getattr(config, f.name) != f.default}
    if isinstance(config, Selection):
        found = _of_selection(config)
    elif isinstance(config, TrainConfig):
        found = _of_training(config)
    elif isinstance(config, EvaluateConfig | PredictConfig | FeaturesConfig):
        found = _of_scoring(config)
    else:
        found = iter(())
    told = {flag: why for flag, why in found if flag in given}
    return [f"--{flag.replace('_', '-')} has no effect {why}" for flag, why in told.items()]


def _of_selection(config: Selection) -> Iterator[tuple[str, str]]:
    names = {source.lower() for source in config.source}
    anywhere = [source for source in names if "://" in source or source == "cvdf"]
    if "youtube" not in names:
        yield from _all(OF_YOUTUBE, "without --source youtube")
    if "youtube" not in names and not anywhere:
        yield from _all(OF_THE_NETWORK, "with local sources only")
    if names == {"youtube"}:
        yield from _all((*OF_ARCHIVES, "allow_private_addresses"), "with --source youtube alone")
    if config.flow == "none":
        yield from _all(OF_FLOW, "with --flow none")
    if getattr(config, "cookies", None) is None:
        yield "allow_access", "without --cookies"


def _of_training(config: TrainConfig) -> Iterator[tuple[str, str]]:
    if config.evaluate_every == 0:
        yield from _all(("val_split", "val_clips"), "with --evaluate-every 0")
    if config.hold_out:
        yield "val_split", "with --hold-out"
    if config.workers == 1:
        yield "sync_batch_norm", "with one worker"
    if config.freeze_features:
        yield "freeze_batch_norm", "beside --freeze-features"
    if config.model in ("two_stream", "fused_two_stream"):
        yield "stream", f"with --model {config.model}, which takes both"


def _of_scoring(config: EvaluateConfig | PredictConfig | FeaturesConfig) -> Iterator[tuple[str, str]]:
    if config.rgb is None or config.flow is None:
        yield from _all(("fuse", "concat"), "with one stream")
    if isinstance(config, EvaluateConfig):
        if config.views == "whole":
            yield "window", "with --views whole"
        if config.deepmind_sample is None:
            yield "top", "without --deepmind-sample"
        else:
            yield from _all(OF_A_DATASET, "with --deepmind-sample")


def _all(flags: Iterable[str], why: str) -> Iterator[tuple[str, str]]:
    return ((flag, why) for flag in flags)
