"""The kinds of weights that people have: each is read, or refused by a line that says what it is and what fits.

`python -m pytest -s tests/models/weights/test_kinds.py` prints the table of kinds.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kinetics_pipeline.models import Checkpoint, InputError, build_model, inflate, load_checkpoint, save_checkpoint
from kinetics_pipeline.models.layers.batch_norm import epsilon_of
from kinetics_pipeline.models.weights.conversion import as_checkpoint
from kinetics_pipeline.models.weights.kinds import KINDS
from tests.builders.foreign_checkpoints import (
    CLASSES,
    OTHER_FILES,
    UNKNOWN_NETWORKS,
    googlenet,
    hassony2,
    i3d,
    readable,
    state_of,
    tensors,
    under,
)
from tests.builders.tensorflow_bundle import write_bundle

READABLE = readable()
TABLE: list[tuple[str, str]] = []


@pytest.fixture(scope="module")
def model() -> Iterator[nn.Module]:
    """One network for all: building it takes longer than most loads. At the end the table is printed."""
    yield build_model("i3d", num_classes=CLASSES)
    width = max((len(name) for name, _ in TABLE), default=0)
    print("\n" + "\n".join(f"{name:<{width}}  {said}" for name, said in TABLE))


def holds(model: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def blank(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.zero_()
    return model


def load(model: nn.Module, path: Path) -> str:
    with warnings.catch_warnings(action="ignore"):
        return load_checkpoint(model, path)


@pytest.mark.parametrize("name", READABLE)
def test_published_weights_are_read_whatever_they_are_wrapped_in(name: str, model: nn.Module, tmp_path: Path) -> None:
    document, source = READABLE[name]
    torch.save(document, tmp_path / "weights.pt")
    loaded = load(blank(model), tmp_path / "weights.pt")
    assert loaded == source
    assert holds(model, i3d())
    TABLE.append((name, f"read as {loaded}"))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin", ""])
def test_safetensors_are_known_by_their_content(suffix: str, model: nn.Module, tmp_path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in i3d().items()}, tmp_path / f"weights{suffix}")
    assert load(blank(model), tmp_path / f"weights{suffix}") == "port"
    assert holds(model, i3d())
    torch.save(i3d(), tmp_path / "torch.safetensors")
    assert load(blank(model), tmp_path / "torch.safetensors") == "port"
    TABLE.append((f"safetensors as *{suffix}", "read as port"))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"net": i3d()}, r"^'net' in it was taken$"),
        ({"state_dict_ema": {}, "a": {"state_dict_ema": i3d()}}, r"^'a.state_dict_ema' in it was taken$"),
        (
            {"state_dict_ema": i3d(), "state_dict": i3d()},
            r"^'state_dict' in it was taken, not 'state_dict_ema'$",
        ),
        ({"rgb": i3d(), "flow": i3d(channels=2)}, r"^'rgb' in it was taken, not 'flow'$"),
    ],
)
def test_which_part_of_a_file_was_taken_is_said(document: Any, said: str, model: nn.Module, tmp_path: Path) -> None:
    torch.save(document, tmp_path / "weights.pt")
    with warnings.catch_warnings(action="ignore"):
        loaded = load_checkpoint(model, tmp_path / "weights.pt")
    assert re.search(said, loaded.notes[0])
    if len(document) == 2 and "a" not in document:
        with pytest.warns(UserWarning, match=said[1:-1]):
            load_checkpoint(model, tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("teacher.", "student."), "'student' in it was taken, not 'teacher'"),
        (("module.encoder_k.", "module.encoder_q."), "'encoder_q' in it was taken, not 'encoder_k'"),
        (("ema.", ""), "what has no prefix in it was taken, not 'ema'"),
    ],
)
def test_of_two_networks_in_one_dict_the_one_that_is_no_average_is_taken(
    names: tuple[str, str], said: str, model: nn.Module, tmp_path: Path
) -> None:
    average = {name: torch.zeros_like(tensor) for name, tensor in i3d().items()}
    torch.save(under(names[0], average) | under(names[1], i3d()), tmp_path / "both.pt")
    with pytest.warns(UserWarning, match=said):
        load_checkpoint(blank(model), tmp_path / "both.pt")
    assert holds(model, i3d())


def test_of_two_streams_in_one_dict_the_one_that_fits_is_taken(tmp_path: Path) -> None:
    torch.save(under("rgb_tower.", i3d()) | under("flow_tower.", i3d(channels=2)), tmp_path / "both.pt")
    flow = build_model("i3d", num_classes=CLASSES, in_channels=2)
    with pytest.warns(UserWarning, match="'flow_tower' in it was taken, not 'rgb_tower'"):
        load_checkpoint(flow, tmp_path / "both.pt")
    assert holds(flow, i3d(channels=2))


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_weights_in_several_files_are_read_by_their_index_alone(suffix: str, model: nn.Module, tmp_path: Path) -> None:
    state, index = {name: tensor.contiguous() for name, tensor in i3d().items()}, tmp_path / f"model{suffix}.index.json"
    places = {name: f"model-0000{1 + number % 2}-of-00002{suffix}" for number, name in enumerate(state)}
    for part in set(places.values()):
        held = {name: state[name] for name, place in places.items() if place == part}
        (save_file if suffix == ".safetensors" else torch.save)(held, tmp_path / part)
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert load(blank(model), index) == "port"
    assert holds(model, i3d())
    with pytest.raises(InputError, match=r"one of several files.*give their index"):
        load_checkpoint(model, tmp_path / part)
    if suffix == ".safetensors":  # whose folder is one of the kinds that are read
        assert load(blank(model), tmp_path) == "port"
    else:
        with pytest.raises(InputError, match=f"give .*{index.name}"):
            load_checkpoint(model, tmp_path)
    (tmp_path.parent / part).write_bytes((tmp_path / part).read_bytes())
    for document, said in (
        ({"weight_map": {**places, "more": part}}, "lacks more, which .* says it holds"),
        ({"weight_map": {"logits.conv3d.bias": f"../{part}"}}, "allowed: a file beside it"),
        ({"weight_map": {"logits.conv3d.bias": f"none{suffix}"}}, f"cannot read .*none{suffix}"),
        ({"weight_map": [part]}, "is not an index of weights"),
    ):
        index.write_text(json.dumps(document))
        with pytest.raises(InputError, match=said):
            load_checkpoint(model, index)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensor: tensor.to(torch.int8), "holds int8, as of quantised weights"),
        (lambda tensor: tensor.to(torch.float8_e4m3fn), "holds float8_e4m3fn, as of quantised weights"),
        (lambda tensor: tensor.to(torch.complex64), "holds complex64"),
        (lambda tensor: tensor.to("meta"), "is without values"),
        (lambda tensor: tensor.to_sparse(), "is sparse"),
    ],
)
def test_values_that_are_not_plain_weights_are_refused(
    change: Callable[[Tensor], Tensor], said: str, model: nn.Module, tmp_path: Path
) -> None:
    name = "Conv3d_1a_7x7.bn.bias"
    torch.save(i3d() | {name: change(i3d()[name])}, tmp_path / "weights.pt")
    blank(model)
    with pytest.raises(InputError, match=f"does not fit: {name} {said}"):
        load_checkpoint(model, tmp_path / "weights.pt")
    assert not any(tensor.any() for tensor in model.state_dict().values())


def test_what_is_no_file_is_refused_at_once(model: nn.Module, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    for given, said in (
        (tmp_path / "pipe.pt", "a pipe or a device"),
        (Path("/dev/zero"), "a pipe or a device"),
        (tmp_path / ("x" * 300), "File name too long"),
        (Path("https://example.org/rgb_imagenet.pt"), "it is an address; download"),
        (Path("https://example.org/rgb_imagenet.pt").absolute(), "it is an address; download"),
    ):
        with pytest.raises(InputError, match=said):
            load_checkpoint(model, given)


def test_of_two_streams_in_one_file_the_one_that_fits_is_taken(tmp_path: Path) -> None:
    torch.save({"rgb": i3d(), "flow": i3d(channels=2)}, tmp_path / "both.pt")
    flow = build_model("i3d", num_classes=CLASSES, in_channels=2)
    with pytest.warns(UserWarning, match="'flow' in it was taken, not 'rgb'"):
        load_checkpoint(flow, tmp_path / "both.pt")
    assert holds(flow, i3d(channels=2))


def test_what_is_left_out_of_a_file_is_said(model: nn.Module, tmp_path: Path) -> None:
    torch.save(READABLE["Lightning with a loss and a metric"][0], tmp_path / "weights.pt")
    assert "not used of it: loss.weight and 1 more" in load_checkpoint(model, tmp_path / "weights.pt").notes


@pytest.mark.parametrize("name", UNKNOWN_NETWORKS)
@pytest.mark.parametrize("wrapping", ["", "model."])
def test_other_networks_are_refused_by_what_they_are(
    name: str, wrapping: str, model: nn.Module, tmp_path: Path
) -> None:
    state, said = UNKNOWN_NETWORKS[name]
    torch.save({"state_dict": {f"{wrapping}{key}": tensor for key, tensor in state.items()}}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=said) as caught:
        load_checkpoint(model, tmp_path / "weights.pt")
    assert "\n" not in str(caught.value)
    if not wrapping:
        TABLE.append((name, str(caught.value).replace(str(tmp_path), "")))


@pytest.mark.parametrize("name", OTHER_FILES)
def test_files_that_hold_no_weights_are_refused_by_what_they_are(name: str, model: nn.Module, tmp_path: Path) -> None:
    write, said = OTHER_FILES[name]
    write(tmp_path / "weights.pt")
    with pytest.raises(InputError, match=said) as caught:
        load_checkpoint(model, tmp_path / "weights.pt")
    assert "\n" not in str(caught.value)
    TABLE.append((name, str(caught.value).replace(str(tmp_path), "")))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("__0_0.distcp", "part of a distributed torch checkpoint.*dcp_to_torch_save"),
        ("model.ckpt.data-00000-of-00001", "its .index file must lie beside it"),
        ("flax_model.msgpack", "Flax"),
    ],
)
def test_files_are_refused_by_what_their_names_say(name: str, said: str, model: nn.Module, tmp_path: Path) -> None:
    torch.save({}, tmp_path / name)
    with pytest.raises(InputError, match=said) as caught:
        load_checkpoint(model, tmp_path / name)
    TABLE.append((name, str(caught.value).replace(str(tmp_path), "")))


def test_folders_are_refused_with_what_in_them_is_to_be_given(model: nn.Module, tmp_path: Path) -> None:
    for name, files, said in (
        ("a run folder", ["config.json", "checkpoints/last.pt", "checkpoints/best.pt"], "checkpoints/best.pt"),
        ("a TensorFlow folder", ["checkpoint", "model.ckpt.index", "model.ckpt.meta"], r"prefix.*/model\.ckpt$"),
        ("a SavedModel", ["saved_model.pb", "variables/x"], "SavedModel"),
        ("a Hugging Face folder", ["config.json", "pytorch_model.bin"], r"give .*/pytorch_model\.bin"),
        ("a distributed checkpoint", [".metadata", "__0_0.distcp"], "dcp_to_torch_save"),
        ("DeepSpeed's folder", ["latest", "zero_to_fp32.py", "global_step5/x"], "run the zero_to_fp32.py"),
        (
            "DeepSpeed's inner folder",
            ["bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "mp_rank_00_model_states.pt"],
            r"give .*/mp_rank_00_model_states\.pt",
        ),
        ("Orbax's folder", ["_METADATA", "manifest.ocdbt", "d/x"], "Orbax"),
        ("Hugging Face's cache", ["blobs/x", "refs/main", "snapshots/x"], "within .*/snapshots"),
        ("an empty folder", [], "without weights"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        for file in files:
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).touch()
        with pytest.raises(InputError, match=said) as caught:
            load_checkpoint(model, folder)
        TABLE.append((name, str(caught.value).replace(str(tmp_path), "")))


@pytest.mark.parametrize("other", ["c3d", "convnet_lstm", "two_stream", "fused_two_stream"])
def test_weights_of_another_network_here_name_the_network_that_takes_them(
    other: str, model: nn.Module, tmp_path: Path
) -> None:
    config = {"num_classes": CLASSES, "in_channels": 3, **({"crop_size": 32} if other == "c3d" else {})}
    state = state_of(other, **config)
    save_checkpoint(Checkpoint(other, config, state), tmp_path / "own.pt")
    torch.save(state, tmp_path / "plain.pt")
    for file in ("own.pt", "plain.pt"):
        with pytest.raises(InputError, match=rf"--model {other} takes it"):
            load_checkpoint(model, tmp_path / file)
    _, checkpoint = as_checkpoint(tmp_path / "plain.pt")
    assert (checkpoint.model, checkpoint.config) == (other, config)
    torch.save(i3d(), tmp_path / "i3d.pt")
    with pytest.raises(InputError, match=r"an Inception-I3D; --model i3d takes it"):
        load_checkpoint(checkpoint.build(), tmp_path / "i3d.pt")
    TABLE.append((f"{other} of this project", f"read by --model {other} alone"))


def test_another_stream_and_another_number_of_classes_name_the_flag(model: nn.Module, tmp_path: Path) -> None:
    torch.save(i3d(channels=2), tmp_path / "flow.pt")
    with pytest.raises(InputError, match=r"channels: it takes 2, the model 3.*--stream flow"):
        load_checkpoint(model, tmp_path / "flow.pt")
    torch.save(hassony2(i3d(classes=7)), tmp_path / "seven.pt")
    with pytest.raises(InputError, match=r"it has 7 classes, the model 5.*--new-head"):
        load_checkpoint(model, tmp_path / "seven.pt")
    load_checkpoint(model, tmp_path / "seven.pt", head=False)


def test_a_googlenet_fills_inception2d_and_is_inflated_for_i3d(model: nn.Module, tmp_path: Path) -> None:
    state = googlenet(classes=CLASSES)
    torch.save(state, tmp_path / "googlenet.pth")
    flat = build_model("inception2d", num_classes=CLASSES)
    assert load_checkpoint(flat, tmp_path / "googlenet.pth") == "googlenet"
    found = flat.state_dict()
    assert torch.equal(found["trunk.Mixed_4f.b2b.conv2d.weight"], state["inception4e.branch3.1.conv.weight"])
    assert torch.equal(found["trunk.Mixed_5c.b3b.bn.running_var"], state["inception5b.branch4.1.bn.running_var"])
    inflate(expected := build_model("inception2d", num_classes=CLASSES), state)
    assert all(torch.equal(t, found[n]) for n, t in expected.state_dict().items() if n.startswith("trunk."))
    assert torch.equal(found["logits.weight"], state["fc.weight"])
    with pytest.raises(InputError, match=r"2D weights.*`inflate` in Python"):
        load_checkpoint(model, tmp_path / "googlenet.pth")
    _, checkpoint = as_checkpoint(tmp_path / "googlenet.pth")
    assert (checkpoint.model, checkpoint.config) == ("inception2d", {"num_classes": CLASSES, "in_channels": 3})
    TABLE.append(("torchvision's GoogLeNet", "read by inception2d, inflated for i3d"))


@torch.no_grad()
def test_the_eps_that_is_assumed_is_said_and_another_gives_what_its_users_computed(tmp_path: Path) -> None:
    """video_features' definition says 1e-5: its features are those of a network with that number."""
    torch.manual_seed(0)
    file = tmp_path / "i3d_rgb.pt"
    state = build_model("i3d", num_classes=CLASSES).state_dict()
    for name, tensor in state.items():
        if name.endswith("running_var"):
            tensor.fill_(0.01)  # the smaller the variance, the more eps matters
    torch.save(hassony2(state), file)
    ours = build_model("i3d", num_classes=CLASSES).eval()
    notes = load_checkpoint(ours, file).notes
    assert "0.001 is assumed" in notes[0]
    clip = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    assumed = ours(clip)
    assert load_checkpoint(ours, file, bn_eps=1e-5).notes == ()
    changed = ours(clip)
    assert not torch.allclose(changed, assumed, rtol=1e-2)
    for module in ours.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.eps == 1e-5
    _, checkpoint = as_checkpoint(file, bn_eps=1e-5)
    save_checkpoint(checkpoint, tmp_path / "own.pt")
    again = build_model("i3d", num_classes=CLASSES).eval()
    load_checkpoint(again, tmp_path / "own.pt")
    assert epsilon_of(again) == 1e-5
    torch.testing.assert_close(again(clip), changed)
    with pytest.raises(InputError, match="eps of batch normalisation is 0; allowed: above 0"):
        load_checkpoint(ours, file, bn_eps=0)


def test_a_tensorflow_file_s_graph_names_the_checkpoint_too(model: nn.Module, tmp_path: Path) -> None:
    write_bundle(tmp_path / "model.ckpt", {"x": tensors(x=(2,))["x"].numpy()})
    (tmp_path / "model.ckpt.meta").write_bytes(b"\n\x05graph")
    with pytest.raises(InputError, match=r"does not fit"):
        load_checkpoint(model, tmp_path / "model.ckpt.meta")


def test_every_row_of_the_table_has_a_condition_and_says_what_fits() -> None:
    for kind in KINDS:
        assert kind.begins or kind.members or kind.names or kind.suffixes or kind.folder or kind.file_name
        sentence = kind.sentence("FILE", "FOUND")
        assert "{" not in sentence
        assert "; " in sentence
    assert len({kind.what for kind in KINDS}) > 45
