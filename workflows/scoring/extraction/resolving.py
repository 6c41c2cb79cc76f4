"""What is decided once for a whole run, where its work will be done: precision, and the code that computes flow."""

from __future__ import annotations

from dataclasses import dataclass

from kinetics_pipeline.flow import require_backend, resolve_backend
from kinetics_pipeline.models.precision import Choice, Precision, device_here
from kinetics_pipeline.workflows.scoring.extraction.network import INPUTS, Weights, choose


@dataclass(frozen=True)
class Asked:
    """What is to be decided."""

    weights: tuple[Weights, ...]
    precision: Choice
    flow_backend: str
    """`auto`, or a name."""
    frames: int
    """Frames of the window that precision is tried on."""

    @property
    def needs_flow(self) -> bool:
        """Whether a network sees flow."""
        return any("flow" in INPUTS[one.stream] for one in self.weights)


def resolve(asked: Asked) -> tuple[tuple[Precision, ...], str | None]:
    """The precision of each network on this machine, and the flow backend; None where nothing sees flow.

    Raises UserError for a backend that cannot run here.
    """
    backend = None
    if asked.needs_flow:
        backend = resolve_backend(asked.flow_backend)
        require_backend(backend)
    precisions = choose(asked.weights, asked.precision, asked.frames, device_here())
    return tuple(precisions), backend
