"""`features`: layouts, equality with the port's way, datasets, outcomes, resuming; on small pictures and videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.flow import tvl1
from kinetics_pipeline.models import Checkpoint, build_model, save_checkpoint
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip
from kinetics_pipeline.shards.clip_rows import encode_clip
from kinetics_pipeline.shards.writer import write_shard
from kinetics_pipeline.video import read_clip
from kinetics_pipeline.workflows.cli.app import run
from kinetics_pipeline.workflows.flags.features_flags import FeaturesConfig
from kinetics_pipeline.workflows.scoring.extraction import videos as extraction_videos
from kinetics_pipeline.workflows.scoring.extraction.job import features
from tests.builders.clips import CLASSES, planned, record_of
from tests.builders.standin_port import MIXED, InceptionI3d, pool
from tests.builders.videos import render

CROP, SIDE = 32, 48
RECIPE = Recipe(short_side=SIDE)
JPEG_CHANGES = 0.08
"""The most that features of a stored clip may differ from those of its file, relative to their norm: quality 90 changes
those of random networks on 48 pixels by 0.055."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    """Seeded I3Ds of both streams that see 32 pixels."""
    folder = tmp_path_factory.mktemp("weights")
    found = {}
    for stream, channels in (("rgb", 3), ("flow", 2)):
        torch.manual_seed(channels)
        config = {"num_classes": 3, "in_channels": channels}
        metadata = {"stream": stream, "crop": CROP, "recipe": RECIPE.to_json()}
        found[stream] = folder / f"{stream}.pt"
        state = build_model("i3d", **config).state_dict()
        save_checkpoint(Checkpoint("i3d", config, state, None, metadata), found[stream])
    return found


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """72 frames at 30 a second."""
    return render(tmp_path_factory.mktemp("video") / "walk.mp4", width=64, height=48, fps=30, seconds=2.4)


def ask(to: Path, weights: dict[str, Path], **flags: Any) -> FeaturesConfig:
    return FeaturesConfig(to=to, **{"precision": "fp32", **weights, **flags})


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Of two arrays of one shape, relative to the second one's norm."""
    assert found.shape == expected.shape
    return float(np.linalg.norm(found.astype(np.float64) - expected) / np.linalg.norm(expected.astype(np.float64)))


PRESETS = {
    "video-features": (
        {"walk_rgb.npy": (1, 1024), "walk_flow.npy": (1, 1024), "walk_fps.npy": (), "walk_timestamps_ms.npy": (1,)},
        [[0, 64 / 30]],
    ),
    "actionformer-thumos": ({"walk.npy": (15, 2048)}, [[k * 4 / 30, (k * 4 + 16) / 30] for k in range(15)]),
    "actionformer-anet": ({"v_walk.npy": (3, 2048)}, [[k * 16 / 25, (k + 1) * 16 / 25] for k in range(3)]),
    "ms-tcn": ({"walk.npy": (2048, 36)}, [[(k - 10) / 15, (k + 11) / 15] for k in range(36)]),
    "pytorch-i3d": ({"walk.npy": (8, 1, 1, 1024)}, [[k * 8 / 30, (k * 8 + 16) / 30] for k in range(8)]),
    "ten-crop": (
        {"walk_rgb.npy": (4, 10, 1024), "walk_flow.npy": (4, 10, 1024), "walk_times.npy": (4, 2)},
        [[k * 16 / 30, (k + 1) * 16 / 30] for k in range(4)],
    ),
}


@pytest.mark.parametrize("like", PRESETS)
def test_a_preset_gives_the_files_shapes_and_times_that_its_readers_expect(like, weights, video, tmp_path):
    expected, times = PRESETS[like]
    given = {"flow": weights["flow"]} if like == "pytorch-i3d" else weights
    assert features([str(video)], ask(tmp_path, given, like=like)) == {"ok": 1}
    arrays = {file.name: np.load(file) for file in tmp_path.glob("*.npy")}
    assert {name: array.shape for name, array in arrays.items()} == expected
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert all(array.dtype == np.float32 for array in arrays.values() if array.size > 100)
    stem = "v_walk" if like == "actionformer-anet" else "walk"
    file = tmp_path / ("walk_times.npy" if like == "ten-crop" else f"times/{stem}.npy")
    np.testing.assert_allclose(np.load(file), times)
    if like == "video-features":
        assert arrays["walk_fps.npy"] == 30
        np.testing.assert_allclose(arrays["walk_timestamps_ms.npy"], [64_000 / 30])


def frames_of(video: Path, fps: float) -> np.ndarray:
    return read_clip(video, None, None, fps, SIDE)


def port_input(stored: np.ndarray, stream: str, crop: int = CROP) -> torch.Tensor:
    """[1, C, T, crop, crop] of frames [T, H, W, 3] or flow [T, 2, H, W] in pixels, by hand."""
    if stream == "flow":
        steps = 128 + np.rint(np.clip(stored, -20, 20) * 127 / 20)
        values = ((steps - 128) / 127).transpose(1, 0, 2, 3)
    else:
        values = (stored / 127.5 - 1).transpose(3, 0, 1, 2)
    top, left = (values.shape[2] - crop) // 2, (values.shape[3] - crop) // 2
    return torch.from_numpy(values[None, :, :, top : top + crop, left : left + crop].astype(np.float32))


def port_places(network: InceptionI3d, x: torch.Tensor) -> torch.Tensor:
    """What the port's last pool sees."""
    x = pool(network.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
    x = pool(network.Conv3d_2c_3x3(network.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
    for name in MIXED:
        if name == "Mixed_4b":
            x = pool(x, (3, 3, 3), (2, 2, 2))
        if name == "Mixed_5b":
            x = pool(x, (2, 2, 2), (2, 2, 2))
        x = network.get_submodule(name)(x)
    return x


@torch.no_grad()
def port_features(network: InceptionI3d, clip: torch.Tensor) -> np.ndarray:
    """The port's `extract_features`, [T', 1024], of pictures with one place at the end."""
    return F.avg_pool3d(port_places(network, clip), (2, 1, 1), 1)[0, :, :, 0, 0].T.numpy()


def port_of(weights: Path, channels: int) -> InceptionI3d:
    network = InceptionI3d(3, channels).eval()
    state = torch.load(weights, weights_only=True)["state_dict"]
    network.load_state_dict(state, strict=False)
    return network


def test_windows_are_those_of_a_loop_over_the_video_with_the_ports_network(weights, video, tmp_path):
    features([str(video)], ask(tmp_path, weights, fps="native", window=16, step=8))
    frames = frames_of(video, 30)
    flow = tvl1(frames, "cpu")
    for stream, stored, channels in (("rgb", frames, 3), ("flow", np.concatenate([flow, flow[-1:]]), 2)):
        network = port_of(weights[stream], channels)
        loop = [
            port_features(network, port_input(stored[first : first + 16], stream)).mean(axis=0)
            for first in range(0, len(stored) - 15, 8)
        ]
        found = np.load(tmp_path / f"walk_{stream}.npy")
        assert distance(found, np.array(loop)) < 1e-4
        assert np.abs(found - loop).max() < 1e-4 * np.abs(loop).max()


@pytest.mark.parametrize("header", ["right", "wrong"])
def test_steps_of_a_long_video_are_those_of_the_port_that_sees_it_at_once(
    header, weights, tmp_path, monkeypatch, capsys
):
    """1,595 frames, the longest kind that the port does not cut; where the header lets expect another length, too."""
    long = render(tmp_path / "long.mp4", width=64, height=48, fps=25, seconds=63.8 if header == "right" else 15.8)
    if header == "wrong":
        original = extraction_videos.Footage.__init__

        def misled(self: Any, *arguments: Any) -> None:
            original(self, *arguments)
            self.expected += 3

        monkeypatch.setattr(extraction_videos.Footage, "__init__", misled)
    features([str(long)], ask(tmp_path, {"rgb": weights["rgb"]}, per="step"))
    whole = port_features(port_of(weights["rgb"], 3), port_input(frames_of(long, 25), "rgb"))
    found = np.load(tmp_path / "long_rgb.npy")
    assert found.shape == whole.shape == ((199 if header == "right" else 49), 1024)
    assert np.abs(found - whole).max() < 1e-4 * np.abs(whole).max()


def test_features_of_a_datasets_clip_are_those_of_its_file_within_what_jpeg_changes(weights, video, tmp_path):
    dataset = Dataset.create(tmp_path / "dataset", RECIPE, CLASSES, {"a.csv": "00"})
    clip = Clip("walk_000000_000003", "walk", 0, 3, CLASSES[0], "train")
    planned(dataset, [clip])
    frames = frames_of(video, 25)
    flow = tvl1(frames, "cpu")
    payload = encode_clip(clip.clip_id, 0, frames, np.concatenate([flow, flow[-1:]]), RECIPE)
    write_shard(
        dataset.store,
        name="train-00000",
        plan="00000",
        clips=[(record_of(clip, frames=len(frames)), payload)],
        recipe=RECIPE,
        classes=CLASSES,
        scratch=tmp_path / "scratch",
        still_current=lambda: True,
    )
    flags: dict[str, Any] = {"window": 16, "step": 16}
    assert features([dataset.store.uri], ask(tmp_path / "a", weights, split="train", **flags)) == {"ok": 1}
    assert features([str(video)], ask(tmp_path / "b", weights, **flags)) == {"ok": 1}
    for stream in ("rgb", "flow"):
        stored = np.load(tmp_path / "a" / f"walk_000000_000003_{stream}.npy")
        direct = np.load(tmp_path / "b" / f"walk_{stream}.npy")
        assert stored.shape == direct.shape == (3, 1024)
        assert 0 < distance(stored, direct) < JPEG_CHANGES
    with pytest.raises(UserError, match=r"--fps is 30, but .* has 25"):
        features([dataset.store.uri], ask(tmp_path / "c", weights, fps="30", **flags))


def test_ends_are_filled_and_logits_and_maps_come_out_of_the_same_windows(weights, video, tmp_path):
    rgb = {"rgb": weights["rgb"]}
    flags: dict[str, Any] = {"window": 16, "step": 16, "fps": "native"}
    for name, more in {
        "plain": {},
        "repeat": {"ends": "repeat"},
        "map": {"map": True},
        "logits": {"logits": True},
        "half": {"dtype": "float16"},
    }.items():
        features([str(video)], ask(tmp_path / name, rgb, **flags, **more))
    found = {folder.name: np.load(folder / "walk_rgb.npy") for folder in tmp_path.iterdir()}
    assert found["repeat"].shape == (5, 1024)  # 72 frames
    assert distance(found["repeat"][:4], found["plain"]) < 1e-5
    assert distance(found["map"].mean(axis=(2, 3)), found["plain"]) < 1e-5
    head = torch.load(weights["rgb"], weights_only=True)["state_dict"]
    weight, bias = head["logits.conv3d.weight"][:, :, 0, 0, 0].numpy(), head["logits.conv3d.bias"].numpy()
    assert distance(found["logits"], found["plain"] @ weight.T + bias) < 1e-4
    assert found["half"].dtype == np.float16
    assert distance(found["half"], found["plain"]) < 2e-3


def test_each_video_has_one_outcome_and_the_same_command_goes_on(weights, video, tmp_path, capsys):
    folder, to = tmp_path / "videos", tmp_path / "to"
    (folder / "inner").mkdir(parents=True)
    (folder / "walk.mp4").write_bytes(video.read_bytes())
    (folder / "inner" / "junk.mp4").write_bytes(b"no video")
    render(folder / "short.mp4", width=64, height=48, seconds=0.4)
    (folder / "inner" / "nowhere.mp4").symlink_to(tmp_path / "nothing.mp4")
    (tmp_path / "list.txt").write_text("videos/walk.mp4\n\nvideos/gone.mp4\n")
    words = ["features", str(folder), str(tmp_path / "list.txt"), "--rgb", str(weights["rgb"]), "--to", str(to)]
    words += ["--window", "16", "--step", "16", "--precision", "fp32"]
    assert run(words) == 0
    said = capsys.readouterr()
    assert "1 video has features now; 1 decode, 2 not_found, 1 too_short: " in said.out
    assert "short.mp4: too_short, it has 10 frames, and a window takes 16" in " ".join(said.err.split())
    outcomes = {file.stem: json.loads(file.read_bytes()) for file in (to / "outcomes").iterdir()}
    assert {stem: one["outcome"] for stem, one in outcomes.items()} == {
        "walk": "ok",
        "junk": "decode",
        "short": "too_short",
        "gone": "not_found",
        "nowhere": "not_found",
    }
    assert outcomes["walk"]["rows"] == 3
    assert not list(to.glob(".*"))
    (to / ".short_rgb.npy.5f.tmp").write_bytes(b"of another file")
    (to / ".walk_rgb.npy.5f.tmp").write_bytes(b"of a process that was killed")
    before = (to / "walk_rgb.npy").stat().st_mtime_ns
    assert run(words) == 0  # only what may have changed is tried again
    said = capsys.readouterr().out
    assert "0 videos have features now, 1 had them before; 2 not_found; 1 decode, 1 too_short before: " in said
    assert (to / "walk_rgb.npy").stat().st_mtime_ns == before
    (to / "walk_rgb.npy").unlink()
    assert run(words) == 0
    assert [file.name for file in to.glob(".*")] == [".short_rgb.npy.5f.tmp"]
    assert "1 video has features now; 2 not_found; 1 decode, 1 too_short before: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--step", "8"], "layout.step is 8, but the features in"),
        (["--crops", "10"], "layout.crops is 10"),
        (["--dtype", "float16"], "dtype is float16"),
        (["--window", "8"], "--window is 8; allowed: 9 or more, the least that i3d can see"),
        (["--like", "ms-tcn"], "joins RGB and flow"),
        (["--per", "step", "--step", "8"], "--step is given with --per step"),
        (["--fps", "fast"], "--fps"),
        (["--split", "val"], "--split is val, which only clips of a dataset have"),
    ],
)
def test_what_differs_or_cannot_be_is_refused_in_a_line(more, named, weights, video, tmp_path, capsys):
    words = ["features", str(video), "--rgb", str(weights["rgb"]), "--to", str(tmp_path), "--precision", "fp32"]
    assert run(words) == 0
    assert json.loads((tmp_path / "features.json").read_bytes())["layout"]["step"] == 64
    capsys.readouterr()
    assert run([*words, *more]) == 2
    said = capsys.readouterr().err
    assert named in said
    assert len(said.splitlines()) == 1


def test_two_videos_of_one_name_and_other_weights_are_refused(weights, video, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "walk.mp4").write_bytes(video.read_bytes())
    rgb = {"rgb": weights["rgb"]}
    with pytest.raises(UserError, match="would have files of one name"):
        features([str(tmp_path / "a"), str(tmp_path / "b")], ask(tmp_path / "to", rgb))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no video"):
        features([str(tmp_path / "empty")], ask(tmp_path / "to", rgb))
    features([str(video)], ask(tmp_path / "to", rgb))
    other = tmp_path / "other.pt"
    checkpoint = torch.load(weights["rgb"], weights_only=True)
    checkpoint["state_dict"]["logits.conv3d.bias"] += 1
    torch.save(checkpoint, other)
    with pytest.raises(UserError, match=r"networks\.rgb\.sha256 is .* but the features in"):
        features([str(video)], ask(tmp_path / "to", {"rgb": other}))
    with pytest.raises(UserError, match="give it as --rgb"):
        features([str(video)], ask(tmp_path / "to", {"flow": weights["rgb"]}))


def test_one_parquet_file_has_the_rows_of_all_videos_with_their_times(weights, video, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("one", "two"):
        (tmp_path / "in" / f"{name}.mp4").write_bytes(video.read_bytes())
    flags: dict[str, Any] = {"window": 16, "step": 24, "format": "parquet"}
    features([str(tmp_path / "in")], ask(tmp_path / "to", weights, **flags))
    features([str(tmp_path / "in" / "one.mp4")], ask(tmp_path / "npy", weights, window=16, step=24))
    table = pq.read_table(tmp_path / "to" / "features.parquet")
    assert table.column_names == ["video", "row", "begin", "end", "rgb", "flow"]
    assert table["video"].to_pylist() == ["one"] * 2 + ["two"] * 2
    for stream in ("rgb", "flow"):
        rows = np.array(table[stream].to_pylist(), np.float32)
        np.testing.assert_array_equal(rows[:2], np.load(tmp_path / "npy" / f"one_{stream}.npy"))
    times = np.load(tmp_path / "npy" / "one_times.npy")
    np.testing.assert_allclose(np.stack([table["begin"], table["end"]], axis=1)[:2], times)


def test_a_foreign_file_of_weights_sees_224_pixels_as_the_port_does(weights, tmp_path, video):
    """The port's bare state dict: 224 pixels of a short side of 256."""
    bare = tmp_path / "rgb_imagenet.pt"
    torch.save(torch.load(weights["rgb"], weights_only=True)["state_dict"], bare)
    features([str(video)], ask(tmp_path / "to", {"rgb": bare}, fps="native", window=9, step=80))
    frames = read_clip(video, None, None, 30, 256)[:9]
    with torch.no_grad():
        steps = port_places(port_of(weights["rgb"], 3), port_input(frames, "rgb", 224))
    found = np.load(tmp_path / "to" / "walk_rgb.npy")
    assert found.shape == (1, 1024)
    expected = F.avg_pool3d(steps, (2, 7, 7), 1)[0].mean(dim=(1, 2, 3)).numpy()
    assert np.abs(found[0] - expected).max() < 1e-4 * np.abs(expected).max()
    how = json.loads((tmp_path / "to" / "features.json").read_bytes())
    assert how["networks"]["rgb"]["kind"] == "port"
    assert how["networks"]["rgb"]["crop"] == 224
    assert how["frames"]["short_side"] == 256
