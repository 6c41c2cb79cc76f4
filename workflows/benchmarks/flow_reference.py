"""Writes flow_reference.npz: small generated frames and OpenCV's flow, for machines whose OpenCV has no contrib.

    python -m workflows.benchmarks.flow_reference

Arrays `{name}_frames` uint8 [2, H, W] and `{name}_flow` float16 [2, H, W], px; float16 is within 0.001 px here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kinetics_pipeline.flow import tvl1
from kinetics_pipeline.workflows.benchmarks import scenes

FILE = Path(__file__).with_suffix(".npz")


def main() -> None:
    size = (96, 128)
    pairs = {
        "shift": scenes.shift(1.5, -0.75, *size).frames,
        "rotation": scenes.rotation(1, *size).frames,
        "zoom": scenes.zoom(1.02, *size).frames,
        "crossing": scenes.clip(2, *size),
        "odd": scenes.clip(2, 71, 113, seed=5),
    }
    arrays: dict[str, np.ndarray] = {}
    for name, frames in pairs.items():
        arrays[f"{name}_frames"] = frames
        arrays[f"{name}_flow"] = tvl1(frames, "opencv")[0].astype(np.float16)
    np.savez_compressed(FILE, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
