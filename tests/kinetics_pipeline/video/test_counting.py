"""A picture that has a packet and came out of no decoder is noticed by counting."""

import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from kinetics_pipeline.video.decoding import Decoding, Request
from kinetics_pipeline.video.grid_report import GridReport, lost_frames
from kinetics_pipeline.video.packets import all_packets
from tests.builders.videos import H264, render

INTERLACED = ("-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-vf", "setfield=tff", "-q:v", "2")


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", H264),
        ("a.mkv", ("-c:v", "mpeg4", "-q:v", "3", "-bf", "2")),
        ("a.wmv", ("-c:v", "wmv2", "-q:v", "3")),
        ("a.ogv", ("-c:v", "libtheora", "-q:v", "7")),
        ("a.flv", ("-c:v", "flv", "-q:v", "3")),
        ("interlaced.mkv", (*INTERLACED, "-bf", "2")),
        ("interlaced.ts", (*INTERLACED, "-bf", "2")),
    ],
)
def test_a_picture_that_is_lost_in_silence_is_counted(name: str, codec: Sequence[str], tmp_path: Path) -> None:
    path = render(tmp_path / name, codec=codec, seconds=1.2)
    request = Request(path, 0.0, 1.0, Fraction(25), 64, 0, 0.0, None, None, "bilinear", time.monotonic() + 60)
    decoding, report = Decoding.of(request), GridReport()
    for _ in decoding.frames(lambda _, shape: np.empty(shape, np.uint8), report):
        pass
    packets = decoding.listed.packets if decoding.listed else all_packets(path, decoding.container, 60)
    times = decoding.listed.line.times if decoding.listed else np.frombuffer(packets.times, np.int64)
    assert lost_frames(report, packets, times, decoding.cut, decoding.container) == 0
    for place in range(12, len(report.numbers)):
        report.numbers[place] -= 1  # as if the decoder had swallowed one before
    assert lost_frames(report, packets, times, decoding.cut, decoding.container) == 1
