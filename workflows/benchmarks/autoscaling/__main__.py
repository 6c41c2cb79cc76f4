"""Plays the rounds: `python -m workflows.benchmarks.autoscaling [--version 2]`. Exit 1 where one does not show what it
has to."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.benchmarks.autoscaling.cluster import autoscaled
from kinetics_pipeline.workflows.benchmarks.autoscaling.downloads import play_downloads
from kinetics_pipeline.workflows.benchmarks.autoscaling.rounds import IDLE_SECONDS, KINDS, ROUNDS, Ground, make_ground


def main(words: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="autoscaling", description=__doc__)
    parser.add_argument("--version", type=int, choices=[1, 2], default=1, help="of Ray's autoscaler (default 1)")
    parser.add_argument("--round", type=int, action="append", help="plays this round only, from 1; repeatable")
    parser.add_argument("--hold", action="store_true", help="beside the rounds named: a node is held")
    parser.add_argument(
        "--downloads", action="store_true", help="beside the rounds named: downloads wait on idle nodes"
    )
    parser.add_argument("--folder", type=Path, help="for datasets, and left there, so that rounds can be played singly")
    parser.add_argument("--log", type=Path, help="where the autoscaler's whole log is put")
    asked = parser.parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the cluster ends, too
    alone = bool(asked.round or asked.hold or asked.downloads)
    rounds = [ROUNDS[number - 1] for number in asked.round or ()] if alone else ROUNDS
    with (
        tempfile.TemporaryDirectory() as folder,
        autoscaled(KINDS, idle_seconds=IDLE_SECONDS, version=asked.version) as cluster,
    ):
        ground = make_ground(cluster, asked.folder or Path(folder))
        try:
            for one in rounds:
                ground.play(one)
            if asked.downloads or not alone:
                play_downloads(ground)
            if asked.hold or not alone:
                ground.play_hold()
        finally:
            print("\n== what the autoscaler wrote", *cluster.log(), sep="\n", flush=True)
            if asked.log is not None:
                asked.log.write_text(cluster.whole_log())
            _show(ground, asked.version)
    return 1 if ground.faults else 0


def _show(ground: Ground, version: int) -> None:
    """The table of all rounds, and what was not as expected."""
    table = Table("round", "first node, s", "nodes at most", "exit", "shown", "")
    for one in ground.shown:
        first = "" if one.first_node is None else f"{one.first_node:.0f}"
        judged = "as expected" if not one.faults else counted(one.faults, "fault")
        table.add_row(one.title, first, one.most, one.code, one.told, judged)
    Console(width=160).print(table)
    print(f"Ray's autoscaler, version {version}; a node without work is taken after {IDLE_SECONDS:.0f} s")
    print("\n".join(ground.faults or ["all rounds as expected"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
