"""Stored values become what a model takes: exactly, and mirrored as a mirror would."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kinetics_pipeline.flow.quantised import quantise_flow
from kinetics_pipeline.loading import mirror, normalise, to_device
from kinetics_pipeline.shards.codec import dequantise_flow


def test_rgb_goes_from_minus_one_to_one() -> None:
    stored = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    assert torch.allclose(normalise(stored).flatten(), torch.tensor([-1.0, -0.6, 1.0]))
    assert normalise(stored).abs().max() == 1


def test_no_motion_is_exactly_zero_and_the_bound_exactly_one() -> None:
    stored = torch.tensor([128, 255, 1, 0], dtype=torch.uint8).view(2, 1, 1, 2)
    assert normalise(stored).flatten().tolist() == [0, 1, -1, -1]


def test_flow_is_pixels_over_twenty() -> None:
    pixels = np.linspace(-25, 25, 201, dtype=np.float32)
    values = normalise(torch.from_numpy(quantise_flow(np.stack([pixels, pixels]).reshape(2, 1, 1, -1))))
    assert np.abs(values[0].numpy().ravel() - np.clip(pixels, -20, 20) / 20).max() <= 0.5 / 127 + 1e-6
    assert np.allclose(dequantise_flow(quantise_flow(pixels)), values[0].numpy().ravel() * 20, atol=1e-5)


def test_mirrored_flow_is_the_flow_of_the_mirrored_video() -> None:
    stored = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 256).expand(2, 1, 1, 256)
    values, mirrored = normalise(stored), normalise(mirror(stored))
    assert torch.equal(mirrored[0], -values[0].flip(-1))
    assert torch.equal(mirrored[1], values[1].flip(-1))


def test_mirroring_twice_gives_back_rgb() -> None:
    stored = torch.randint(0, 256, (3, 2, 4, 6), dtype=torch.uint8)
    assert torch.equal(mirror(mirror(stored)), stored)
    assert torch.equal(mirror(stored)[..., 0], stored[..., -1])


def test_a_batch_is_flipped_only_where_it_says_so() -> None:
    video = torch.randint(0, 256, (2, 3, 4, 5, 6), dtype=torch.uint8)
    flow = torch.randint(1, 256, (2, 2, 4, 5, 6), dtype=torch.uint8)
    batch = {"video": video, "flow": flow, "flip": torch.tensor([False, True]), "label": torch.tensor([1, 2])}
    moved = to_device(batch | {"clip_id": ["a", "b"]}, "cpu")
    assert torch.equal(moved["video"], torch.stack([normalise(video[0]), normalise(video[1]).flip(-1)]))
    assert torch.equal(moved["flow"][1, 0], -normalise(flow[1])[0].flip(-1))
    assert torch.equal(moved["flow"][0], normalise(flow[0]))
    assert "flip" not in moved
    assert moved["clip_id"] == ["a", "b"]


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="4 channels"):
        normalise(torch.zeros(4, 1, 1, 1, dtype=torch.uint8))
