"""Checkpoints of other projects as they are published, with random weights: names and shapes are theirs.

Each kind is a function that writes a file and returns what is given to `load_checkpoint`. Names of layers are those of
the projects' own source; only the first blocks of networks that are refused are made.
"""

from __future__ import annotations

import functools
import gzip
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kinetics_pipeline.models import build_model
from kinetics_pipeline.models.weights.names import googlenet_unit, hassony_unit, mmaction_unit, units

CLASSES = 5


@functools.cache
def i3d(classes: int = CLASSES, channels: int = 3) -> dict[str, Tensor]:
    """The public port's state dict."""
    return state_of("i3d", num_classes=classes, in_channels=channels)


def state_of(network: str, **config: Any) -> dict[str, Tensor]:
    """The state dict of a network here; every tensor has one value, of its own, which is stored once."""
    with torch.device("meta"):
        state = build_model(network, **config).state_dict()
    numbered = enumerate(state.items())
    return {name: torch.tensor(number / 512).to(like.dtype).expand(like.shape) for number, (name, like) in numbered}


def hassony2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        unit, kind, part = name.rsplit(".", 2)
        renamed[f"{hassony_unit(unit)}.{'batch3d' if kind == 'bn' else kind}.{part}"] = tensor
    return renamed


def mmaction(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        unit, kind, part = name.rsplit(".", 2)
        if unit == "logits":
            renamed[f"cls_head.fc_cls.{part}"] = tensor.flatten(1) if tensor.ndim == 5 else tensor
        else:
            renamed[f"backbone.{mmaction_unit(unit)}{'_bn' if kind == 'bn' else ''}.{part}"] = tensor
    return renamed


def googlenet(classes: int = 1000) -> dict[str, Tensor]:
    """torchvision's: the trunk, the classifier, and a part of each auxiliary head."""
    flat = state_of("inception2d", num_classes=classes)
    found = {f"fc.{part}": flat[f"logits.{part}"] for part in ("weight", "bias")}
    found |= {f"aux{number}.conv.conv.weight": torch.zeros(128, 512, 1, 1) for number in (1, 2)}
    for unit in units():
        ours, theirs = f"trunk.{unit.replace('Conv3d', 'Conv2d')}", googlenet_unit(unit)
        found[f"{theirs}.conv.weight"] = flat[f"{ours}.conv2d.weight"]
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            found[f"{theirs}.bn.{part}"] = flat[f"{ours}.bn.{part}"]
    return found


def under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def tensors(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    """Zeros by name, with `__` for a dot."""
    return {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}


RESNET = {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1, 1), "fc.weight": torch.zeros(4, 8)}

UNKNOWN_NETWORKS: dict[str, tuple[dict[str, Tensor], str]] = {
    "SlowFast repository, I3D": (
        tensors(s1__pathway0_stem__conv__weight=(64, 3, 5, 7, 7), s2__pathway0_res0__branch1__weight=(8, 8, 1, 1, 1)),
        "ResNet-50 I3D .* of the SlowFast repository",
    ),
    "SlowFast repository, SlowFast": (
        tensors(s1__pathway0_stem__conv__weight=(64, 3, 1, 7, 7), s1__pathway1_stem__conv__weight=(8, 3, 5, 7, 7)),
        "it is SlowFast",
    ),
    "pytorchvideo, I3D": (
        tensors(blocks__0__conv__weight=(64, 3, 5, 7, 7), blocks__1__res_blocks__0__branch2__conv_a__weight=(8, 8)),
        "ResNet-50 I3D .* of pytorchvideo",
    ),
    "mmaction2, I3D": (
        tensors(backbone__conv1__conv__weight=(64, 3, 5, 7, 7), backbone__layer1__0__conv1__conv__weight=(8, 8))
        | tensors(cls_head__fc_cls__weight=(400, 2048)),
        "ResNet-50 I3D .* of mmaction2",
    ),
    "mmaction2, TSN": (
        tensors(backbone__conv1__conv__weight=(64, 3, 7, 7), backbone__layer1__0__conv1__conv__weight=(8, 8)),
        "2D ResNet .* of mmaction2",
    ),
    "GluonCV (torch), I3D": (
        tensors(conv1__weight=(64, 3, 5, 7, 7), res_layers__0__0__conv1__weight=(8, 8)),
        "ResNet-50 I3D of GluonCV",
    ),
    "Tushar-N, I3D": ({"conv1.weight": torch.zeros(64, 3, 5, 7, 7)} | RESNET, "ResNet-50 I3D, as Tushar-N"),
    "3D-ResNets": ({"conv1.weight": torch.zeros(64, 3, 7, 7, 7)} | RESNET, "it is a 3D ResNet"),
    "torchvision r3d_18": (
        tensors(stem__0__weight=(64, 3, 3, 7, 7), layer1__0__conv1__0__weight=(64, 64, 3, 3, 3)),
        "torchvision's 3D ResNet",
    ),
    "C3D sports1m": (
        tensors(conv1__weight=(64, 3, 3, 3, 3), conv1__bias=(64,), conv3a__weight=(256, 128, 3, 3, 3)),
        "C3D of Sports-1M.*--model c3d",
    ),
    "BNInception": (
        tensors(conv1_7x7_s2__weight=(64, 3, 7, 7), inception_3a_1x1__weight=(64, 192, 1, 1)),
        "BNInception, the Inception-V2 of TSN.*GoogLeNet",
    ),
    "Inception-V3": (tensors(Conv2d_1a_3x3__conv__weight=(32, 3, 3, 3), fc__bias=(4,)), "Inception-V3"),
    "S3D": (tensors(base__0__conv_s__weight=(64, 3, 1, 7, 7), base__0__bn_s__weight=(64,)), "it is S3D"),
    "VideoMAE": (tensors(encoder__blocks__0__attn__qkv__weight=(8, 8), encoder__norm__bias=(8,)), "a transformer"),
    "ResNet-50": (
        {"conv1.weight": torch.zeros(64, 3, 7, 7), "layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)},
        "a 2D ResNet",
    ),
    "mmaction2, R(2+1)D": (
        tensors(
            backbone__conv1__conv__conv_s__weight=(45, 3, 1, 7, 7),
            backbone__layer1__0__conv1__conv__conv_s__weight=(8,),
        ),
        r"it is R\(2\+1\)D or CSN of mmaction2",
    ),
    "mmaction2, TimeSformer": (
        tensors(backbone__cls_token=(1, 1, 8), backbone__transformer_layers__layers__0__attentions__0__attn__x=(8, 8)),
        "a transformer",
    ),
    "torchvision, Swin3D": (
        tensors(patch_embed__proj__weight=(96, 3, 2, 4, 4), features__0__0__attn__qkv__weight=(2, 2)),
        "a transformer",
    ),
    "TSM": (
        tensors(base_model__conv1__weight=(64, 3, 7, 7), base_model__layer1__0__conv1__net__weight=(64, 64, 1, 1)),
        "a 2D ResNet of TSN or TSM",
    ),
    "a network of one's own": (tensors(stem__weight=(3, 3), head__bias=(3,)), "unknown here, whose first tensor is"),
}
"""Name -> (state dict, what the refusal says)."""


def write_html(path: Path) -> None:
    path.write_text("\n<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head></html>")


def write_lfs(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 50879394\n")


def write_torchscript(path: Path) -> None:
    torch.jit.script(nn.Conv3d(3, 4, 1)).save(str(path))


def write_caffe2(path: Path) -> None:
    blobs = {"conv1_w": np.zeros((4, 3, 5, 7, 7), np.float32), "res2_0_branch2a_w": np.zeros(3, np.float32)}
    path.write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))


def write_tar(path: Path) -> None:
    (inner := path.with_suffix(".inner")).write_bytes(b"x" * 100)
    with tarfile.open(path, "w") as archive:
        archive.add(inner, "model.ckpt.index")


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rgb_imagenet.pt", b"x" * 100)


def write_objects(path: Path) -> None:
    torch.save({"state_dict": i3d(), "best": np.float64(3)}, path)


def _bytes(start: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(start + bytes(600)) and None


OTHER_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a web page": (write_html, "a web page.*browser"),
    "an LFS pointer": (write_lfs, "Git LFS pointer.*git lfs pull"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x" * 99)), "compressed with gzip; unpack"),
    "xz": (_bytes(b"\xfd7zXZ\0"), "compressed with xz"),
    "tar": (write_tar, "a tar archive; unpack"),
    "zip of a checkpoint": (write_zip, "a zip archive with checkpoints in it; unpack"),
    "TorchScript": (write_torchscript, "a TorchScript program.*state_dict"),
    "caffe2 (SlowFast's pkl)": (write_caffe2, "a ResNet of caffe2"),
    "MXNet (GluonCV)": (_bytes(b"\x12\x01\0\0\0\0\0\0"), "an MXNet parameter file"),
    "Keras": (_bytes(b"\x89HDF\r\n\x1a\n"), "an HDF5 file, as Keras"),
    "ONNX": (_bytes(b"\x08\x07\x12\x07pytorch"), "an ONNX model"),
    "ONNX of TensorFlow": (_bytes(b"\x08\x07\x12\x07tf2onnx"), "an ONNX model"),
    "a pickle of arrays": (
        lambda path: path.write_bytes(pickle.dumps({"conv1_w": np.zeros(3)})),
        "a pickle that torch did not write",
    ),
    "a pickle of I3D's arrays": (
        lambda path: path.write_bytes(pickle.dumps({name: np.zeros(9_000) for name in list(i3d())[:9]})),
        "a pickle that torch did not write",
    ),
    "a pickle that runs a command": (
        lambda path: path.write_bytes(b"\x80\x04cposix\nsystem\n(S'touch pwned'\ntR."),
        "a pickle that torch did not write, and could run code",
    ),
    "a JSON index": (lambda path: path.write_text(json.dumps({"weight_map": {}})), "a JSON document"),
    "a NumPy array": (lambda path: np.save(path.open("wb"), np.zeros(3)), "a NumPy array"),
    "NumPy arrays": (lambda path: np.savez(path.open("wb"), a=np.zeros(3)), "an archive of NumPy arrays"),
    "a video": (_bytes(b"\0\0\0\x20ftypisom"), "a video"),
    "TensorFlow's list of checkpoints": (
        lambda path: path.write_text('model_checkpoint_path: "model.ckpt"\n'),
        "TensorFlow checkpoint's folder.*prefix",
    ),
    "an optimiser alone": (
        lambda path: torch.save({"optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "epoch": 3}, path),
        "state of an optimiser without weights",
    ),
    "Adam's state alone": (
        lambda path: torch.save({"state": {0: {"exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}}}, path),
        "state of an optimiser without weights",
    ),
    "objects beside the tensors": (write_objects, r"could run code, so it is not read.*state_dict"),
}
"""Name -> (what writes it, what the refusal says)."""


def readable() -> dict[str, tuple[Any, str]]:
    """Name -> (what torch.save is given, what `load_checkpoint` says it is), of weights of RGB I3D."""
    state = i3d()
    other = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(3), "x": torch.ones(2)}}, "param_groups": []}
    found: dict[str, tuple[Any, str]] = {
        "port": (state, "port"),
        "hassony2": (hassony2(state), "hassony2"),
        "mmaction 0.x": ({"meta": {"epoch": 3}, "state_dict": mmaction(state), "optimizer": optimizer}, "mmaction"),
        "mmaction 0.x, DDP": (under("module.", mmaction(state)), "mmaction"),
        "hassony2, Lightning": ({"state_dict": under("model.", hassony2(state)), "epoch": 3}, "hassony2"),
    }
    for prefix in ("model.", "net.", "module.model.", "module.module.", "_orig_mod.", "backbone.", "model._orig_mod."):
        found[f"prefix {prefix}"] = ({"state_dict": under(prefix, state)}, "port")
    for key in ("net", "ema", "model_ema", "model_state", "network", "generator"):
        found[f"{{{key}}}"] = ({key: state, "epoch": 3}, "port")
    found |= {
        "AveragedModel": (under("module.", state) | {"n_averaged": torch.tensor(7)}, "port"),
        "{state_dict, state_dict_ema}": ({"state_dict_ema": other, "state_dict": state}, "port"),
        "{model, optimizer}": ({"optimizer": optimizer, "model": state, "lr_scheduler": {"a": torch.ones(2)}}, "port"),
        "{checkpoint: {model: ...}}": ({"checkpoint": {"model": state}, "args": {"lr": 0.1}}, "port"),
        "a list [weights, epoch]": ([state, 3], "port"),
        "weights and numbers in one dict": ({**state, "epoch": 3, "name": "i3d"}, "port"),
        "Lightning with a loss and a metric": (
            {"state_dict": under("model.", state) | tensors(loss__weight=(5,), metric__hits=(5,))},
            "port",
        ),
    }
    return found
