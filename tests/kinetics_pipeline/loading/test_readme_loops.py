"""README's section on training loops: every line is run, with the real libraries, on a small dataset."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import numpy
import pytest
import torch
from torch import distributed

from kinetics_pipeline.dataset.card import write_card
from kinetics_pipeline.loading import read_rows
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.workflows.runtime.cluster import connected
from tests.builders.clips import asked_clips, built
from tests.builders.readme import ROOT, blocks

PLAIN, TRAINERS, DECODING = blocks("python")[2:]
LINES = re.findall(
    r"^\| [^|`]+(?:`\w+`)?[^|`]* \| `(\w[^`]+ = [^`]+)` \|$", (ROOT / "README.md").read_text(), re.MULTILINE
)


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    write_card(built(tmp_path / "dataset", 9, recipe=Recipe(short_side=48), frames={}))
    return tmp_path / "dataset"


def ran(block: str) -> dict:
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    return names


def test_the_plain_loop_runs_and_goes_on_where_it_stopped(dataset: Path):
    names = ran(PLAIN)
    assert names["batch"]["video"].shape[1:] == (3, 16, 32, 32)
    assert names["step"] == 5
    assert names["state"] == {"epoch": 1, "consumed": 9, "seed": 0, "clips": 9}
    assert names["pairs"][0]["flow"].shape == (2, 16, 32, 32)
    assert {int(names["two"][number]["label"]) for number in range(6)} == {0, 1}
    assert len(names["few"]) == 3
    assert names["darker"][0]["video"].max() <= 0


@pytest.mark.slow
def test_two_processes_share_the_plain_loop(dataset: Path, tmp_path: Path):
    torch.multiprocessing.start_processes(_rank, (str(tmp_path),), 2, start_method="fork")
    taken = [(tmp_path / f"{rank}.txt").read_text().split() for rank in range(2)]
    assert sorted(set(taken[0] + taken[1])) == sorted(clip.clip_id for clip in asked_clips(9))
    assert len(taken[0]) == len(taken[1]) == 5


def _rank(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", f"file://{folder}/.meet", rank=rank, world_size=2)
    noting = "        seen = [*seen, *batch['clip_id']] if step > 1 else batch['clip_id']\n"
    names = ran(PLAIN.replace("        state =", f"{noting}        state ="))
    Path(folder, f"{rank}.txt").write_text(" ".join(names["seen"]))
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lightning_and_torchdata_run(dataset: Path):
    state = ran(TRAINERS)["state"]
    assert isinstance(state, dict)


@pytest.mark.slow
def test_other_libraries_read_the_shards_by_the_lines_of_the_table(dataset: Path):
    modules = {name: importlib.import_module(name) for name in ("pandas", "duckdb", "datasets", "ray", "ray.data")}
    names = modules | {"loading": importlib.import_module("kinetics_pipeline.loading")}
    with connected(cpus=2):
        for line in LINES:
            exec(compile(line, "README.md", "exec"), names)
        rows = names["table"].take_all()
    assert {(row["video_id"], row["split"], row["time_end"]) for row in rows} == {
        (clip.video_id, "train", float(clip.time_end or 0)) for clip in asked_clips(9)
    }
    assert len(names["rows"]) == 4 * 3
    assert dict(names["frames"]) == {clip.clip_id: 40 for clip in asked_clips(9)}
    assert len(names["pictures"]) == 9 * 3
    assert names["pictures"][0]["rgb"][0].size == (64, 48)
    assert (names["video"].shape, names["audio"].shape) == ((16, 3, 48, 64), (1, 0))
    assert names["row"]["flow"].shape == (16, 2, 48, 64)


def test_flow_is_decoded_by_five_lines_to_what_the_loader_gives(dataset: Path):
    names = ran(DECODING)
    row = next(read_rows(dataset, split="train", stream="both"))
    assert row["clip_id"] == names["row"]["clip_id"]
    assert numpy.abs(row["flow"] - names["flow"]).max() < 1e-5
    assert len([line for line in DECODING.splitlines() if line]) <= 5


def test_the_names_to_build_on_are_there_and_say_what_they_take_and_raise():
    text = (ROOT / "README.md").read_text()
    table = re.findall(r"^\| `(kinetics_pipeline\.\w+)` \| (.+) \|$", text, re.MULTILINE)
    assert len(table) == 6
    for module, names in table:
        for name in re.findall(r"`(\w+)`", names):
            documented = getattr(importlib.import_module(module), name)
            assert documented.__doc__, name
            assert re.search(r"Raises\b|Error:", documented.__doc__), f"{name} does not say what it raises"


def test_every_block_is_run():
    assert [ast.parse(block).body != [] for block in blocks("python")] == [True] * 5
    assert len(LINES) == 6
