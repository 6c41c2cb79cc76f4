"""Which code computes the flow of a clip: `cpu` (numba), `cuda` (Triton), `torch` (reference), `opencv` (comparison).

They agree to a few thousandths of a pixel, but not to the last bit. A dataset therefore decides `auto` once, writes the
name into its recipe, and never mixes two backends.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast, get_args

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.flow.parameters import NO_MOTION, TVL1, FlowBackend

if TYPE_CHECKING:  # a recipe and the flags are read without numpy
    import numpy as np
    from numpy.typing import NDArray

BACKENDS: tuple[FlowBackend, ...] = get_args(FlowBackend)


def tvl1(frames: NDArray[np.uint8], backend: str = "auto", **parameters: Any) -> NDArray[np.float32]:
    """The flow from every frame of a clip to the next.

    frames: uint8 [T, H, W] grey or [T, H, W, 3] RGB, T >= 2. parameters: OpenCV's names, see `TVL1`.
    Returns float32 [T-1, 2, H, W] in px, (u, v): the point at (x, y) of frame t is at (x + u, y + v) of frame t + 1.
    A frame that repeats the one before has zero flow, and costs nothing: a video of 12.5 frames a second, brought to
    25, shows every frame twice.
    Raises UserError for frames, parameters or a backend that are not allowed.
    """
    return cast("NDArray[np.float32]", _computed(frames, backend, parameters, quantised=False))


def quantised_tvl1(frames: NDArray[np.uint8], backend: str = "auto", **parameters: Any) -> NDArray[np.uint8]:
    """The same in 8 bits, as `quantise_flow` gives it: uint8 [T-1, 2, H, W], `NO_MOTION` where nothing moves.

    `cpu` and `cuda` quantise where they compute, so that no floats are kept.
    """
    return cast("NDArray[np.uint8]", _computed(frames, backend, parameters, quantised=True))


def _computed(frames: NDArray[np.uint8], backend: str, parameters: dict[str, Any], *, quantised: bool) -> Any:
    import numpy as np

    from kinetics_pipeline.flow.frames import grey_frames, new_frames

    chosen = resolve_backend(backend)
    settings = TVL1.named(**parameters)
    grey = grey_frames(frames)
    require_backend(chosen)
    flow: Callable[..., Any] = import_module(_MODULES[chosen]).flow
    if quantised:
        flow = partial(flow, quantised=True) if chosen in ("cpu", "cuda") else _quantised_afterwards(flow)
    new = new_frames(grey)
    if new.all() or chosen == "opencv":  # what the others are compared with computes every pair
        return flow(grey, settings)
    shape = (len(grey) - 1, 2, *grey.shape[1:])
    flows = np.full(shape, NO_MOTION, np.uint8) if quantised else np.zeros(shape, np.float32)
    if new.sum() > 1:
        flows[new[1:]] = flow(grey[new], settings)
    return flows


def _quantised_afterwards(flow: Callable[..., NDArray[np.float32]]) -> Callable[..., NDArray[np.uint8]]:
    from kinetics_pipeline.flow.quantised import quantise_flow

    return lambda grey, settings: quantise_flow(flow(grey, settings))


_MODULES: dict[FlowBackend, str] = {
    "cpu": "kinetics_pipeline.flow.cpu",
    "cuda": "kinetics_pipeline.flow.cuda",
    "torch": "kinetics_pipeline.flow.reference",
    "opencv": "kinetics_pipeline.flow.opencv",
}


def resolve_backend(name: str) -> FlowBackend:
    """`auto` becomes `cuda` where this machine has a usable GPU, else `cpu`; any other name stays.

    Raises UserError for an unknown name. A name given is not tried here: the machine that plans a job on a cluster may
    lack the GPU that its workers have. `require_backend` tries it.
    """
    if name == "auto":
        return "cuda" if _no_cuda() is None else "cpu"
    if name not in BACKENDS:
        raise UserError(f"flow backend {name!r}; allowed: auto, {', '.join(BACKENDS)}")
    return name


def require_backend(backend: FlowBackend) -> None:
    """Raises UserError, with the reason, when this machine cannot run `backend`."""
    if backend == "cuda" and not interpreted() and (reason := _no_cuda()):
        raise UserError(f"flow backend 'cuda' cannot run here: {reason}; allowed here: auto, cpu, torch, opencv")


def interpreted() -> bool:
    """Whether Triton's kernels run in its interpreter, on the CPU (`TRITON_INTERPRET=1`, for tests)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _no_cuda() -> str | None:
    """Why there is no GPU to use, or None when there is one. Imports torch only where there is a driver at all."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver"
    if find_spec("triton") is None:
        return "triton is not installed"
    import torch

    if not torch.cuda.is_available():
        return "torch sees no GPU"
    major, minor = torch.cuda.get_device_capability()
    return None if major >= 7 else f"the GPU's compute capability is {major}.{minor}, and Triton needs 7.0"
