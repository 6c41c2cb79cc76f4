"""A chunk of frames as one H.264 string, by PyAV: a key frame and frames that refer to earlier ones alone.

The string is Annex B of ITU-T H.264: one sequence and one picture parameter set, then one slice a frame. Frames of an
odd width or height are padded by their last column or row, and cropped again when decoded.

A string that is decoded may be anybody's. So it is read here first: it must be of just this form and say the size that
its row says, before libavcodec allocates anything; then that needs no more memory than the frames it may refer to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.shards.layouts.h264_headers import split_units, units_of_chunk

BT601 = 5
"""`av.video.reformatter.Colorspace.ITU601`: what JPEG uses."""
FULL_RANGE = 2
"""`av.video.reformatter.ColorRange.JPEG`: luma and chroma of 0 to 255, as in JPEG."""
PRESET = "veryfast"
_OPTIONS = (
    "keyint=infinite:scenecut=0:bframes=0:open-gop=0:threads=1:repeat-headers=1:annexb=1:aud=0:8x8dct=1:"
    "fullrange=on:colormatrix=smpte170m:mbtree=0"
)
"""mbtree: with it one encoding of some hundred differed from the others of the same frames."""
_SEI = 6
"""The type of units that a decoder does not need: x264 says there how it was called, in 600 bytes."""


def encode(frames: NDArray[np.uint8], crf: int, fps: float) -> bytes:
    """uint8 [n, H, W, 3] as one string. The same frames give the same bytes by one `encoder`, on one family of
    processors."""
    import av
    from av.video.reformatter import Interpolation, VideoReformatter

    _, height, width, _ = frames.shape
    padded = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge")
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    context.framerate = Fraction(fps).limit_denominator(1001)
    context.time_base, context.thread_count = 1 / context.framerate, 1
    context.options = {"preset": PRESET, "tune": "fastdecode", "crf": str(crf), "x264-params": _OPTIONS}
    exact = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.BITEXACT
    colours, packets = VideoReformatter(), []
    for number, frame in enumerate(padded):
        picture = colours.reformat(
            av.VideoFrame.from_ndarray(frame, "rgb24"),
            format="yuv420p",
            dst_colorspace=BT601,
            src_color_range=FULL_RANGE,
            dst_color_range=FULL_RANGE,
            interpolation=exact,
            threads=1,
        )
        picture.pts, picture.time_base = number, context.time_base
        packets += context.encode(picture)
    packets += context.encode(None)
    units = [unit for packet in packets for unit in split_units(bytes(packet))]
    return b"".join(b"\0\0\0\1" + unit for unit in units if unit[0] & 31 != _SEI)


def decode(
    data: NDArray[np.uint8], size: tuple[int, int, int], numbers: Sequence[int], rows: slice, columns: slice
) -> Iterator[NDArray[np.uint8]]:
    """The crops of the frames `numbers`, which increase, of a string of [n, H, W]: uint8 [h, w, 3] each.

    Raises ValueError for a string that is not of this form, not of this size, or broken.
    """
    import av

    count, height, width = size
    first, *others = units_of_chunk(data.tobytes(), count, height, width)
    wanted, crops = set(numbers), None
    context = av.CodecContext.create("h264", "r")
    context.thread_count = 1
    context.options = {"err_detect": "explode", "flags": "+low_delay", "max_pixels": str((width + 128) * (height + 16))}
    try:
        for number, unit in enumerate([first, *others][: numbers[-1] + 1]):
            frames = context.decode(av.Packet(unit))
            if len(frames) != 1:
                raise ValueError(f"{len(frames)} frames in the place of frame {number}")
            if number in wanted:
                crops = crops or _Crops(rows, columns, height, width)
                yield crops.of(frames[0])
    except av.FFmpegError as error:
        raise ValueError(f"H.264 that cannot be decoded: {error.strerror or type(error).__name__}") from None


class _Crops:
    """Crops of decoded frames in RGB: only the crop is converted, which takes half as long as all of a frame."""

    def __init__(self, rows: slice, columns: slice, height: int, width: int) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        self._size = (width + width % 2, height + height % 2)
        self._colours = VideoReformatter()
        top, left = rows.start & ~1, columns.start & ~1  # a chroma value is of two rows and two columns
        self._top, self._left = top, left
        self._height, self._width = (rows.stop - top + 1) & ~1, (columns.stop - left + 1) & ~1
        self._rows = slice(rows.start - top, rows.stop - top)
        self._columns = slice(columns.start - left, columns.stop - left)
        self._part = av.VideoFrame(self._width, self._height, "yuv420p")
        self._planes = [_plane(plane) for plane in self._part.planes]

    def of(self, frame: Any) -> NDArray[np.uint8]:
        if (frame.width, frame.height) != self._size or frame.format.name not in ("yuv420p", "yuvj420p"):
            raise ValueError(f"a frame of {frame.width}x{frame.height}, {frame.format.name}")
        for number, (mine, plane) in enumerate(zip(self._planes, frame.planes, strict=True)):
            shift = int(number > 0)
            top, left = self._top >> shift, self._left >> shift
            height, width = self._height >> shift, self._width >> shift
            mine[:height, :width] = _plane(plane)[top : top + height, left : left + width]
        picture = self._colours.reformat(
            self._part,
            format="rgb24",
            src_colorspace=BT601,
            src_color_range=FULL_RANGE,
            dst_color_range=FULL_RANGE,
            threads=1,
        )
        values = _plane(picture.planes[0])[: self._height, : 3 * self._width]
        return values.reshape(self._height, self._width, 3)[self._rows, self._columns]


def _plane(plane: Any) -> NDArray[np.uint8]:
    return np.frombuffer(plane, np.uint8)[: plane.line_size * plane.height].reshape(plane.height, plane.line_size)
