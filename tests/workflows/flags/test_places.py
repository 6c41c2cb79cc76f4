"""Paths and URIs of every command are absolute before anything leaves the folder where they were typed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from cyclopts import App

from kinetics_pipeline.workflows.cli.app import app, run
from kinetics_pipeline.workflows.flags.build_flags import BuildConfig
from kinetics_pipeline.workflows.flags.places import Config, PlaceKind, absolute, place_kind, words_absolute
from kinetics_pipeline.workflows.flags.training_flags import EvaluateConfig, PaperConfig, TrainConfig

NO_PLACES = {
    "plan mirror", "plan split_by", "build mirror", "build split_by",
    "plan split", "plan retry", "plan proxy", "build split", "build retry",
    "build proxy", "build allow_access", "build ytdlp_option", "doctor canary", "train train_split", "train val_split",
    "train classes", "evaluate split", "paper reproduce table", "paper reproduce train_flags",
    "paper transfer train_flags", "paper schedules train_flags", "tools inspect clip", "tools forget reason",
    "tools convert classes", "tools convert split", "tools export split", "features split", "features fps",
    "status clip", "build notify", "build metrics_port",
}  # fmt: skip
"""Flags of text that name no place. A new flag of text is either typed as a place or listed here."""


def commands(within: App = app, name: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    for word in within:
        if word.startswith("-"):
            continue
        inner, full = within[word], f"{name} {word}".strip()
        if inner.default_command is not None:
            yield full, inner.default_command
        yield from commands(inner, full)


def config_of(hint: Any) -> type[Config] | None:
    found = [one for one in (hint, *get_args(hint)) if isinstance(one, type) and dataclasses.is_dataclass(one)]
    return found[0] if found else None


def flags() -> list[tuple[str, Any]]:
    """(command and flag, type) of every parameter of every command."""
    found = []
    for name, command in commands():
        for parameter, hint in get_type_hints(command, include_extras=True).items():
            config = config_of(hint)
            inner = {parameter: hint} if config is None else get_type_hints(config, include_extras=True)
            found += [(f"{name} {flag}", kind) for flag, kind in inner.items() if flag != "return"]
    return found


PLACES = [(flag, hint) for flag, hint in flags() if place_kind(hint) is not None]


def test_all_commands_are_looked_at_and_their_configs_have_the_base_that_makes_places_absolute():
    names = {name for name, _ in commands()}
    assert {"build", "train", "evaluate", "predict", "tools forget", "paper reproduce", "compare"} <= names
    for _, command in commands():
        for hint in get_type_hints(command).values():
            config = config_of(hint)
            assert config is None or issubclass(config, Config)
    assert {"train init", "build output", "build keep_clips", "tools forget runs", "paper reproduce ucf"} <= {
        flag for flag, _ in PLACES
    }


def test_every_flag_of_text_is_a_place_or_is_known_to_be_none():
    def holds_text(hint: Any) -> bool:
        return hint is str or any(holds_text(part) for part in get_args(hint) if part is not Ellipsis)

    undecided = {flag for flag, hint in flags() if holds_text(hint) and place_kind(hint) is None}
    assert {flag for flag in undecided if not is_literal(dict(flags())[flag])} == NO_PLACES


def is_literal(hint: Any) -> bool:
    return "Literal" in str(hint)


@pytest.mark.parametrize(("flag", "hint"), PLACES, ids=[flag for flag, _ in PLACES])
def test_a_relative_place_becomes_absolute_and_a_uri_stays(flag: str, hint: Any, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given").touch()
    several = "tuple" in str(hint)
    text = place_kind(hint) is not Path
    for typed, expected in {
        "given": str(tmp_path / "given"),
        "folder/new": str(tmp_path / "folder/new"),
        "~/x": os.path.expanduser("~/x"),
        **({"s3://bucket/x": "s3://bucket/x"} if text else {}),
    }.items():
        if place_kind(hint) is PlaceKind.FILE and typed != "given":
            expected = typed  # no file of that name: it is a text, as of a class called up/down
        value = typed if text else Path(typed)
        found = absolute((value,) if several else value, hint)
        assert str(found[0] if several else found) == expected
    if place_kind(hint) is PlaceKind.NAME:
        for name in ("youtube", "kinetics-400", "https://host/{video_id}.mp4"):
            assert absolute(name, hint) == name


def test_a_config_made_in_python_has_absolute_places_and_defaults_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert TrainConfig(run=Path("r"), init=Path("w.pt")).init == str(tmp_path / "w.pt")
    assert PaperConfig().runs == tmp_path / "paper"
    assert EvaluateConfig(rgb=Path("r")).rgb == tmp_path / "r"
    build = BuildConfig(output="out", source=("youtube", "videos/*.tar"), keep_clips="s3://b/c")
    assert (build.output, build.keep_clips) == (str(tmp_path / "out"), "s3://b/c")
    assert build.source == ("youtube", str(tmp_path / "videos/*.tar"))


def test_paper_prints_commands_that_work_from_any_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--kinetics", "k", "--imagenet", "googlenet.pth", "--train-flags", "--class-list=c.txt --batch-size 2"]
    assert run(["paper", "reproduce", "3", "--no-run", "--runs", "r", *words]) == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines() if "kinetics-pipeline train" in line]
    assert printed
    for words in printed:
        assert words[3] == str(tmp_path / "k")
        assert words[words.index("--run") + 1].startswith(str(tmp_path / "r"))
        assert f"--class-list={tmp_path / 'c.txt'}" in words
        if "--init" in words:
            assert words[words.index("--init") + 1] == str(tmp_path / "googlenet.pth")


def test_flags_within_a_text_of_flags_are_made_absolute_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = words_absolute(["--init", "w", "--classes", "a", "--run=r", "--steps", "3"], TrainConfig)
    assert words == ["--init", f"{tmp_path}/w", "--classes", "a", f"--run={tmp_path}/r", "--steps", "3"]


@pytest.mark.parametrize(
    "words",
    [
        ["features", "a.mp4", "--to", "s3://bucket/features"],
        ["train", "d", "--model", "i3d", "--stream", "rgb", "--run=gs://bucket/run"],
        ["report", "d", "--html", "https://host/page.html"],
    ],
)
def test_an_address_is_not_a_folder_called_s3(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    said = capsys.readouterr().err
    assert "://" in said
    assert "is given; allowed there: a path on this machine" in said
    assert list(tmp_path.iterdir()) == []
