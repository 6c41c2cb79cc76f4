"""Our own checkpoint files, and files that are none."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from kinetics_pipeline.models import (
    Checkpoint,
    InputError,
    build_model,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)

CONFIG = {"num_classes": 3, "in_channels": 2}


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    model = build_model("i3d", **CONFIG)
    return Checkpoint("i3d", CONFIG, model.state_dict(), None, {"stream": "flow", "classes": ["a", "b", "c"]})


def test_a_checkpoint_says_what_to_build_and_gives_the_same_logits(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(checkpoint, tmp_path / "new" / "last.pt")
    read = read_checkpoint(tmp_path / "new" / "last.pt")
    assert (read.model, read.config, read.metadata) == ("i3d", CONFIG, checkpoint.metadata)
    clip = torch.randn(1, 2, 9, 16, 16)
    with torch.no_grad():
        assert torch.equal(read.build().eval()(clip), checkpoint.build().eval()(clip))
    model = build_model("i3d", **CONFIG)
    assert load_checkpoint(model, tmp_path / "new" / "last.pt") == "own"
    assert os.listdir(tmp_path / "new") == ["last.pt"]


def test_a_failed_write_leaves_the_former_file_and_nothing_beside_it(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(checkpoint, tmp_path / "last.pt")
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(TypeError, match=r"checkpoint\['metadata'\]\['path'\] is PosixPath, neither a tensor nor plain"):
        save_checkpoint(Checkpoint("i3d", CONFIG, {}, None, {"path": Path("x")}), tmp_path / "last.pt")
    assert (tmp_path / "last.pt").read_bytes() == before
    assert os.listdir(tmp_path) == ["last.pt"]


def test_a_truncated_checkpoint_is_refused_in_one_line(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(checkpoint, tmp_path / "whole.pt")
    content = (tmp_path / "whole.pt").read_bytes()
    for length in (0, 1, 100, len(content) // 2, len(content) - 10):
        (tmp_path / "cut.pt").write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\.pt is not a checkpoint, or is cut short or damaged") as caught:
            read_checkpoint(tmp_path / "cut.pt")
        assert "\n" not in str(caught.value)


def test_a_checkpoint_with_a_changed_byte_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "flipped.pt"
    save_checkpoint(checkpoint, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF  # in a tensor: the frame around them is small
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"flipped\.pt is not a checkpoint, or is cut short or damaged"):
        read_checkpoint(path)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("raw", [True, False])
def test_code_in_a_checkpoint_is_not_run(raw: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if raw:
        (tmp_path / "bomb.pt").write_bytes(pickle.dumps({"state_dict": Bomb()}))
    else:
        torch.save({"state_dict": Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(InputError, match=r"bomb\.pt") as caught:
        load_checkpoint(build_model("i3d", **CONFIG), tmp_path / "bomb.pt")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x1f\x8b" + bytes(50), bytes(4096), b"PK\x03\x04" + bytes(99)])
def test_any_other_file_is_no_checkpoint(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match="is not a checkpoint"):
        read_checkpoint(tmp_path / "file")


def test_a_missing_file_a_folder_and_a_strange_content_are_named(tmp_path: Path) -> None:
    model = build_model("i3d", **CONFIG)
    with pytest.raises(InputError, match=r"cannot read checkpoint .*gone\.pt: No such file"):
        load_checkpoint(model, tmp_path / "gone.pt")
    with pytest.raises(InputError, match="cannot read checkpoint"):
        load_checkpoint(model, tmp_path)
    for strange in ([1, 2], {}, {"weights": "none"}, torch.zeros(3)):
        torch.save(strange, tmp_path / "strange.pt")
        with pytest.raises(InputError, match="is not a checkpoint"):
            load_checkpoint(model, tmp_path / "strange.pt")


def test_weights_that_are_not_finite_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    state = dict(checkpoint.state_dict)
    state["Mixed_3b.b0.bn.bias"] = torch.full((64,), float("nan"))
    save_checkpoint(Checkpoint("i3d", CONFIG, state), tmp_path / "nan.pt")
    with pytest.raises(InputError, match=r"Mixed_3b\.b0\.bn\.bias has values that are not finite"):
        load_checkpoint(build_model("i3d", **CONFIG), tmp_path / "nan.pt")


def test_a_checkpoint_of_ours_with_a_part_of_the_wrong_kind_is_damaged(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(checkpoint, tmp_path / "last.pt")
    document = torch.load(tmp_path / "last.pt", weights_only=True)
    torch.save({**document, "config": [1]}, tmp_path / "wrong.pt")
    with pytest.raises(InputError, match=r"wrong\.pt is damaged: its 'config' is missing or of the wrong kind"):
        read_checkpoint(tmp_path / "wrong.pt")
    torch.save({**document, "state_dict": {"logits.conv3d.bias": 3}}, tmp_path / "wrong.pt")
    with pytest.raises(InputError, match=r"logits\.conv3d\.bias in it is not a tensor"):
        load_checkpoint(build_model("i3d", **CONFIG), tmp_path / "wrong.pt")
    with pytest.raises(InputError, match=r"logits\.conv3d\.bias in it is not a tensor"):
        read_checkpoint(tmp_path / "wrong.pt")
    torch.save({**document, "config": {"dropout": "much"}}, tmp_path / "wrong.pt")
    with pytest.raises(InputError, match="cannot be built"):
        read_checkpoint(tmp_path / "wrong.pt").build()
