"""Plays the rounds: `python -m workflows.benchmarks.autoscaling [--version 2]`. Exit 1 where one does not show what it
has to."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from kinetics_pipeline.workflows.benchmarks.autoscaling.cluster import autoscaled
from kinetics_pipeline.workflows.benchmarks.autoscaling.rounds import IDLE_SECONDS, KINDS, ROUNDS, make_ground


def main(words: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="autoscaling", description=__doc__)
    parser.add_argument("--version", type=int, choices=[1, 2], default=1, help="of Ray's autoscaler (default 1)")
    parser.add_argument("--round", type=int, action="append", help="plays this round only, from 1; repeatable")
    parser.add_argument("--hold", action="store_true", help="beside the rounds named: a node is held")
    parser.add_argument("--log", type=Path, help="where the autoscaler's whole log is put")
    asked = parser.parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the cluster ends, too
    rounds = [ROUNDS[number - 1] for number in asked.round] if asked.round else ROUNDS
    with (
        tempfile.TemporaryDirectory() as folder,
        autoscaled(KINDS, idle_seconds=IDLE_SECONDS, version=asked.version) as cluster,
    ):
        ground = make_ground(cluster, Path(folder))
        try:
            for one in rounds:
                ground.play(one)
            if not asked.round or asked.hold:
                ground.play_hold()
        finally:
            print("\n== what the autoscaler wrote", *cluster.log(), sep="\n", flush=True)
            if asked.log is not None:
                asked.log.write_text(cluster.whole_log())
    print("\n" + "\n".join(ground.faults or ["all rounds as expected"]))
    return 1 if ground.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
