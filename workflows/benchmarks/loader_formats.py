"""What is compared: datasets of the same clips in several formats, each read by the library that people read it with.

A format writes its files from the clips' own JPEGs or mp4s, and opens them as a map-style dataset: sample `EpochIndex`
k is the snippet and crop that `ClipDataset` takes of clip k, uint8 [3, 64, 224, 224] (flow [2, ...]). Formats made of
JPEGs use the same decoder, libjpeg-turbo, on the 64 frames of the snippet alone. The peers' are decoded whole and then
cropped, as code written for them does; `ClipDataset` decodes down to the crop's last row.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import simplejpeg
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset

from kinetics_pipeline.loading import ClipDataset, collate
from kinetics_pipeline.loading.clip_dataset import EpochIndex
from kinetics_pipeline.loading.decoding import StoredStream
from kinetics_pipeline.loading.options import Stream
from kinetics_pipeline.loading.snippets import Snippet, random_snippet
from kinetics_pipeline.shards import codec

SNIPPET, CROP = 64, 224
Images = Mapping[StoredStream, list[Any]]
"""Buffers of JPEGs."""
STREAMS: dict[Stream, tuple[StoredStream, ...]] = {"rgb": ("rgb",), "flow": ("flow",), "both": ("rgb", "flow")}
RGB_ONLY: tuple[Stream, ...] = ("rgb",)


@dataclass(frozen=True)
class Format:
    write: Callable[[Path, Path, Stream], None]
    """(folder of the clips, new folder, what samples will need)."""
    samples: Callable[[Path, Path, Stream], TorchDataset[dict[str, Any]]]
    streams: tuple[Stream, ...] = ("rgb", "flow", "both")
    library: Callable[[], Any] = lambda: None
    """Imports what it needs."""
    package: str = ""
    collate: Callable[[Sequence[dict[str, Any]]], dict[str, Any]] | None = None

    def missing(self) -> str | None:
        """A line that says what must be installed for it."""
        try:
            self.library()
        except ImportError as error:
            return f"not installed ({error}): pip install {self.package}"
        return None


def clip_images(clips: Path) -> Iterator[tuple[str, dict[StoredStream, list[bytes]]]]:
    """Every clip and its JPEGs, from the shards."""
    for file in sorted((clips / "parquet" / "shards").glob("*.parquet")):
        table = pq.read_table(file, columns=["clip_id", "rgb", "flow"])
        for name in table["clip_id"].unique().to_pylist():
            rows = table.filter(np.asarray(table["clip_id"]) == name)
            yield name, {s: [image for row in rows[s].to_pylist() for image in row] for s in ("rgb", "flow")}


class Decoded(TorchDataset[dict[str, Any]]):
    """Samples of clips that `read` gives by their number, each a name and what it holds; `shape` is [T, H, W]."""

    def __init__(
        self, stream: Stream, read: Callable[[int], tuple[str, Any]], shape: Callable[[Any], tuple[int, int, int]]
    ):
        self._streams, self._read, self._shape = STREAMS[stream], read, shape

    def __getitem__(self, index: int) -> dict[str, Any]:
        name, held = self._read(int(index))
        assert isinstance(index, EpochIndex)
        snippet = random_snippet((0, index.epoch, name), *self._shape(held), SNIPPET, 1, CROP)
        sample: dict[str, Any] = {"clip_id": name}
        for stream in self._streams:
            key = "flow" if stream == "flow" and len(self._streams) > 1 else "video"
            sample[key] = torch.from_numpy(self._values(held, stream, snippet))
        return sample

    def _values(self, held: Any, stream: StoredStream, snippet: Snippet) -> NDArray[np.uint8]:
        """uint8 [C, T, H, W]; RGB with the channels innermost, as it is decoded."""
        raise NotImplementedError


class JpegSamples(Decoded):
    """Samples of clips that are stored as `Images`."""

    def __init__(self, stream: Stream, read: Callable[[int], tuple[str, Images]]) -> None:
        super().__init__(stream, read, self._size)

    def _size(self, images: Images) -> tuple[int, int, int]:
        stream = self._streams[0]
        height, width, *_ = simplejpeg.decode_jpeg_header(images[stream][0])
        return len(images[stream]), height // (1 if stream == "rgb" else 2), width

    def _values(self, held: Images, stream: StoredStream, snippet: Snippet) -> NDArray[np.uint8]:
        if stream == "rgb":
            values = np.empty((SNIPPET, CROP, CROP, 3), np.uint8).transpose(3, 0, 1, 2)
        else:
            values = np.empty((2, SNIPPET, CROP, CROP), np.uint8)
        _, *size = self._size(held)
        whole = np.empty([*size, 3] if stream == "rgb" else [2, *size], np.uint8)
        decode, channels = (codec.decode_rgb, -1) if stream == "rgb" else (codec.decode_flow, -3)
        rows, columns = (slice(begin, begin + CROP) for begin in (snippet.top, snippet.left))
        crop = np.moveaxis(whole, channels, 0)[..., rows, columns]
        for time, number in enumerate(snippet.frames.tolist()):
            decode(held[stream][number], whole)
            values[:, time] = crop
        return values


class VideoSamples(Decoded):
    """Samples of clips that are mp4s (paths or bytes), decoded by PyAV from the key frame before the snippet."""

    def __init__(self, read: Callable[[int], tuple[str, Path | bytes]]) -> None:
        super().__init__("rgb", read, self._size)

    def _size(self, video: Path | bytes) -> tuple[int, int, int]:
        with _opened(video) as container:
            stream = container.streams.video[0]
            return stream.frames, stream.height, stream.width

    def _values(self, held: Path | bytes, stream: StoredStream, snippet: Snippet) -> NDArray[np.uint8]:
        values = np.empty((SNIPPET, CROP, CROP, 3), np.uint8)
        rows, columns = (slice(begin, begin + CROP) for begin in (snippet.top, snippet.left))
        first, last = int(snippet.frames[0]), int(snippet.frames[-1])
        with _opened(held) as container:
            video = container.streams.video[0]
            video.codec_context.thread_count = 1
            step = 1 / (video.average_rate * video.time_base)
            container.seek(int(first * step), stream=video)
            for frame in container.decode(video):
                number = round(frame.pts / step)
                if number >= first:
                    values[number - first] = frame.to_ndarray(format="rgb24")[rows, columns]
                if number == last:
                    break
        return values.transpose(3, 0, 1, 2)


def _opened(video: Path | bytes) -> Any:
    import av

    return av.open(io.BytesIO(video) if isinstance(video, bytes) else str(video))


def _shards(layout: str) -> Callable[[Path, Path, Stream], TorchDataset[dict[str, Any]]]:
    def samples(clips: Path, folder: Path, stream: Stream) -> ClipDataset:
        return ClipDataset(clips / layout, stream=stream, frames=SNIPPET, crop=CROP, raw=True)

    return samples


def _videos(clips: Path, folder: Path, stream: Stream) -> TorchDataset[dict[str, Any]]:
    files = sorted((clips / "mp4").iterdir())
    return VideoSamples(lambda number: (files[number].stem, files[number]))


def _nothing(clips: Path, folder: Path, stream: Stream) -> None:
    """Writes nothing: the dataset exists already."""


OURS = {
    "parquet": Format(_nothing, _shards("parquet"), collate=collate),
    "array": Format(_nothing, _shards("array"), collate=collate),
    "mp4 files, PyAV": Format(_nothing, _videos, RGB_ONLY, lambda: import_module("av"), "av"),
}
