"""How a video is cut into windows and steps, beside plain loops over its frames."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kinetics_pipeline.loading.windows import NOTHING, Steps, Windows, window_frames


def rows_by_loop(frames: int, windows: Windows) -> list[list[int]]:
    """The frames of every row, one place of a window after the other."""
    before = windows.window // 2 if windows.position == "centre" else 0
    rows = []
    for middle in range(0, frames + windows.window + windows.step, windows.step):
        numbers = [middle - before + k for k in range(windows.window)]
        inside = numbers[0] >= 0 and numbers[-1] + windows.extra < frames
        if windows.ends == "drop" and inside:
            rows.append(numbers)
        elif windows.ends == "repeat" and middle < frames:
            rows.append([min(max(n, 0), frames - 1) for n in numbers])
        elif windows.ends == "zero" and middle < frames:
            rows.append([n if 0 <= n < frames else NOTHING for n in numbers])
    return rows


@pytest.mark.parametrize("ends", ["drop", "repeat", "zero"])
@pytest.mark.parametrize("position", ["start", "centre"])
def test_windows_hold_the_frames_that_a_loop_over_the_video_finds(position, ends):
    for frames, window, step in itertools.product((1, 9, 15, 16, 17, 33, 40), (9, 16, 21), (1, 4, 16, 30)):
        windows = Windows(window, step, position, ends)
        expected = rows_by_loop(frames, windows)
        assert windows.rows(frames) == len(expected), (frames, windows)
        for row, numbers in enumerate(expected):
            assert windows.frames(row, frames).tolist() == numbers, (frames, windows, row)


def test_a_row_that_is_whole_has_the_same_frames_while_more_are_to_come():
    for position, ends in itertools.product(("start", "centre"), ("drop", "repeat", "zero")):
        windows = Windows(16, 4, position, ends)
        for row in range(windows.rows(60)):
            if windows.needs(row) <= 60:
                assert windows.frames(row, windows.needs(row)).tolist() == windows.frames(row, 60).tolist()


def test_a_window_that_needs_a_frame_behind_it_is_dropped_without_one():
    assert [Windows(64, 64, extra=1).rows(frames) for frames in (64, 65, 128, 129)] == [0, 1, 1, 2]
    assert [Windows(64, 64).rows(frames) for frames in (63, 64, 127, 128)] == [0, 1, 1, 2]


def test_times_are_those_of_the_windows_frames_and_their_mean_is_the_middle():
    np.testing.assert_allclose(Windows(16, 4).times(3, 30), [[0, 16 / 30], [4 / 30, 20 / 30], [8 / 30, 24 / 30]])
    centred = Windows(21, 1, "centre", "zero").times(4, 15)
    np.testing.assert_allclose(centred.mean(axis=1), (np.arange(4) + 0.5) / 15)  # the middle of each frame's time


def test_a_short_video_is_looped_and_every_round_shows_the_same_frames():
    assert window_frames(0, 7, 5, 2).tolist() == [0, 2, 4, 0, 2, 4, 0]


@pytest.mark.parametrize("remainder", range(8))
def test_pieces_cover_every_step_once_and_have_all_that_a_step_sees(remainder):
    steps = Steps(piece=64)
    frames = 800 + remainder
    row = 0
    for first, end, begins, count in steps.pieces(remainder):
        assert begins == row
        assert first % 8 == 0
        assert first == max(0, 8 * row - 48)
        if end >= frames:
            row = steps.rows(frames)
            break
        assert (end - first) % 8 == remainder
        assert 8 * (begins + count) + 55 <= end
        row += count
    assert row == -(-frames // 8) - 1
