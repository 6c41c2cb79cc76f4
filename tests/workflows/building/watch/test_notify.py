"""`--notify`: the user's command gets the facts, and harms nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.workflows.building.watch.notify import AT_ONCE, Notifier
from kinetics_pipeline.workflows.building.watch.watcher import Watcher
from kinetics_pipeline.workflows.flags.build_flags import BuildConfig
from kinetics_pipeline.workflows.flags.record import as_record, command_line
from kinetics_pipeline.workflows.flags.values import words_of
from tests.builders.driven_builds import AtOnce


def test_the_facts_stand_in_the_environment_and_on_standard_input(tmp_path: Path) -> None:
    code = "import os, sys; open(sys.argv[1], 'w').write(os.environ['KINETICS_EVENT'] + sys.stdin.read())"
    said: list[str] = []
    notifier = Notifier([sys.executable, "-c", code, str(tmp_path / "told")], said.append)
    notifier.tell("paused", {"lane": "a; touch x\0$(y)", "done": 3})
    notifier.end(60)
    told = (tmp_path / "told").read_text()
    assert told.startswith("paused")
    assert json.loads(told.removeprefix("paused")) == {"event": "paused", "lane": "a; touch x\0$(y)", "done": 3}
    assert said == []


def test_at_the_end_of_a_build_it_is_told_how_many_clips_are_done(tmp_path: Path) -> None:
    told: list[tuple[str, object, object]] = []

    class Recorded(Notifier):
        def tell(self, event: str, facts: Mapping[str, object]) -> None:
            told.append((event, facts["done"], facts["total"]))

    executor = AtOnce(tmp_path)
    with Watcher(open_store(str(tmp_path)), executor, notifier=Recorded([], told.append)) as watcher:  # type: ignore[arg-type]
        watcher.observer.begin("00000", "clips", 4, (), executor.now())
        watcher.observer.waited(4, executor.now())
        watcher.forget()
    assert told == [("ended", 4, 4)]


def test_a_command_that_hangs_fails_or_is_missing_is_told_in_a_line_and_harms_nothing() -> None:
    said: list[str] = []
    began = time.monotonic()
    for words in (["sleep", "600"], ["false"], ["/nowhere/command"]):
        notifier = Notifier(words, said.append, time_limit=0.3)
        notifier.tell("ended", {})
        notifier.end(60)
    assert time.monotonic() - began < 60
    assert [line.partition(" (")[0] for line in said] == [
        "--notify: sleep was ended after 0.3 s",
        "--notify: false ended with 1",
        "--notify: /nowhere/command could not be started: No such file or directory",
    ]


def is_at_work(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_command_that_hangs_does_not_outlive_the_build_nor_does_what_it_started(tmp_path: Path) -> None:
    said: list[str] = []
    hangs = f"sleep 600 & echo $! > {tmp_path}/$$.part; mv {tmp_path}/$$.part {tmp_path}/$$; wait"
    notifier = Notifier(["sh", "-c", hangs], said.append)
    for _ in range(AT_ONCE + 2):
        notifier.tell("paused", {})
    notifier.tell("ended", {})
    assert said == ["--notify: not run (paused), as 4 commands before it still run"] * 2
    while len(started := [file for file in tmp_path.iterdir() if not file.suffix]) < AT_ONCE + 1:
        time.sleep(0.01)
    notifier.end(0.0)
    assert not any(is_at_work(int(pid)) for file in started for pid in (file.name, file.read_text()))
    events = sorted(line.partition(" (")[2] for line in said[2:] if line.startswith("--notify: sh was ended after "))
    assert events == ["ended)"] + ["paused)"] * AT_ONCE


def test_no_shell_reads_the_command_and_no_record_keeps_it() -> None:
    assert words_of("curl -d 'a b' https://host/TOKEN; rm x") == ["curl", "-d", "a b", "https://host/TOKEN;", "rm", "x"]
    for wrong in ("", "  ", "'open"):
        with pytest.raises(UserError, match="--notify"):
            words_of(wrong)
    config = BuildConfig(output="data", notify="curl https://host/TOKEN")
    assert "TOKEN" not in json.dumps(as_record(config)) + command_line("build", ["a.csv"], config)
