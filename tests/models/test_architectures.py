"""The other architectures: sizes, what they take, and that each can learn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from kinetics_pipeline.models import MODELS, InputError, build_model, count_parameters
from kinetics_pipeline.models.layers.snippets import gather_snippets, snippet_starts
from kinetics_pipeline.models.training.loop import train_steps
from kinetics_pipeline.models.training.recipes import training_recipe
from kinetics_pipeline.models.training.state import start_training

PAPER_MILLIONS = {"convnet_lstm": 9, "c3d": 79, "two_stream": 12, "fused_two_stream": 39}
SMALL = {"c3d": {"crop_size": 16}, "convnet_lstm": {"frame_stride": 4}, "inception2d": {"frame_stride": 4}}


def streams(frames: int = 20, size: int = 32, clips: int = 1) -> dict[str, torch.Tensor]:
    clip = F.interpolate(torch.rand(clips, 3, 4, 4, 4) * 2 - 1, (frames, size, size))
    return {"video": clip, "rgb": clip, "flow": clip[:, :2], "label": torch.arange(clips)}


@pytest.mark.parametrize("name", PAPER_MILLIONS)
def test_the_parameters_are_within_a_million_of_table_1(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name)
    assert abs(count_parameters(model) / 1e6 - PAPER_MILLIONS[name]) < 1


def test_two_i3d_streams_have_the_25_million_of_table_1() -> None:
    with torch.device("meta"):
        two = sum(count_parameters(build_model("i3d", in_channels=channels)) for channels in (3, 2))
    assert abs(two / 1e6 - 25) < 1


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_overfits_one_batch(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, num_classes=3, dropout=0.0, **SMALL.get(name, {}))
    batch = streams(frames=16, size=16 if name in ("c3d", "fused_two_stream") else 32, clips=3)
    steps, rate = (5, 0.003) if name == "c3d" else (8, 0.02)
    recipe = training_recipe("released", "rgb", steps=steps, learning_rate=rate)
    last = list(train_steps(start_training(model, recipe), [batch] * steps))[-1]
    assert last.top1 == 1.0


@pytest.mark.parametrize("name", ["two_stream", "fused_two_stream"])
@torch.no_grad()
def test_two_streams_may_come_as_one_tensor_and_not_as_one_stream(name: str) -> None:
    model = build_model(name, num_classes=3).eval()
    s = streams()
    apart, joined = model(s["rgb"], s["flow"]), model(torch.cat([s["rgb"], s["flow"]], dim=1))
    assert torch.equal(apart, joined)
    with pytest.raises(InputError, match=r"takes RGB .* and flow"):
        model(s["rgb"])
    with pytest.raises(InputError, match="as much flow as RGB"):
        model(s["rgb"], s["flow"][:, :, :15])


def test_snippets_cover_a_long_clip_in_turn() -> None:
    assert snippet_starts(250, 25) == list(range(0, 250, 10))
    assert snippet_starts(10, 25) == [0]
    assert snippet_starts(64, 25)[-1] == 54


def test_a_snippet_stacks_u_and_v_of_the_frames_from_there() -> None:
    rgb = torch.arange(40.0).view(1, 1, 40, 1, 1)
    flow = torch.stack([rgb[:, 0], -rgb[:, 0]], dim=1)
    pictures, stacks = gather_snippets(rgb, flow, [3, 20])
    assert pictures.flatten().tolist() == [3, 20]
    assert stacks[0, 1].flatten().tolist()[:4] == [20, -20, 21, -21]
    assert stacks.shape == (1, 2, 20, 1, 1)


@torch.no_grad()
def test_c3d_averages_pieces_of_16_frames_from_both_ends_of_the_clip() -> None:
    model = build_model("c3d", num_classes=3, crop_size=32).eval()
    clip = streams(frames=40)["video"]
    pieces = [model(clip[:, :, :16]), model(clip[:, :, 24:40])]
    torch.testing.assert_close(model(clip), torch.stack(pieces).mean(dim=0))
    with pytest.raises(InputError, match="c3d takes 32x32 frames, not 24x32"):
        model(clip[..., :24, :])


@torch.no_grad()
def test_the_lstm_answers_with_its_last_step_and_looks_at_one_frame_in_five() -> None:
    model = build_model("convnet_lstm", num_classes=3).eval()
    clip = streams(frames=21)["video"]
    steps = model(clip, every_step=True)
    assert steps.shape == (1, 3, 5)
    torch.testing.assert_close(model(clip), steps[..., -1])
    unseen = clip.clone()
    unseen[:, :, 1:5] = 7.0
    assert torch.equal(model(unseen), model(clip))


def test_an_unknown_name_or_option_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(InputError, match=r"no model 'resnet'; allowed: i3d, c3d, convnet_lstm, two_stream, fused"):
        build_model("resnet")
    with pytest.raises(InputError, match=r"i3d has no option 'depth'; allowed: dropout, "):
        build_model("i3d", depth=3)
    with pytest.raises(InputError, match=r"num_classes is 0"):
        build_model("i3d", num_classes=0)
    for name in ("inception2d", "convnet_lstm"):
        with pytest.raises(InputError, match=r"frame_stride is 0"):
            build_model(name, frame_stride=0)


@pytest.mark.parametrize(
    ("name", "frames", "counts"),
    [  # "Quo Vadis", table 1: in training, in testing on ten seconds, and as many on longer and shorter videos
        ("convnet_lstm", 125, {"video": 25}),
        ("convnet_lstm", 250, {"video": 50}),
        ("convnet_lstm", 775, {"video": 50}),
        ("c3d", 16, {"video": 16}),
        ("c3d", 250, {"video": 240}),
        ("c3d", 775, {"video": 240}),
        ("two_stream", 10, {"rgb": 1, "flow": 10}),
        ("two_stream", 250, {"rgb": 25, "flow": 250}),
        ("two_stream", 775, {"rgb": 25, "flow": 250}),
        ("fused_two_stream", 50, {"rgb": 5, "flow": 50}),
        ("fused_two_stream", 250, {"rgb": 25, "flow": 250}),
        ("fused_two_stream", 775, {"rgb": 25, "flow": 250}),
        ("i3d", 775, {"video": 775}),
    ],
)
def test_frames_are_those_of_table_1_over_the_whole_clip(name: str, frames: int, counts: dict[str, int]) -> None:
    with torch.device("meta"):
        used = build_model(name, num_classes=2).frames_used(frames)  # type: ignore[operator]
    assert {stream: len(set(numbers)) for stream, numbers in used.items()} == counts
    ends = [min(min(numbers) for numbers in used.values()), max(max(numbers) for numbers in used.values())]
    assert ends[0] == 0 or frames < 50
    assert ends[1] >= frames - 16


@pytest.mark.parametrize("name", [name for name in MODELS if name != "i3d"])
def test_a_network_looks_at_the_frames_that_it_says_and_at_no_others(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, num_classes=2, **({"crop_size": 8} if name == "c3d" else {})).eval()
    frames = 271
    clip = {stream: torch.rand(1, 2 if stream == "flow" else 3, frames, 8, 8) for stream in model.inputs}  # type: ignore[union-attr]
    for values in clip.values():
        values.requires_grad_()
    model(*clip.values())[0, 0].backward()
    for stream, numbers in model.frames_used(frames).items():  # type: ignore[operator]
        seen = clip[stream].grad.abs().amax(dim=(0, 1, 3, 4)) > 0  # type: ignore[union-attr]
        assert seen.nonzero().flatten().tolist() == sorted(set(numbers))


@torch.no_grad()
def test_the_heads_of_two_stream_see_one_stream_each_and_their_mean_is_its_answer() -> None:
    torch.manual_seed(0)
    model, s = build_model("two_stream", num_classes=3).eval(), streams()
    heads = model.head_logits(s["rgb"], s["flow"])  # type: ignore[operator]
    torch.testing.assert_close(model(s["rgb"], s["flow"]), (heads["rgb"] + heads["flow"]) / 2)
    other = model.head_logits(s["rgb"], -s["flow"])  # type: ignore[operator]
    assert torch.equal(other["rgb"], heads["rgb"])
    assert not torch.equal(other["flow"], heads["flow"])
