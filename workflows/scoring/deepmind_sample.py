"""`evaluate --deepmind-sample`: the released networks on the clip published with them, beside what they should say.

The clip is v_CricketShot_g04_c01 of UCF-101, as kinetics-i3d's `data` folder has it: two arrays of preprocessed frames,
[1, 79, 224, 224, channels] in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from kinetics_pipeline.annotations.files import read_text
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.models.weights.conversion import as_checkpoint
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.flags.training_flags import EvaluateConfig
from kinetics_pipeline.workflows.runtime.model_errors import as_user_errors
from kinetics_pipeline.workflows.training.run_folder import RunFolder

EXPECTED = {
    "rgb": (87.108871, 25.856646),
    "flow": (63.252754, 15.957031),
    "joint": (138.468658, 41.813675),
}
"""Norm of all logits, and the highest, which is that of `TOP`: the ImageNet-trained networks, kinetics-i3d README."""
TOP = "playing cricket"
AGREES = 1e-3
"""Relative; kinetics-i3d's own numbers differ by less between GPUs."""
CHANNELS = {"rgb": 3, "flow": 2}


def deepmind_sample(folder: Path, config: EvaluateConfig) -> dict[str, dict[str, Any]]:
    """Prints norms, highest logits and classes of the streams given, and of both; returns them by stream.

    Raises UserError for a folder without the arrays, or weights that are not those of the stream.
    """
    if config.both is not None:
        raise UserError("--both has no part in DeepMind's sample; allowed: --rgb and --flow")
    console = Console(highlight=False, soft_wrap=True)
    files = {"rgb": config.rgb, "flow": config.flow}
    logits: dict[str, NDArray[np.float64]] = {}
    names: list[str] | None = None
    for stream, weights in files.items():
        if weights is None:
            continue
        clip = _clip(folder, stream)
        with as_user_errors():
            kind, checkpoint = as_checkpoint(_file(weights), bn_eps=config.bn_eps)
            network = checkpoint.build().eval()
            if checkpoint.model != "i3d" or checkpoint.config["in_channels"] != CHANNELS[stream]:
                have = f"{checkpoint.model} of {counted(checkpoint.config['in_channels'], 'channel')}"
                raise UserError(f"--{stream} is {weights}, {have}; allowed: I3D of {CHANNELS[stream]}")
            with torch.no_grad():
                logits[stream] = network(clip)[0].double().numpy()
        names = checkpoint.metadata.get("classes") or names
        console.print(f"{stream}: {weights} ({kind})", markup=False)
        for note in kind.notes:
            console.print(f"  {note}", markup=False)
    if len(logits) == 2:
        if logits["rgb"].shape != logits["flow"].shape:
            raise UserError(f"--rgb has {counted(len(logits['rgb']), 'class')}, --flow {len(logits['flow'])}")
        logits["joint"] = logits["rgb"] + logits["flow"]
    names = names or _label_map(folder, len(next(iter(logits.values()))))
    found = {stream: _found(values, names, config.top) for stream, values in logits.items()}
    _print(console, found)
    return found


def _file(weights: Path) -> Path:
    run = RunFolder(weights)
    return next((c for c in (run.best, run.last) if c.is_file()), weights) if weights.is_dir() else weights


def _clip(folder: Path, stream: str) -> torch.Tensor:
    """float32 [1, C, T, H, W]."""
    found = sorted(folder.glob(f"*_{stream}.npy")) if folder.is_dir() else []
    if len(found) != 1:
        what = "no" if not found else f"{len(found)}"
        raise UserError(
            f"--deepmind-sample is {folder}, with {what} *_{stream}.npy; it needs kinetics-i3d's data folder"
        )
    try:
        array = np.load(found[0], allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{found[0]} is not an array that can be read: {str(error).splitlines()[0]}") from error
    right = array.ndim == 5 and array.shape[0] == 1 and array.shape[-1] == CHANNELS[stream] and array.dtype.kind == "f"
    if not right:
        raise UserError(
            f"{found[0]} is {array.dtype} {list(array.shape)}; allowed: float [1, T, H, W, {CHANNELS[stream]}]"
        )
    return torch.from_numpy(array.astype(np.float32)).permute(0, 4, 1, 2, 3).contiguous()


def _label_map(folder: Path, classes: int) -> list[str]:
    """The names in kinetics-i3d's label_map.txt, if it lies there too."""
    file = folder / "label_map.txt"
    lines = read_text(file, "label map").splitlines() if file.is_file() else []
    names = [line.strip() for line in lines if line.strip()]
    return names if len(names) == classes else [f"class {number}" for number in range(classes)]


def _found(values: NDArray[np.float64], names: Sequence[str], top: int) -> dict[str, Any]:
    shares = np.exp(values - values.max())
    shares /= shares.sum()
    best = np.argsort(-values, kind="stable")[:top]
    return {
        "norm": float(np.linalg.norm(values)),
        "top": [(names[k], float(values[k]), float(shares[k])) for k in best],
    }


def _print(console: Console, found: dict[str, dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("", "norm of logits", "expected", "highest logit", "expected", "class", "expected", ""):
        table.add_column(column)
    for stream, one in found.items():
        norm, highest = EXPECTED[stream]
        name, logit, _ = one["top"][0]
        near = all(abs(a - b) <= AGREES * b for a, b in ((one["norm"], norm), (logit, highest)))
        agrees = near and name in (TOP, "class 227")
        verdict = "agrees" if agrees else "differs"
        one["agrees"] = agrees
        numbers = (f"{one['norm']:.6f}", f"{norm:.6f}", f"{logit:.6f}", f"{highest:.6f}")
        table.add_row(stream, *numbers, name, TOP, verdict)
    console.print(table)
    last = next(reversed(found))
    console.print(f"\ntop classes ({last}): probability, logit")
    for name, logit, share in found[last]["top"]:
        console.print(f"  {share:.6g}  {logit:.6g}  {name}", markup=False)
