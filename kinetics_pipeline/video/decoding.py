"""One attempt to decode a clip with ffmpeg, and the verdict on what came out."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.records import ENLARGED
from kinetics_pipeline.video.clock import runs_back
from kinetics_pipeline.video.container import BrokenVideo, Container, inspect, packets_end
from kinetics_pipeline.video.cut import MAX_GAP, Cut, Listed, list_cut, plan_cut
from kinetics_pipeline.video.ffmpeg import Message, Run, command, running, untrusted_input
from kinetics_pipeline.video.file_end import share_unread
from kinetics_pipeline.video.grid_report import GridReport, first_decodable, lost_frames
from kinetics_pipeline.video.joined_files import holds_more
from kinetics_pipeline.video.packets import Packets, copy_arguments
from kinetics_pipeline.video.rotation import rotation_changes
from kinetics_pipeline.video.shapes import SAME_SHAPE, shapes_of_frames, size_of_shape

MAX_ASPECT = 16
"""Long side over short side. A header that claims more is damage, or an attempt to fill the memory."""
THREADS = 1
"""Threads of ffmpeg's decoder, and of its scaler. The frames are the same for any number; clips are decoded in
parallel, and each additional thread costs a tenth."""

HEALTHY = (
    "co located POCs unavailable",  # H.264: B-frames before the first key frame
    "mmco: unref short failure",  # H.264: a frame let go twice
    "number of reference frames",  # H.264: more of them than the stream's level allows
    "SEI type",  # H.264: remarks of the encoder cut short
    "unable to decode APP fields",  # MJPEG: remarks of a camera
)
"""Errors that ffmpeg reports of files that every player shows without fault."""
BEFORE_A_KEY_PICTURE = (
    "non-existing PPS",
    "non-existing SPS",
    "PPS id out of range",
    "decode_slice_header error",
    "no frame!",
    "Could not find ref with POC",
    "Invalid frame dimensions 0x0",
    "Error submitting packet to decoder",
    "Error processing packet in decoder",
)
"""What ffmpeg reports of the pictures that come before the first one that stands for itself."""
DAMAGE = ("corrupt decoded frame", "concealing", "corrupt input packet")
"""Warnings that are damage."""
MARKED_PACKET = ("corrupt input packet", "corrupt decoded frame")
"""Those warnings that only repeat what a transport stream's counters say, which start again where files were joined.
There the packets are checked one by one (`clock`)."""

JOINED_OGG = "Header packet passed to frame decoder"
"""What ffmpeg says at the second piece of a chained Ogg file (RFC 3533, 4)."""

Room = Callable[[int, tuple[int, int, int]], NDArray[np.uint8]]
"""Gives memory [H, W, 3] for the frame of a number."""


class TooShort(Exception):
    """The file is sound, and holds less than half of the clip. The message is one line."""


class Complaint(Exception):
    """What speaks against the frames of one attempt; another one may be sound."""

    def __init__(self, reason: str, size: tuple[int, int] | None = None) -> None:
        super().__init__(reason)
        self.size = size
        """The width and height that the frames should have had, when that is what was wrong."""


@dataclass(frozen=True)
class Request:
    """What is asked of a file: the arguments of `read_clip`."""

    path: Path
    start: float | None
    end: float | None
    rate: Fraction
    short_side: int
    lookahead: int
    offset: float
    duration: float | None
    aspect: float | None
    interpolation: str
    deadline: float
    """The time at which decoding must have ended, by the clock of `time.monotonic`."""

    def left(self) -> float:
        """Seconds that are left. Raises TimeoutError when none is."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the clip's time is up")
        return left


@dataclass(frozen=True)
class Decoding:
    request: Request
    container: Container
    cut: Cut
    listed: Listed | None = None
    """The packets, where they were listed before: the file has no index, or its clock is not to be trusted."""
    from_the_beginning: bool = False
    size: tuple[int, int] | None = None
    """Width and height of the frames; None: those that the first picture calls for."""

    @staticmethod
    def of(request: Request, container: Container | None = None) -> Decoding:
        container = container or inspect(request.path, request.left())
        cut = plan_cut(container, request.start, request.end, request.rate, request.lookahead, request.offset)
        decoding = Decoding(request, container, cut)
        return decoding.after_listing() if container.has_clock_without_index else decoding

    def after_listing(self) -> Decoding:
        listed = list_cut(self.request.path, self.container, self.cut, self.request.left())
        return replace(self, cut=listed.cut, listed=listed)

    @property
    def seeks(self) -> bool:
        return not self.from_the_beginning and self.cut.seeks(self.container)

    def otherwise(self, complaint: Complaint) -> Decoding:
        """Another attempt. Raises BrokenVideo when there is none left that could do better."""
        if complaint.size is not None and self.size is None:
            return replace(self, size=complaint.size)
        if self.seeks:
            # Decoding from the middle makes some healthy files complain: what counts is what they say from the
            # beginning.
            return replace(self, from_the_beginning=True)
        if self.listed is None and str(complaint) == _CLOCK:
            return self.after_listing()
        raise BrokenVideo(str(complaint))

    def notes(self) -> list[str]:
        """A line for each choice that was made, and one for a picture smaller than was asked."""
        notes = []
        size = self.container.video.size
        if size is not None and min(size) < self.request.short_side:
            notes.append(f"{ENLARGED}{min(size)}")
        if self.container.videos > 1:
            notes.append(f"took video stream {self.container.video.index} of {self.container.videos}")
        if self.cut.clock.pieces > 1:
            notes.append(f"joined {self.cut.clock.pieces} pieces where the clock starts again")
        return notes

    def frames(self, room: Room, report: GridReport | None = None) -> Iterator[NDArray[np.uint8]]:
        """The frames, each in the memory that `room` gives; once all are out, the verdict on them. `report` is filled
        with which frames of the decoder they are.

        Raises Complaint, BrokenVideo, TooShort, TimeoutError, OSError.
        """
        count, report = 0, report or GridReport()
        packets = self.listed.packets if self.listed else Packets()
        if self.cut.most is None or self.cut.most > self.cut.lookahead:  # else the file begins after the clip
            reports: dict[str, Callable[[bytes], object]] = {"grid": report.take}
            if not self.listed:
                reports["packets"] = packets.take
            with running(self._arguments(), self.request.left(), reports) as run:
                for frame in read_ppm(run, room):
                    yield frame
                    count += 1
                    if count == self.cut.most:
                        run.stopped = True
                        break
            self._judge_messages(run)
            self.judge_shape(run, report, packets)
            self._judge_packets(report, packets)
            ended = self.cut.most is None or count < self.cut.most - self.cut.lookahead
            if ended and holds_more(self.request.path, self.container, run.log, packets):
                raise BrokenVideo("several videos joined in one file, of which only the first can be read")
            if ended:
                self._judge_end(packets)
        self._judge_length(count, self._lead(report))

    def _arguments(self) -> list[str]:
        line = command(self._graph(), "warning")
        grid = ["-stats_enc_pre", "pipe:grid", "-stats_enc_pre_fmt", "{ni} {ptsi} {tbi}"]
        line = [*line[:-1], *grid, line[-1]]
        if self.listed is None:
            until = None if self.cut.end is None else self.cut.end + MAX_GAP
            line += copy_arguments(self.container, "pipe:packets", until)
        return line

    def _graph(self) -> Any:
        # A graph made again where the picture changes its size would begin its grid again (`reinit_filter`): the scaler
        # follows the size by itself.
        options = {**self.cut.reading(self.container, seek=self.seeks), "reinit_filter": 0, "threads": THREADS}
        video = self.container.video
        frames = untrusted_input(self.request.path, **options)[str(video.index)]
        if video.interlaced:
            frames = frames.filter("bwdif", mode="send_frame", deint="interlaced")
        side, aspect = self.request.short_side, self.request.aspect
        shape = "iw*sar/ih" if aspect is None else f"{aspect:.6f}"
        tall = f"lt({shape},1)"
        width = f"if({tall},{side},min(round({side}*{shape}),{side * MAX_ASPECT + 1}))"
        height = f"if({tall},min(round({side}/({shape})),{side * MAX_ASPECT + 1}),{side})"
        if self.size:
            width, height = (str(pixels) for pixels in self.size)
        frames = (
            frames.filter("settb", "1/1000000")
            .filter("setpts", f"{self.cut.clock.expression()}-{self.cut.origin(self.container)}")
            .filter("fps", fps=str(self.cut.rate), start_time=0, round="up")
            .filter(
                "scale",
                w=width,
                h=height,
                flags=f"{self.request.interpolation}+accurate_rnd+full_chroma_int+bitexact",
            )
            .filter("setsar", "1")
        )
        if self._same_in_planes():
            frames = frames.filter("format", "gbrp")
        frames = frames.filter("format", "rgb24")
        limit = {} if self.cut.most is None else {"frames:v": self.cut.most}
        return frames.output(
            "-", format="image2pipe", vcodec="ppm", fps_mode="passthrough", filter_complex_threads=THREADS, **limit
        )

    def _same_in_planes(self) -> bool:
        """Whether the scaler makes the same colours when it writes them as planes, which are interleaved then: that
        takes vector instructions where packed colours take none, a third of all that reading a clip costs.

        It weights rows of YUV one way for planes, and for packed colours too, except where one or two rows make one
        (libswscale, `yuv2packed1`, `yuv2packed2`). From 1.1 rows for one on, each filter but `area` spans three or
        more.
        """
        size = self.container.video.size
        return size is not None and self.request.interpolation != "area" and min(size) >= 1.1 * self.request.short_side

    def _judge_messages(self, run: Run) -> None:
        if signal_name := run.crashed():
            raise Complaint(f"ffmpeg crashed on the file ({signal_name})")
        if any(JOINED_OGG in m.text for m in run.log):
            raise Complaint("several pieces joined in one Ogg file, of which only the first can be decoded")
        if complaint := next((m for m in run.log if self._is_damage(m)), None):
            raise Complaint(f"damaged ({complaint})")

    def _is_damage(self, message: Message) -> bool:
        if message.context.startswith(self.container.other_codecs):
            return False
        if message.level in ("error", "fatal", "panic"):
            healthy = (*HEALTHY, *BEFORE_A_KEY_PICTURE) if self._begins_midway() else HEALTHY
            return not any(h in message.text for h in healthy)
        if self.container.format == "mpegts" and any(m in message.text for m in MARKED_PACKET):
            return False
        return any(d in message.text for d in DAMAGE)

    def _begins_midway(self) -> bool:
        """Whether the first picture of a recording refers to others from before it began; players pass over it."""
        return self.listed is not None and len(self.listed.packets) > 0 and not self.listed.packets.key(0)

    def judge_shape(self, run: Run, report: GridReport, packets: Packets) -> None:
        """Looks at the shape of every picture once something says that it may change."""
        if rotation_changes(self.request.path, self.container):
            raise BrokenVideo("the shape of the picture changes: the camera is turned")
        changes = any("Changing video frame properties" in m.text for m in run.log)
        if not report.numbers or not (changes or len(packets.parameters) > 1):
            return
        options = self.cut.reading(self.container, seek=self.seeks)
        last = report.numbers[-1]
        shapes = shapes_of_frames(self.request.path, self.container, options, last, self.request.left())
        of_clip = shapes[report.numbers[0] :]
        if not len(of_clip):
            return
        sizes = [size_of_shape(float(s), self.request.short_side) for s in (of_clip.min(), of_clip.max())]
        if of_clip.max() > of_clip.min() * SAME_SHAPE:
            first, other = sizes if of_clip[0] <= of_clip.min() * SAME_SHAPE else reversed(sizes)
            raise BrokenVideo(f"the shape of the picture changes, from {first[0]}x{first[1]} to {other[0]}x{other[1]}")
        if (
            self.size is None
            and self.request.aspect is None
            and not 1 / SAME_SHAPE < of_clip[0] / shapes[0] < SAME_SHAPE
        ):
            raise Complaint("the shape of the picture changes before the clip", size=sizes[0])

    def _judge_packets(self, report: GridReport, packets: Packets) -> None:
        if self.listed is None and runs_back(packets):
            raise Complaint(_CLOCK)
        times = self.listed.line.times if self.listed else np.frombuffer(packets.times, np.int64)
        lost = lost_frames(report, packets, times, self.cut, self.container)
        if lost > 0:
            raise Complaint(f"{lost} of the clip's pictures cannot be decoded")

    def _lead(self, report: GridReport) -> float:
        """Seconds at the file's beginning whose pictures refer to others from before it."""
        if self.listed is None or not report.numbers or not self.cut.from_first_frame or not self._begins_midway():
            return 0.0
        order = np.sort(self.listed.line.times)
        return float(first_decodable(report, order) - order[0]) / 1e6

    def _judge_end(self, packets: Packets) -> None:
        """Raises BrokenVideo where the file goes on, or should, with more than `MAX_GAP` of pictures."""
        share = share_unread(self.request.path, self.container.format)
        times = self.listed.line.times if self.listed else np.frombuffer(packets.times, np.int64)
        if share and len(times) and share * float(np.ptp(times)) / 1e6 > MAX_GAP:
            raise BrokenVideo(f"the file's last {share / (1 + share):.0%} is missing or damaged")

    def _judge_length(self, got: int, lead: float) -> None:
        """Raises TooShort or BrokenVideo when `got` frames are too few, given what the container claims."""
        cut, request = self.cut, self.request
        clip_end = math.inf if cut.count is None else cut.start + float(cut.count / cut.rate)
        reached = cut.first + lead + float(got / cut.rate)
        claimed = self.container.end if request.duration is None else request.duration - request.offset
        if self.listed and (claimed is None or cut.clock.pieces > 1):
            last = self.listed.line.last / 1e6
            if reached < min(last, clip_end) - MAX_GAP:
                raise BrokenVideo(f"the pictures end at {reached:.2f} s, but those of the file at {last:.2f} s")
        elif claimed is not None and reached < min(claimed, clip_end) - MAX_GAP:
            if request.duration is None:
                reached = packets_end(request.path, request.left())  # the sound may be what lasts so long
            if reached < min(claimed, clip_end) - MAX_GAP:
                raise BrokenVideo(f"the file ends at {reached:.2f} s, but its container says {claimed:.2f} s")
        if got == 0 and cut.count is None:
            raise BrokenVideo("there are no frames in the file")
        if cut.count is not None and 2 * got < cut.count:
            begins = f", it begins at {self.container.video_start:.2f} s" if cut.missing else ""
            raise TooShort(f"the file holds {got} of {cut.count} frames{begins}")


_CLOCK = "its clock runs backwards"


def read_ppm(run: Run, room: Room) -> Iterator[NDArray[np.uint8]]:
    """The pictures of a stream of PPMs (netpbm's `P6`), a format that says its size, each in the memory that `room`
    gives. Raises BrokenVideo when they have an absurd size."""
    count = 0
    while run.stdout.readline() == b"P6\n":
        size = re.fullmatch(rb"(\d+) (\d+)\n", run.stdout.readline())
        if size is None or run.stdout.readline() != b"255\n":
            return  # cut off
        width, height = int(size[1]), int(size[2])
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise BrokenVideo(f"pictures more than {MAX_ASPECT} times as long as wide")
        frame = room(count, (height, width, 3))
        pixels = frame.reshape(-1)
        if run.stdout.readinto(memoryview(pixels)) != pixels.nbytes:  # type: ignore[attr-defined, arg-type]
            return
        yield frame
        count += 1
