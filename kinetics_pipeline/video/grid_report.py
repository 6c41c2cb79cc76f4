"""Whether every picture that the container names reached the grid: the decoder's count against the packets'.

With each frame of the grid ffmpeg reports which frame of the decoder it was (`-stats_enc_pre`). Between two frames of
the grid the decoder must have counted as many as there are packets; fewer, and pictures were lost without a message.
"""

from __future__ import annotations

from array import array
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.video.container import Container
from kinetics_pipeline.video.cut import TOLERANCE, Cut
from kinetics_pipeline.video.packets import MICROSECONDS, Packets

ONE_PICTURE_A_PACKET = (
    *("h264", "hevc", "vvc", "av1", "vp9", "mpeg1video", "mpeg2video"),
    *("mjpeg", "prores", "dnxhd", "dvvideo", "ffv1", "gif", "png", "apng", "jpeg2000", "qtrle", "cinepak"),
    *("huffyuv", "ffvhuff", "utvideo", "rawvideo", "flv1", "h263", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2"),
)
"""Codecs whose every packet becomes a picture."""
EXCEPT_SMALL_PACKETS = ("mpeg4", "theora")
"""Codecs whose packets of a few bytes may show no picture: MPEG-4 skips one, or sends it with the one before.

Of all others (VP8 has hidden references, RealVideo parts of pictures) nothing outside of the decoder says how many
pictures there are: what cannot be decoded there is known by the decoder's messages alone."""
IN_FIELDS = ("h264", "hevc", "vvc")
"""Codecs that may send the two fields of an interlaced picture as two packets."""


class GridReport:
    """Tells for each frame of the grid which frame of the decoder it is, from 0 on."""

    def __init__(self) -> None:
        self.numbers = array("q")
        self.first_stamp: int | None = None
        """The time stamp of the first one, microseconds."""

    def take(self, line: bytes) -> None:
        """One line: number, time stamp, time base."""
        try:
            number, stamp, base = line.split()
            if self.first_stamp is None:
                self.first_stamp = round(int(stamp) * Fraction(base.decode()) * MICROSECONDS)
            self.numbers.append(int(number))
        except ValueError:  # a line cut off, because ffmpeg was stopped
            return


def first_decodable(report: GridReport, order: NDArray[np.int64]) -> int:
    """When the first picture is shown that can be decoded, microseconds: those before it refer to one that the file
    does not hold. `order`: the sorted times of the packets, not empty."""
    undecodable = int(np.searchsorted(order, report.first_stamp or 0)) - report.numbers[0]
    return int(order[min(max(0, undecodable), len(order) - 1)])


def lost_frames(report: GridReport, packets: Packets, times: NDArray[np.int64], cut: Cut, container: Container) -> int:
    """How many pictures within the cut have a packet but came out of no decoder; 0 where that cannot be told.

    `times`: of each packet, when it is shown, microseconds.
    """
    video = container.video
    counted = video.codec in ONE_PICTURE_A_PACKET or video.codec in EXCEPT_SMALL_PACKETS
    if not counted or (video.interlaced and video.codec in IN_FIELDS) or not report.numbers:
        return 0
    if packets.without_time and not container.has_clock_without_index:
        return 0  # AVI tells the order of decoding only
    pictures = packets.shown()
    if video.codec in EXCEPT_SMALL_PACKETS:
        pictures &= ~packets.small()
    order = np.sort(times[pictures])
    if not len(order) or report.first_stamp is None:
        return 0
    origin = round((cut.first + TOLERANCE) * MICROSECONDS)
    if cut.from_first_frame:
        origin = first_decodable(report, order) + round((cut.first - container.video_start + TOLERANCE) * MICROSECONDS)
    numbers = np.frombuffer(report.numbers, np.int64)
    slots = np.arange(len(numbers)) * MICROSECONDS * cut.rate.denominator // cut.rate.numerator
    passed = np.searchsorted(order, origin + slots, side="right")
    behind = (numbers - passed)[passed > 0]
    return int(behind[0] - behind[-1]) if len(behind) else 0
