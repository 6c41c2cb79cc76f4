"""I3D on long clips: in pieces it answers as on the whole."""

import pytest
import torch

from kinetics_pipeline.loading.windows import Steps
from kinetics_pipeline.models import build_model
from kinetics_pipeline.models.scoring.evaluation import evaluate
from kinetics_pipeline.workflows.training.long_clips import PIECES, compute_long, dense_logits


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = build_model("i3d", num_classes=5).double().train()
    for module in model.modules():
        if hasattr(module, "momentum"):
            module.momentum = 0.5
    with torch.no_grad():  # statistics that are not those of fresh weights, so that values neither vanish nor explode
        for _ in range(3):
            model(torch.rand(2, 3, 32, 16, 16, dtype=torch.float64) * 2 - 1)
    return model.eval()


@pytest.mark.parametrize("frames", [*range(296, 304), 361])
@torch.no_grad()
def test_pieces_give_the_logits_of_every_step_of_the_whole_whatever_the_length(network, frames):
    video = torch.rand(1, 3, frames, 16, 16, dtype=torch.float64) * 2 - 1
    whole = network.dense_logits(video)
    pieces = dense_logits(network, video, Steps(piece=64))
    assert pieces.shape == whole.shape == (1, 5, -(-frames // 8) - 1)
    torch.testing.assert_close(pieces, whole, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_fewer_frames_around_the_pieces_would_change_their_logits(network):
    video = torch.rand(1, 3, 300, 16, 16, dtype=torch.float64) * 2 - 1
    pieces = dense_logits(network, video, Steps(piece=64, before=40, after=48))
    assert (pieces - network.dense_logits(video)).abs().max() > 1e-9


def test_a_clip_of_half_a_minute_is_evaluated_in_pieces_as_it_is_on_the_whole(network):
    model = build_model("i3d", num_classes=5)
    model.load_state_dict(network.state_dict())
    frames = PIECES.piece + PIECES.before + PIECES.after + 129
    batch = {"video": torch.rand(1, 3, frames, 16, 16) * 2 - 1, "clip_id": ["x"]}
    pieces, whole = evaluate(model, [batch], compute=compute_long), evaluate(model, [batch])
    torch.testing.assert_close(torch.from_numpy(pieces.logits), torch.from_numpy(whole.logits), rtol=1e-4, atol=1e-4)
