"""What people look at must not lie: colours of flow, strips of frames, bars of probabilities."""

import colorsys

import cv2
import numpy as np
import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.workflows.pictures.colours import even_frames, flow_colours
from kinetics_pipeline.workflows.pictures.sheets import (
    BAR,
    annotated,
    clip_sheet,
    contact_sheet,
    repeated_frames,
    strip,
    wrapped,
    write_picture,
    written,
)


def uniform(u, v, count=1, height=4, width=5):
    return np.broadcast_to(np.array([u, v], np.float32)[None, :, None, None], (count, 2, height, width))


def hue_of(u, v):
    red, green, blue = flow_colours(uniform(u, v), largest=1.0)[0, 0, 0] / 255
    return colorsys.rgb_to_hsv(red, green, blue)[0] * 360


def test_no_motion_is_white():
    assert (flow_colours(uniform(0, 0)) == 255).all()


@pytest.mark.parametrize(
    ("u", "v", "named", "hue"),
    [(1, 0, "red", 0), (0, 1, "yellow", 54), (-1, 0, "cyan-blue", 191), (0, -1, "blue-magenta", 261)],
)
def test_directions_have_the_colours_of_the_middlebury_wheel(u, v, named, hue):
    # The wheel has 55 steps, red at 0, yellow 15, green 21, cyan 25, blue 36, magenta 49; left is at 27, down at 13.5.
    # (y points down.)
    assert min(abs(hue_of(u, v) - hue), 360 - abs(hue_of(u, v) - hue)) < 4, named


def test_every_direction_has_a_colour_of_its_own():
    angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    colours = [tuple(flow_colours(uniform(np.cos(a), np.sin(a)), largest=1.0)[0, 0, 0].tolist()) for a in angles]
    assert len(set(colours)) == len(angles)


def test_faster_motion_is_fuller_and_beyond_the_largest_darker():
    slow, fast, beyond = (flow_colours(uniform(u, 0), largest=4.0)[0, 0, 0].astype(int) for u in (1, 4, 8))
    assert slow[1] > fast[1]
    assert beyond[0] < fast[0] == 255


def test_unknown_flow_is_black_and_does_not_change_the_rest():
    flow = uniform(1, 0).copy()
    flow[0, :, 0, 0] = np.nan
    flow[0, :, 1, 1] = 1e10
    picture = flow_colours(flow)
    assert (picture[0, 0, 0] == 0).all()
    assert (picture[0, 1, 1] == 0).all()
    assert (picture[0, 2:] == flow_colours(uniform(1, 0))[0, 2:]).all()


def test_frames_of_a_strip_are_spread_over_the_whole_clip():
    assert even_frames(50, 8)[0] == 0
    assert even_frames(50, 8)[-1] == 49
    assert even_frames(3, 8) == [0, 1, 2]
    frames = np.arange(50, dtype=np.uint8)[:, None, None, None] * np.ones((1, 6, 8, 3), np.uint8)
    seen = {int(value) for value in np.unique(strip(frames, shown=5))}
    assert seen == {0, 12, 24, 37, 49, 255}


def test_a_contact_sheet_has_a_row_for_each_clip_as_wide_as_the_widest():
    clips = [np.zeros((9, 10, 20, 3), np.uint8), np.zeros((2, 10, 30, 3), np.uint8)]
    sheet = contact_sheet(clips, shown=4)
    assert sheet.shape == (10 + 2 + 10, 4 * 20 + 3 * 2, 3)
    assert (sheet[12:, 62:] == 255).all()


def test_bars_are_as_long_as_the_probabilities():
    frames = np.zeros((4, 20, 20, 3), np.uint8)
    picture = annotated(frames, None, [("a", 0.8), ("b", 0.4), ("c", 0.0)], height=20)
    blue = (picture == np.array(BAR)).all(axis=2)
    rows = [row for row in blue.sum(axis=1) if row]
    lengths = sorted({int(length) for length in rows}, reverse=True)
    assert lengths[0] == pytest.approx(2 * lengths[1], abs=2)


def test_a_picture_is_written_with_red_as_red(tmp_path):
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[..., 0] = 200
    write_picture(tmp_path / "p.png", picture)
    assert cv2.imread(str(tmp_path / "p.png"))[0, 0].tolist() == [0, 0, 200]


@pytest.mark.parametrize("name", ["p.gif", "absent/p.png"])
def test_a_picture_that_cannot_be_written_is_named(tmp_path, name):
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        write_picture(tmp_path / name, np.zeros((4, 4, 3), np.uint8))


def test_labels_of_other_scripts_are_written_as_they_are():
    plain, *others = (written([text], 200) for text in ("? ?", "日 本", "ž ї", "\udcff ?"))
    assert not any(np.array_equal(plain, other) for other in others[:2])
    assert np.array_equal(plain, others[2])


def test_repeated_frames_are_marked_under_their_pictures():
    once = np.random.default_rng(0).integers(0, 255, (4, 48, 160, 3), np.uint8)
    twice = once.repeat(2, axis=0)
    assert repeated_frames(twice).tolist() == [False, True] * 4
    flow = np.zeros((8, 2, 48, 160), np.float32)
    moving, slow = (clip_sheet(["a clip"], frames, flow[: len(frames)], 25, 4, 48) for frames in (once, twice))
    assert slow[0].shape[0] > moving[0].shape[0]  # one line more says how many repeat
    second_line = [[bool((row[row.shape[0] // 2 :] < 128).any()) for row in sheet[2::2]] for sheet in (moving, slow)]
    assert second_line == [[False, False], [True, True]]


def test_flow_without_motion_is_said_in_words_and_not_as_a_blank_tile():
    frames = np.stack([np.full((120, 160, 3), 40 * k, np.uint8) for k in range(3)])

    def captions(flow):
        return clip_sheet([], frames, flow, 25.0, 3)[-1]

    still, moving = (captions(np.full((3, 2, 120, 160), pixels, np.float32)) for pixels in (0.0, 1.0))
    assert not np.array_equal(still, moving)
    assert np.array_equal(still[:16, :160], written(["no motion"], 160, 0.4))


def test_a_long_class_name_is_broken_between_words_and_keeps_every_one():
    name = "riding a mechanical bull that is named after somebody famous"
    lines = wrapped([name], 160)
    assert len(lines) > 1
    assert " ".join(lines) == name
