"""What of a clip is shown at test time: windows, crops, mirrors, and the mean of their logits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import collate, to_device
from kinetics_pipeline.loading.views import Views, crop_corner, window_starts
from kinetics_pipeline.loading.whole_clips import SameLength
from kinetics_pipeline.models import read_checkpoint
from kinetics_pipeline.models.scoring.evaluation import evaluate
from kinetics_pipeline.shards.clip_rows import decode_rows
from kinetics_pipeline.shards.data_file import read_clips
from kinetics_pipeline.workflows.cli.app import run
from tests.builders.motion import build_motion
from tests.builders.trained_streams import save_network


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return build_motion(tmp_path_factory.mktemp("motion"), splits={"val": 2}, count=24)


def stored_flow(dataset):
    """uint8 [T, 2, 32, 40] of the first clip, read from its shard."""
    marker = json.loads(dataset.store.read("shards/val-00000.json"))
    file = Path(dataset.store.uri) / "shards/val-00000.parquet"
    rows = next(iter(read_clips(file, "parquet", [clip["rows"] for clip in marker["clips"]])))
    return marker["clips"][0]["clip_id"], np.stack(list(decode_rows(rows, "flow", "parquet")))


@given(frames=st.integers(1, 400), window=st.integers(1, 100))
def test_sliding_windows_lie_in_the_clip_leave_out_no_frame_and_overlap_by_half(frames, window):
    window = max(window, 16)
    starts = window_starts("sliding", frames, window)
    if frames <= window:
        assert starts == [0]
        return
    seen = np.zeros(frames, bool)
    for start in starts:
        assert 0 <= start <= frames - window
        seen[start : start + window] = True
    assert seen.all()
    assert max(np.diff(starts), default=0) <= max(window // 2, 1)


def test_ten_windows_go_from_the_first_frame_to_the_last():
    starts = window_starts("10x3", 250, 64)
    assert len(starts) == 10
    assert (starts[0], starts[-1] + 64) == (0, 250)


@pytest.mark.parametrize(
    ("height", "width", "corners"),
    [(256, 340, [(0, 0), (0, 42), (0, 84)]), (340, 256, [(0, 0), (42, 0), (84, 0)]), (256, 256, [(0, 0)] * 3)],
)
def test_three_crops_cover_the_longer_side(height, width, corners):
    assert [crop_corner(height, width, 256, place) for place in range(3)] == corners


def test_logits_of_mirrored_10x3_views_are_the_mean_over_them_computed_by_hand(dataset, tmp_path):
    model = read_checkpoint(save_network(dataset, "flow", tmp_path / "flow.pt")).build().eval()
    views = Views(dataset.store.uri, "val", "flow", 32, 250, views="10x3", window=16, mirrored=True)
    assert len(views) == 2 * 10 * 3 * 2
    batches = [to_device(collate(views.__getitems__(batch)), "cpu") for batch in SameLength(views, 30)]
    found = evaluate(model, batches)

    clip, stored = stored_flow(dataset)
    values = ((np.maximum(stored, 1).astype(np.float32) - 128) / 127).transpose(1, 0, 2, 3)
    logits = []
    for start in np.round(np.arange(10) * 8 / 9).astype(int):
        for left in (0, 4, 8):
            view = values[:, start : start + 16, :, left : left + 32]
            flipped = view[..., ::-1] * np.array([-1, 1], np.float32)[:, None, None, None]
            with torch.no_grad():
                logits += [model(torch.from_numpy(v.copy())[None]).numpy()[0] for v in (view, flipped)]
    np.testing.assert_allclose(found.logits[found.clip_ids.index(clip)], np.mean(logits, axis=0), rtol=1e-3, atol=1e-5)


def test_ten_crops_are_the_corners_and_the_centre_each_mirrored_too(dataset):
    views = Views(dataset.store.uri, "val", "rgb", 32, crops=10)
    shown = [views.snippet_of(number)[1] for number in range(10)]
    height, width = 32, 40
    corners = [(0, 0), (0, width - 32), (height - 32, 0), (height - 32, width - 32), (0, 4)]
    assert [(one.top, one.left, one.flip) for one in shown] == [(*c, flip) for c in corners for flip in (False, True)]
    assert len(views) == 2 * 10
    with pytest.raises(UserError, match="crops is 5; allowed: 1, 3, 10"):
        Views(dataset.store.uri, "val", "rgb", 32, crops=5)


@pytest.mark.parametrize(
    ("views", "window", "stride", "expected"),
    [
        # clips of 24 frames
        ("sliding", 16, 1, [range(16), range(8, 24)]),
        (
            "sliding",
            16,
            4,
            [[*range(0, 24, 4)] * 2 + [0, 4, 8, 12]],
        ),  # longer than the clip: looped, at the same stride
        ("whole", 16, 1, [range(24)]),
        ("whole", 16, 4, [[*range(0, 24, 4)] * 2 + [0, 4, 8, 12]]),
    ],
)
def test_a_stride_takes_every_so_many_th_frame_of_a_view(dataset, views, window, stride, expected):
    shown = Views(dataset.store.uri, "val", "rgb", 32, views=views, window=window, stride=stride, crops=1)
    assert len(shown) == 2 * len(expected)
    for number, frames in enumerate(expected):
        assert shown.snippet_of(number)[1].frames.tolist() == list(frames)
        assert shown.lengths()[number] == len(shown.snippet_of(number)[1].frames)
    assert shown[0]["video"].shape == (3, len(list(expected[0])), 32, 32)


def test_evaluate_takes_views_and_says_them_in_its_results(dataset, tmp_path):
    network = save_network(dataset, "rgb", tmp_path / "rgb.pt")
    flags = ["--views", "sliding", "--window", "16", "--mirrored", "--stride", "2", "--loaders", "0"]
    assert run(["evaluate", dataset.store.uri, "--rgb", str(network), *flags]) == 0
    results = json.loads((tmp_path / "evaluation-val-sliding-mirrored-stride2.json").read_text())
    assert results["config"]["views"] == "sliding"
    assert results["scores"]["rgb"]["clips"] == 2


def test_accuracy_by_group_is_that_of_the_clips_of_its_classes(dataset, tmp_path, capsys):
    network = save_network(dataset, "rgb", tmp_path / "rgb.pt")
    (tmp_path / "groups.csv").write_text("down,vertical\nup,vertical\nleft,horizontal\nabsent,other\n")
    arguments = ["evaluate", dataset.store.uri, "--rgb", str(network), "--loaders", "0"]
    assert run([*arguments, "--groups", str(tmp_path / "groups.csv")]) == 0
    score = json.loads((tmp_path / "evaluation-val.json").read_text())["scores"]["rgb"]
    groups = score["groups"]
    assert set(groups) == {"vertical", "horizontal"}
    assert (groups["vertical"]["clips"], groups["horizontal"]["clips"]) == (1, 1)
    assert groups["vertical"]["top1"] == score["per_class"]["down"]
    assert groups["horizontal"]["top1"] == score["per_class"]["left"]
    (tmp_path / "groups.csv").write_text("down\n")
    assert run([*arguments, "--groups", str(tmp_path / "groups.csv")]) == 2
    assert "class,group" in capsys.readouterr().err
