"""What each network's last layer sees: the features, from which the last layer makes the logits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kinetics_pipeline.models import InputError, build_model

NETWORKS = {
    "i3d": ({}, (3,), 1024),
    "c3d": ({"crop_size": 32}, (3,), 4096),
    "convnet_lstm": ({}, (3,), 512),
    "two_stream": ({}, (3, 2), 2048),
    "fused_two_stream": ({}, (3, 2), 512),
}


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_layer_over_the_features_is_the_network(name):
    options, channels, size = NETWORKS[name]
    torch.manual_seed(0)
    model = build_model(name, 5, 3, **options).eval()
    clips = [torch.rand(2, c, 32, 32, 32) * 2 - 1 for c in channels]
    with torch.no_grad():
        seen, logits = model.features(*clips), model(*clips)
        if name == "i3d":
            assert distance(model.feature_map(clips[0]).mean(dim=(3, 4)), seen) < 1e-5
            seen = seen.mean(dim=2)
            head = model.logits.conv3d
            made = seen @ head.weight[:, :, 0, 0, 0].T + head.bias
        elif name == "two_stream":
            made = (model.rgb_logits(seen[:, :1024]) + model.flow_logits(seen[:, 1024:])) / 2
        else:
            made = model.logits(seen)
    assert seen.shape == (2, size)
    assert distance(made, logits) < 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_a_clip_of_the_least_frames_is_taken_and_a_shorter_one_is_not(name):
    options, channels, _ = NETWORKS[name]
    model: nn.Module = build_model(name, 5, 3, **options).eval()
    least = int(model.least_frames)
    with torch.no_grad():
        assert len(model.features(*(torch.rand(1, c, least, 32, 32) for c in channels))) == 1
    if least > 1:
        with pytest.raises(InputError, match="at least"):
            model.features(*(torch.rand(1, c, least - 1, 32, 32) for c in channels))
