"""TV-L1 optical flow, equal to OpenCV 5.0's, on CPUs (numba) and GPUs (Triton)."""

from kinetics_pipeline.flow.backends import BACKENDS, FlowBackend, require_backend, resolve_backend, tvl1
from kinetics_pipeline.flow.parameters import TVL1

__all__ = ["BACKENDS", "TVL1", "FlowBackend", "require_backend", "resolve_backend", "tvl1"]
