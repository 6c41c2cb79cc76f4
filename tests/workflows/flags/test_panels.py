"""The help of a command: panels of flags, those that most people need first, in even columns."""

import re

import pytest

from kinetics_pipeline.workflows.cli.app import run
from kinetics_pipeline.workflows.flags.panels import FIRST

ALL = ["demo", "plan", "build", "train", "evaluate", "predict", "features", "paper reproduce", "report"]
MANY_FLAGS = ["plan", "build", "train", "evaluate", "features"]
DATASETS = ["status", "verify", "report", "train", "evaluate"]
DATASET_TOOLS = ["inspect", "repair", "forget", "convert", "export"]
ROW = re.compile(r"│ [* ]? {0,2}(--?[a-z]\S*(?: \S+)*|[A-Z]+) {2,}(?=\S)")


def help_of(command, capsys, monkeypatch):
    """The usage line, and the lines of each panel by its title."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*command.split(), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    panels = {}
    for line in lines:
        if line.startswith("╭"):
            title = line.strip("╭─╮ ")
            panels[title] = []
        elif line.startswith("│"):
            panels[title].append(line.rstrip(" │"))
    return lines, panels


@pytest.mark.parametrize("command", ALL)
def test_each_panel_of_the_help_is_filled_evenly_and_gives_defaults_as_they_are_typed(command, capsys, monkeypatch):
    lines, panels = help_of(command, capsys, monkeypatch)
    for lines_of_panel in panels.values():
        columns = {row.end() for line in lines_of_panel if (row := ROW.match(line))}
        starts = {len(line) - len(line[1:].lstrip()) for line in lines_of_panel}
        assert len(columns) == 1
        assert max(starts) <= max(columns)
    assert "default: (" not in "\n".join(lines)
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize("command", MANY_FLAGS)
def test_the_first_panel_has_the_ten_flags_that_matter_and_every_flag_has_a_panel(command, capsys, monkeypatch):
    _, panels = help_of(command, capsys, monkeypatch)
    titles = [title for title in panels if title != "Arguments"]
    flags = {title: [row[1] for line in panels[title] if (row := ROW.match(line))] for title in titles}
    assert titles[0] == FIRST
    assert len(flags[FIRST]) == 10
    assert "Parameters" not in titles
    assert titles[-1] == "From a file"


@pytest.mark.parametrize("command", [*DATASETS, *(f"tools {name}" for name in DATASET_TOOLS)])
def test_a_command_for_a_dataset_calls_it_dataset(command, capsys, monkeypatch):
    lines, panels = help_of(command, capsys, monkeypatch)
    usage = " ".join(lines[: lines.index("")])
    assert usage.startswith("Usage: ")
    assert usage.endswith(" DATASET")
    assert any("DATASET" in line for line in panels["Arguments"])
