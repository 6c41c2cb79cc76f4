"""The commands: each reads its flags, connects to Ray where it needs it, and calls the other two packages.

`cli` holds the command line, `flags` the flags, `calls` the same jobs as functions, which are imported from here:

    from kinetics_pipeline.workflows import BuildConfig, build

Begin reading with the command's own folder: `building` is `build`, `training` is `train`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinetics_pipeline.workflows.calls.jobs import build, evaluate, predict, status, train
    from kinetics_pipeline.workflows.calls.show import show
    from kinetics_pipeline.workflows.flags.build_flags import BuildConfig
    from kinetics_pipeline.workflows.flags.training_flags import EvaluateConfig, PredictConfig, TrainConfig

__all__ = [
    "BuildConfig",
    "EvaluateConfig",
    "PredictConfig",
    "TrainConfig",
    "build",
    "evaluate",
    "predict",
    "show",
    "status",
    "train",
]
_PLACES = {
    **dict.fromkeys(("build", "evaluate", "predict", "status", "train"), "calls.jobs"),
    "show": "calls.show",
    "BuildConfig": "flags.build_flags",
    **dict.fromkeys(("EvaluateConfig", "PredictConfig", "TrainConfig"), "flags.training_flags"),
}


def __getattr__(name: str) -> Any:
    """Imports a call when it is first asked for: commands import this package, and need none of them."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
