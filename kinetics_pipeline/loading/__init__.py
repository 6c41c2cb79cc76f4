"""The clips of a dataset for torch: samples, their order, and what is done to a batch on the device."""

from kinetics_pipeline.loading.batches import collate
from kinetics_pipeline.loading.clip_dataset import ClipDataset
from kinetics_pipeline.loading.clip_sampler import ClipSampler
from kinetics_pipeline.loading.shard_reader import DamagedShard
from kinetics_pipeline.loading.torchvision_kinetics import Kinetics
from kinetics_pipeline.loading.transforms import mirror, normalise, to_device

__all__ = ["ClipDataset", "ClipSampler", "DamagedShard", "Kinetics", "collate", "mirror", "normalise", "to_device"]
