"""What failures say together is said in a line, with the command that follows; messages are read as the tables say."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinetics_pipeline.sources.youtube.texts import COUNTRY, EARLIER_GONE, NETWORK_RULES, PREMIERE, UNAVAILABLE
from kinetics_pipeline.sources.youtube.youtube_texts import YOUTUBE_CLEAR
from kinetics_pipeline.workflows.building.advice import advice, is_in_doubt
from kinetics_pipeline.workflows.cli.app import run

COMMAND = "kinetics-pipeline build x.csv --output o"


def test_a_finding_about_the_network_is_one_line_for_all_its_clips() -> None:
    reasons = {("no_format", NETWORK_RULES): 38, ("no_format", f"{NETWORK_RULES}; {UNAVAILABLE}"): 2, ("gone", "x"): 9}
    (finding,) = [line for line in advice(reasons, COMMAND) if "restricts YouTube" in line]
    assert finding.startswith("40 clips")
    assert finding.endswith(f"{COMMAND} --retry no_format")
    (country,) = advice({("geo_blocked", COUNTRY): 1}, COMMAND)
    assert country.startswith("1 clip:")
    assert country.endswith("--retry geo_blocked")


def test_doubtful_failures_are_counted_with_what_to_do() -> None:
    reasons = {("no_format", UNAVAILABLE): 3, ("internal", "?"): 2, ("no_format", PREMIERE): 5, ("private", "y"): 1}
    (line,) = advice(reasons, COMMAND)
    assert line.startswith("5 clips in doubt")
    assert line.endswith(f"{COMMAND} --retry internal,no_format")
    assert not is_in_doubt("no_format", PREMIERE)
    assert not is_in_doubt("gone", "unavailable")


def test_what_an_earlier_version_called_gone_too_soon_is_said() -> None:
    assert EARLIER_GONE.isdisjoint(rule.detail for rule in YOUTUBE_CLEAR if rule.outcome == "gone")
    (line,) = advice({("gone", "unavailable"): 7, ("gone", "removed by the uploader"): 4}, COMMAND)
    assert line.startswith("7 clips recorded as gone")
    assert line.endswith(f"{COMMAND} --retry gone")
    assert advice({("gone", "removed by the uploader"): 4}, COMMAND) == []


def test_messages_are_read_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    log.write_text(
        "ERROR: [youtube] okokokokok1: Video unavailable. This content isn’t available.\n"
        "WARNING: [youtube] Unable to download API page: HTTP Error 429: Too Many Requests\n"
        "ERROR: [youtube] okokokokok1: No video formats found!\n"
        "\n"
        "ERROR: [youtube] okokokokok1: \x1b[31mThe moon of jane@example.org\n"
        "Video unavailable. This video is no longer available due to a copyright claim by Kessler Productions\n"
    )
    assert run(["tools", "refusals", str(log)]) == 0
    said = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line.split(":")[0] for line in said[1:8:2]] == [
        "throttled (pauses)",
        "throttled (pauses)",
        "internal (doubtful)",
        "gone",
    ]
    assert said[-1].startswith("1 on no list")
    assert not any("jane" in line or "\x1b" in line for line in said)


def test_a_file_of_messages_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tools", "refusals", str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
