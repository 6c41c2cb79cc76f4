"""The clips of a dataset, as torch samples for training or as rows of numpy arrays.

In: a dataset's path or URI. Out: batches, of which only the chunks and streams needed are read. `index` finds the clips
that are committed, `selection` chooses among them, `snippets` says which frames and crop a sample takes, `clip_frames`
reads them by way of `shard_reader` and `decoding`, `clip_sampler` gives the order, `batches` puts samples together and
`transforms` finishes a batch on the device. Begin reading with `clip_dataset`; `rows` is the reader without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kinetics_pipeline.loading.rows import read_rows
from kinetics_pipeline.loading.shard_reader import DamagedShard

if TYPE_CHECKING:
    from kinetics_pipeline.loading.batches import collate
    from kinetics_pipeline.loading.clip_dataset import ClipDataset
    from kinetics_pipeline.loading.clip_sampler import ClipSampler
    from kinetics_pipeline.loading.torchvision_kinetics import Kinetics
    from kinetics_pipeline.loading.transforms import mirror, normalise, to_device
    from kinetics_pipeline.loading.views import Views

__all__ = [
    "ClipDataset",
    "ClipSampler",
    "DamagedShard",
    "Kinetics",
    "Views",
    "collate",
    "mirror",
    "normalise",
    "read_rows",
    "to_device",
]
_WITH_TORCH = {
    "ClipDataset": "clip_dataset",
    "ClipSampler": "clip_sampler",
    "Kinetics": "torchvision_kinetics",
    "Views": "views",
    "collate": "batches",
    "mirror": "transforms",
    "normalise": "transforms",
    "to_device": "transforms",
}
"""The module of each name that needs torch: it is imported when the name is first used, so that rows and the index are
read without torch."""


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_WITH_TORCH[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        problem = f"{__name__}.{name} needs PyTorch: pip install 'kinetics-pipeline[torch]'"
        raise ModuleNotFoundError(problem, name="torch") from None
