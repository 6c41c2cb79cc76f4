"""TV-L1 optical flow, equal to OpenCV 5.0's, on CPUs (numba) and GPUs (Triton).

Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow" (DAGM 2007), as OpenCV's contrib module
optflow (src/tvl1flow.cpp) does it, with its borders and stop tests: data are comparable only if everybody computes the
same, and OpenCV's TV-L1 is what the field uses. On real clips `cpu` is within 0.02 px (mean endpoint error) of OpenCV,
less than noise of one grey level changes the result (0.03 to 0.05 px), and over 25 times as fast on one thread
(`python -m workflows.benchmarks.flow`).

In: uint8 [T, H, W] or [T, H, W, 3]. Out: float32 [T-1, 2, H, W] in px (`tvl1`). Begin reading with `reference`, the
algorithm in plain PyTorch; `cpu` and `cuda` compute the same faster; `opencv` is what they are compared with.
"""

from kinetics_pipeline.flow.backends import BACKENDS, quantised_tvl1, require_backend, resolve_backend, tvl1
from kinetics_pipeline.flow.parameters import TVL1, FlowBackend

__all__ = ["BACKENDS", "TVL1", "FlowBackend", "quantised_tvl1", "require_backend", "resolve_backend", "tvl1"]
