"""I3D on clips of any length within bounded memory: in pieces, with as much around them as their logits depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from kinetics_pipeline.loading.windows import Steps
from kinetics_pipeline.models.i3d import I3D
from kinetics_pipeline.models.scoring.evaluation import ALL, compute_heads

PIECES = Steps(piece=512)


def compute_long(model: nn.Module, inputs: Sequence[Tensor]) -> Mapping[str, Tensor]:
    """Logits [N, classes] by head, as `compute_heads`; of I3D in pieces where a clip is long."""
    if isinstance(model, I3D):
        return {ALL: dense_logits(model, inputs[0]).mean(dim=2)}
    return compute_heads(model, inputs)


def dense_logits(network: I3D, video: Tensor, steps: Steps = PIECES) -> Tensor:
    """`I3D.dense_logits` of the whole `video` [N, C, T, H, W], in evaluation mode: the same within float error."""
    frames = video.shape[2]
    if frames <= steps.piece + steps.before + steps.after:
        return network.dense_logits(video)
    found = []
    for first, end, row, count in steps.pieces(frames % steps.stride):
        of_piece = network.dense_logits(video[:, :, first:end])[:, :, row - first // steps.stride :]
        if end >= frames:
            found.append(of_piece)
            break
        found.append(of_piece[:, :, :count])
    return torch.cat(found, dim=2)
