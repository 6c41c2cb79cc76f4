"""MosaicML Streaming (MDS) and WebDataset, by their own libraries, each as lean as its format allows.

Neither keeps frames that are not asked for apart: what is read of a clip is all of it. RGB, flow and both are datasets
of their own, so that nobody reads a stream that is not wanted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch.utils.data import Dataset as TorchDataset

from kinetics_pipeline.loading.options import Stream
from kinetics_pipeline.workflows.benchmarks.loader_formats import (
    RGB_ONLY,
    STREAMS,
    Format,
    Images,
    JpegSamples,
    VideoSamples,
    clip_images,
)

_UNUSED = {
    "torchvision.datasets": "VisionDataset",
    "torchvision.transforms.functional": "to_tensor",
    "transformers.models.auto.tokenization_auto": "AutoTokenizer",
    "transformers.feature_extraction_utils": "BatchFeature",
    "transformers.tokenization_utils_base": "BatchEncoding",
}
"""What `import streaming` wants for its pictures and texts, which are not measured; gigabytes where it lacks."""


def _streaming() -> Any:
    for module, name in _UNUSED.items():
        try:
            import_module(module)
        except (ImportError, OSError, RuntimeError):  # or it is there for another torch
            _stand_in(module, name)
    return import_module("streaming")


def _stand_in(module: str, name: str) -> None:
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:length]), ModuleType(parts[length - 1])).__path__ = []
    setattr(sys.modules[module], name, type(name, (), {}))


def _webdataset() -> Any:
    return import_module("webdataset")


def _write_mds(clips: Path, folder: Path, stream: Stream) -> None:
    columns = {"clip_id": "str"}
    for name in STREAMS[stream]:
        columns |= {name: "bytes", f"{name}_ends": "ndarray:int64"}
    with _streaming().MDSWriter(out=str(folder), columns=columns, size_limit=1 << 28) as writer:
        for clip_id, images in clip_images(clips):
            sample: dict[str, Any] = {"clip_id": clip_id}
            for name in STREAMS[stream]:
                sample |= {name: b"".join(images[name]), f"{name}_ends": np.cumsum([len(i) for i in images[name]])}
            writer.write(sample)


def _mds(clips: Path, folder: Path, stream: Stream) -> TorchDataset[dict[str, Any]]:
    held = _streaming().StreamingDataset(local=str(folder), shuffle=False, batch_size=1)

    def read(number: int) -> tuple[str, Images]:
        sample = held[number]
        images = {}
        for name in STREAMS[stream]:
            data, ends = memoryview(sample[name]), [0, *sample[f"{name}_ends"].tolist()]
            images[name] = [data[begin:end] for begin, end in pairwise(ends)]
        return sample["clip_id"], images

    return JpegSamples(stream, read)


def _write_tar(clips: Path, folder: Path, stream: Stream) -> None:
    folder.mkdir(parents=True)
    with _webdataset().TarWriter(str(folder / "clips.tar")) as writer:
        for clip_id, images in clip_images(clips):
            sample: dict[str, Any] = {"__key__": clip_id}
            for name in STREAMS[stream]:
                sample |= {f"{name}{number:05d}.jpg": image for number, image in enumerate(images[name])}
            writer.write(sample)


def _write_mp4_tar(clips: Path, folder: Path, stream: Stream) -> None:
    folder.mkdir(parents=True)
    with _webdataset().TarWriter(str(folder / "clips.tar")) as writer:
        for file in sorted((clips / "mp4").iterdir()):
            writer.write({"__key__": file.stem, "mp4": file.read_bytes()})


class _InTurn:
    """A tar's samples one after the other, again and again: it has no index, and does not heed the number asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._samples: Iterator[dict[str, Any]] | None = None

    def next(self) -> dict[str, Any]:
        if self._samples is None:  # in the process that reads
            tar = str(self._folder / "clips.tar")
            whole = _webdataset().WebDataset(tar, shardshuffle=False, workersplitter=None, nodesplitter=None)
            self._samples = iter(whole.repeat())
        return next(self._samples)


def _tar(clips: Path, folder: Path, stream: Stream) -> TorchDataset[dict[str, Any]]:
    turn = _InTurn(folder)

    def read(number: int) -> tuple[str, Images]:
        sample = turn.next()
        names = sorted(sample)
        return sample["__key__"], {s: [sample[k] for k in names if k.startswith(s)] for s in STREAMS[stream]}

    return JpegSamples(stream, read)


def _mp4_tar(clips: Path, folder: Path, stream: Stream) -> TorchDataset[dict[str, Any]]:
    turn = _InTurn(folder)

    def read(number: int) -> tuple[str, bytes]:
        sample = turn.next()
        return sample["__key__"], sample["mp4"]

    return VideoSamples(read)


PEERS = {
    "MDS, JPEG": Format(_write_mds, _mds, library=_streaming, package="mosaicml-streaming"),
    "WebDataset, JPEG": Format(_write_tar, _tar, library=_webdataset, package="webdataset"),
    "WebDataset, mp4": Format(_write_mp4_tar, _mp4_tar, RGB_ONLY, _webdataset, "webdataset av"),
}
