"""What works without an extra, and what is said where one is missing."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from kinetics_pipeline.workflows.extras import EXTRAS
from tests.builders.partial_environment import make_environment, run_in

ROOT = Path(__file__).parents[1]
OF_THE_EXTRAS = ("torch", "ray", "cv2", "numba", "yt_dlp")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    environment = make_environment(tmp_path_factory.mktemp("environments") / "base")
    code = f"import importlib.util as i; print([n for n in {OF_THE_EXTRAS} if i.find_spec(n)])"
    assert run_in(environment, "-c", code, folder=environment).stdout == "[]\n"
    return environment


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """A copy: opening a dataset keeps an index beside it."""
    return str(shutil.copytree(ROOT / "tests" / "data" / "schema_1_parquet", tmp_path / "dataset"))


@pytest.mark.parametrize(
    "command",
    ["build --help", "status {}", "report {}", "report {} --html report.html", "verify {}", "compare {} {}"],
)
def test_looking_at_datasets_needs_no_extra(command: str, base: Path, dataset: str, tmp_path: Path):
    done = run_in(base, "-m", "kinetics_pipeline.workflows", *command.replace("{}", dataset).split(), folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_reading_annotations_needs_no_extra(base: Path, tmp_path: Path):
    (tmp_path / "a.csv").write_text("label,youtube_id,time_start,time_end,split\nrunning,abcdefghijk,0,1,train\n")
    code = "from kinetics_pipeline.annotations import read_annotations as r; print(r('a.csv').clip_id[0])"
    done = run_in(base, "-c", code, folder=tmp_path)
    assert done.stdout == "abcdefghijk_000000_000001\n", done.stderr


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("build a.csv --output o", "build"),
        ("evaluate {} --rgb r", "torch"),
        ("tools inspect {}", "torch"),
    ],
)
def test_a_command_whose_extra_is_missing_says_how_to_install_it(
    command: str, extra: str, base: Path, dataset: str, tmp_path: Path
):
    done = run_in(base, "-m", "kinetics_pipeline.workflows", *command.replace("{}", dataset).split(), folder=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert f"pip install 'kinetics-pipeline[{extra}]'" in done.stderr


def test_doctor_notes_the_extras_that_are_not_installed_and_finds_nothing_wrong(base: Path, tmp_path: Path):
    done = run_in(base, "-m", "kinetics_pipeline.workflows", "doctor", "--json", folder=tmp_path)
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert "wrong" not in {finding["state"] for finding in findings.values()}
    for extra in EXTRAS:
        assert f"[{extra}]" in findings[extra]["mend"]


def test_the_torch_extra_loads_clips_and_builds_networks_without_ray_or_downloads(dataset: str, tmp_path: Path):
    environment = make_environment(tmp_path / "torch", "torch")
    code = f"""
import kinetics_pipeline.models.scoring.evaluation, kinetics_pipeline.models.training.loop
import sys
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.models import build_model

clips = ClipDataset({dataset!r}, split="train", frames=4, crop=16)
model = build_model("inception2d", num_classes=len(clips.classes)).eval()
print(tuple(clips[0]["video"].shape), {{"ray", "yt_dlp", "cv2", "numba"}} & set(sys.modules))
"""
    done = run_in(environment, "-c", code, folder=tmp_path)
    assert done.stdout == "(3, 4, 16, 16) set()\n", done.stderr


def test_every_extra_is_part_of_all_and_every_module_of_an_extra_is_known():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    assert optional["all"] == [f"kinetics-pipeline[{','.join(sorted(EXTRAS))}]"]
    assert set(optional) == {*EXTRAS, "wandb", "all", "test", "dev"}
