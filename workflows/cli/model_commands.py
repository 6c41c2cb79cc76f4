"""The tools for trained networks. Each imports its work when it is called."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App


def convert_checkpoint(
    source: Path, target: Path, /, *, labels: Path | None = None, bn_eps: float | None = None
) -> None:
    """Turn weights of any origin into a checkpoint of ours, or into safetensors.

    Parameters
    ----------
    source
        A checkpoint of ours, a public PyTorch port's, safetensors (also a folder), or DeepMind's TensorFlow files.
    target
        NAME.pt or NAME.safetensors, or NAME: a folder of model.safetensors and config.json.
    labels
        The classes of foreign weights, one a line, in their order; `evaluate` and `predict` need them.
    bn_eps
        What batch norm adds to the variance, for weights that were used with another number than 0.001.
    """
    from kinetics_pipeline.workflows.scoring.convert_checkpoint import convert_checkpoint as job

    job(source, target, labels, bn_eps)


def filters(picture: Path, /, *, rgb: Path | None = None, flow: Path | None = None, flat: Path | None = None) -> None:
    """Draw the first layer's filters over time, as Figure 4 of the paper does.

    Parameters
    ----------
    picture
        The PNG to write.
    rgb
        A run folder or weights of an RGB I3D.
    flow
        A run folder or weights of a flow I3D.
    flat
        Weights of a 2D Inception-V1 or torchvision's GoogLeNet.
    """
    from kinetics_pipeline.workflows.scoring.filters import filters as job

    job(picture, rgb, flow, flat)


def register(tools: App) -> None:
    """Adds the commands to `tools`."""
    tools.command(convert_checkpoint, name="convert-checkpoint")
    tools.command(filters)
