"""Weights from elsewhere: TensorFlow's files in the shapes of the released ones, and both public ports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kinetics_pipeline.models import InputError, build_model, load_checkpoint
from kinetics_pipeline.models.weights.crc32c import crc32c
from kinetics_pipeline.models.weights.names import googlenet_unit, hassony_unit, tensorflow_unit, units
from kinetics_pipeline.models.weights.snappy import decompress
from kinetics_pipeline.models.weights.tensorflow_checkpoint import list_variables
from tests.builders.tensorflow_bundle import write_bundle

CLASSES = 7


def released(model: nn.Module, scope: str, keep_axes: bool = False, slots: bool = False) -> dict[str, np.ndarray]:
    """Random variables under the names and shapes of the released files.

    The 400-class files have normalisation of shape [C] under a scope; kin600 has [1, 1, 1, 1, C], no scope, and
    Momentum slots of what it trained.
    """
    rng = np.random.default_rng(0)
    variables = {}
    for unit in (*units(), "logits"):
        out, into, *kernel = model.get_submodule(unit).conv3d.weight.shape  # type: ignore[union-attr]
        axes = (1, 1, 1, 1, out) if keep_axes else (out,)
        shapes = {"conv_3d/w": (*kernel, into, out)}
        if unit == "logits":
            shapes["conv_3d/b"] = (out,)
        else:
            shapes |= {f"batch_norm/{part}": axes for part in ("beta", "moving_mean", "moving_variance")}
        for end, shape in shapes.items():
            name = f"{scope}{tensorflow_unit(unit)}/{end}"
            variables[name] = rng.random(shape, dtype=np.float32)
            if slots and "moving" not in end:
                variables[f"{name}/Momentum"] = rng.random(shape, dtype=np.float32)
    return variables


VARIANTS = {
    "rgb": (3, {"scope": "RGB/inception_i3d/"}),
    "flow": (2, {"scope": "Flow/inception_i3d/"}),
    "kin600": (3, {"scope": "", "keep_axes": True, "slots": True}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_variables_of_a_released_tensorflow_file_find_their_place(variant: str, tmp_path: Path) -> None:
    channels, form = VARIANTS[variant]
    model = build_model("i3d", num_classes=CLASSES, in_channels=channels)
    variables = released(model, **form)  # type: ignore[arg-type]
    trained = {name: array for name, array in variables.items() if not name.endswith("Momentum")}
    assert (len(trained), len(variables)) == (230, 346 if variant == "kin600" else 230)
    write_bundle(tmp_path / "model.ckpt", {**variables, "global_step": np.array(5)}, snappy=variant == "flow")
    suffix = {"rgb": "", "flow": ".index", "kin600": ".data-00000-of-00001"}[variant]
    assert load_checkpoint(model, tmp_path / f"model.ckpt{suffix}") == "tensorflow"
    placed = 0
    for name, tensor in model.state_dict().items():
        if name.endswith(("num_batches_tracked", "bn.weight")):
            continue
        unit, kind = name.rsplit(".", 2)[0], ".".join(name.rsplit(".", 2)[1:])
        end = {"conv3d.weight": "conv_3d/w", "conv3d.bias": "conv_3d/b", "bn.bias": "batch_norm/beta"} | {
            "bn.running_mean": "batch_norm/moving_mean",
            "bn.running_var": "batch_norm/moving_variance",
        }
        array = variables[f"{form['scope']}{tensorflow_unit(unit)}/{end[kind]}"]
        array = array.transpose(4, 3, 0, 1, 2) if end[kind] == "conv_3d/w" else array.reshape(-1)
        np.testing.assert_array_equal(tensor.numpy(), array)
        placed += 1
    assert placed == 230


@pytest.fixture(scope="module")
def flow_bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, dict[str, np.ndarray], Path]:
    folder = tmp_path_factory.mktemp("bundle")
    model = build_model("i3d", num_classes=CLASSES, in_channels=2)
    variables = released(model, "Flow/inception_i3d/")
    write_bundle(folder / "model.ckpt", variables)
    return model, variables, folder / "model.ckpt"


def test_the_typo_of_the_released_names_is_kept(flow_bundle: tuple[nn.Module, dict[str, np.ndarray], Path]) -> None:
    names = list_variables(flow_bundle[2])
    assert "Flow/inception_i3d/Mixed_5b/Branch_2/Conv3d_0a_3x3/conv_3d/w" in names
    assert "Flow/inception_i3d/Mixed_5c/Branch_2/Conv3d_0b_3x3/conv_3d/w" in names


def test_one_flipped_bit_anywhere_is_found_and_leaves_the_model_as_it_was(
    flow_bundle: tuple[nn.Module, dict[str, np.ndarray], Path], tmp_path: Path
) -> None:
    model, _, prefix = flow_bundle
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for damaged, position in ((".index", 700), (".data-00000-of-00001", 30_000_001)):
        for suffix in (".index", ".data-00000-of-00001"):
            content = bytearray(Path(f"{prefix}{suffix}").read_bytes())
            if suffix == damaged:
                content[position] ^= 4
            (tmp_path / f"model.ckpt{suffix}").write_bytes(content)
        with pytest.raises(InputError, match="another CRC than was stored"):
            load_checkpoint(model, tmp_path / "model.ckpt")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_file_cut_short_or_missing_is_named(
    flow_bundle: tuple[nn.Module, dict[str, np.ndarray], Path], tmp_path: Path
) -> None:
    model, _, prefix = flow_bundle
    index = Path(f"{prefix}.index").read_bytes()
    (tmp_path / "model.ckpt.index").write_bytes(index)
    with pytest.raises(InputError, match=r"cannot read .*data-00000-of-00001.*No such file"):
        load_checkpoint(model, tmp_path / "model.ckpt")
    (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(b"\0" * 1000)
    with pytest.raises(InputError, match=r"ends before variable|another CRC"):
        load_checkpoint(model, tmp_path / "model.ckpt")
    for length in (0, 20, 47, 100, len(index) // 2, len(index) - 1):
        (tmp_path / "model.ckpt.index").write_bytes(index[:length])
        with pytest.raises(InputError, match="not a sound TensorFlow checkpoint"):
            load_checkpoint(model, tmp_path / "model.ckpt")


def test_what_is_wrong_with_a_tensorflow_file_is_named(tmp_path: Path) -> None:
    model = build_model("i3d", num_classes=CLASSES)
    good = released(model, "RGB/inception_i3d/")
    name = "RGB/inception_i3d/Mixed_4b/Branch_1/Conv3d_0b_3x3/conv_3d/w"
    wrong = {
        r"Mixed_4b.b1b.conv3d.weight has shape \(208, 96, 1, 3, 3\), the model \(208, 96, 3, 3, 3\)": {
            **good,
            name: good[name][:1],
        },
        r"it lacks Mixed_4b.b1b.conv3d.weight": {key: value for key, value in good.items() if key != name},
        r"has what the model has not: RGB/extra": {**good, "RGB/extra": np.zeros(3, dtype=np.float32)},
    }
    for message, variables in wrong.items():
        write_bundle(tmp_path / "model.ckpt", variables)
        with pytest.raises(InputError, match=message):
            load_checkpoint(model, tmp_path / "model.ckpt")


def test_another_number_of_classes_or_channels_is_said_in_words(
    flow_bundle: tuple[nn.Module, dict[str, np.ndarray], Path],
) -> None:
    _, variables, prefix = flow_bundle
    with pytest.raises(InputError, match=r"it has 7 classes, the model 9"):
        load_checkpoint(build_model("i3d", num_classes=9, in_channels=2), prefix)
    with pytest.raises(InputError, match=r"channels: it takes 2, the model 3 \(RGB has 3, flow 2\)"):
        load_checkpoint(build_model("i3d", num_classes=7), prefix)
    transfer = build_model("i3d", num_classes=9, in_channels=2)
    head = transfer.logits.conv3d.weight.clone()  # type: ignore[union-attr, operator]
    load_checkpoint(transfer, prefix, head=False)
    assert torch.equal(transfer.logits.conv3d.weight, head)  # type: ignore[union-attr]
    first = variables["Flow/inception_i3d/Conv3d_1a_7x7/conv_3d/w"].transpose(4, 3, 0, 1, 2)
    np.testing.assert_array_equal(transfer.Conv3d_1a_7x7.conv3d.weight.detach().numpy(), first)  # type: ignore[union-attr]


def hassony_names(model: nn.Module) -> dict[str, torch.Tensor]:
    renamed = {}
    for name, tensor in model.state_dict().items():
        unit, kind, part = name.rsplit(".", 2)
        renamed[f"{hassony_unit(unit)}.{'batch3d' if kind == 'bn' else kind}.{part}"] = torch.rand_like(tensor.float())
    return renamed


def test_the_other_public_port_loads_by_its_names(tmp_path: Path) -> None:
    model = build_model("i3d", num_classes=CLASSES)
    weights = hassony_names(model)
    assert "mixed_3b.branch_1.0.batch3d.running_var" in weights
    assert "conv3d_0c_1x1.conv3d.bias" in weights
    torch.save(weights, tmp_path / "rgb.pth")
    assert load_checkpoint(model, tmp_path / "rgb.pth") == "hassony2"
    state = model.state_dict()
    assert torch.equal(state["Mixed_5c.b3b.bn.bias"], weights["mixed_5c.branch_3.1.batch3d.bias"])
    assert torch.equal(state["logits.conv3d.weight"], weights["conv3d_0c_1x1.conv3d.weight"])


@pytest.mark.parametrize("legacy", [True, False])
def test_the_port_whose_names_are_ours_loads_however_it_was_saved(legacy: bool, tmp_path: Path) -> None:
    """Its released files are from before counters of batches, and of the older form of torch.save."""
    model = build_model("i3d", num_classes=CLASSES)
    weights = {k: torch.rand_like(v) for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    saved = weights if legacy else {"state_dict": {f"module.{k}": v for k, v in weights.items()}, "epoch": 3}
    torch.save(saved, tmp_path / "rgb_imagenet.pt", _use_new_zipfile_serialization=not legacy)
    assert load_checkpoint(model, tmp_path / "rgb_imagenet.pt") == "port"
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in weights.items())


def test_the_units_of_googlenet_are_named_as_torchvision_does() -> None:
    assert googlenet_unit("Conv3d_2c_3x3") == "conv3"
    assert googlenet_unit("Mixed_3b.b2b") == "inception3a.branch3.1"
    assert googlenet_unit("Mixed_4f.b3b") == "inception4e.branch4.1"
    assert len({googlenet_unit(unit) for unit in units()}) == 57


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"123456789", 0xE3069283),
    ],
)
def test_the_crc_gives_the_values_of_rfc_3720(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


def test_snappy_copies_may_overlap_themselves() -> None:
    """ "abc", then 9 bytes from 3 back; then a copy with a two-byte offset (format_description.txt, section 2)."""
    stream = bytes([16, 2 << 2]) + b"abc" + bytes([(9 - 4) << 2 | 1, 3]) + bytes([(4 - 1) << 2 | 2, 12, 0])
    assert decompress(stream) == b"abcabcabcabcabca"
    with pytest.raises(ValueError, match="refers to what is not there"):
        decompress(bytes([8, 0]) + b"a" + bytes([3 << 2 | 2, 2, 0]))
