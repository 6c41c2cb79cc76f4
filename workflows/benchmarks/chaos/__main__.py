"""Plays rounds of faults against real builds, and tells what was lost.

    python -m workflows.benchmarks.chaos [--rounds 50] [--seed S] [--faults NAME ...] [--round K ...] [--without-ray]

The faults take turns. After each a build goes on to its end, and what it made is held against a build that nothing
disturbed: each clip asked has one outcome, no file is left over, the data files have the same bytes, `verify` finds
nothing. A round that fails is told with the command that plays it again. 1 where a round failed.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kinetics_pipeline.workflows.benchmarks.chaos import disturb, strangers, writes
from kinetics_pipeline.workflows.benchmarks.chaos.ground import ground, in_a_namespace
from kinetics_pipeline.workflows.benchmarks.chaos.inline import PLANTED
from kinetics_pipeline.workflows.benchmarks.chaos.rounds import Play, Played, play

FAULTS: dict[str, Play] = {**writes.FAULTS, **strangers.FAULTS, **disturb.FAULTS, **disturb.ON_A_CLUSTER}


def campaign(
    numbers: Iterable[int],
    seed: int,
    names: Sequence[str],
    *,
    on_ray: bool = False,
    planted: str = "",
    console: Console | None = None,
) -> list[Played]:
    """Plays the rounds of these numbers, in which the faults named take turns. `on_ray`: with the real command on a
    cluster, where a fault is one of a build; else with builds in a process each."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    faults = {name: FAULTS[name] for name in names}
    results = []
    with (
        tempfile.TemporaryDirectory(prefix="chaos") as folder,
        ground(Path(folder), seed, with_cluster=on_ray) as shared,
    ):
        for number in numbers:
            played = play(number, seed, faults, shared, planted)
            results.append(played)
            if console is not None:
                said = "; ".join(played.problems) or "well"
                console.print(f"round {number}: {played.fault}, {played.seconds:.1f} s: {said}", markup=False)
                if played.problems:
                    console.print("  " + "; ".join(played.told), markup=False)
    return results


def table(results: Sequence[Played]) -> Table:
    by_fault: dict[str, list[Played]] = defaultdict(list)
    for played in results:
        by_fault[played.fault].append(played)
    shown = Table("fault", "rounds", "faults", "lost", "doubled", "stray", "bytes equal", "longest", box=None)
    for fault, rounds in by_fault.items():
        verdicts = [verdict for played in rounds for verdict in played.verdicts]
        equal = sum(not any(v.differs or v.missing or v.wrong for v in played.verdicts) for played in rounds)
        shown.add_row(
            fault,
            str(len(rounds)),
            str(sum(played.injected for played in rounds)),
            str(sum(len(verdict.lost) for verdict in verdicts)),
            str(sum(len(verdict.doubled) for verdict in verdicts)),
            str(sum(len(verdict.stray) for verdict in verdicts)),
            f"{equal} of {len(rounds)}",
            f"{max(played.seconds for played in rounds):.1f} s",
        )
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="the number of the first round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--without-ray", action="store_true", help="only what needs no cluster, on local files")
    parser.add_argument("--round", type=int, nargs="+", help="these rounds alone")
    parser.add_argument("--planted", choices=PLANTED, default="", help="a fault of ours that must be found")
    asked = parser.parse_args()
    in_a_namespace()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    numbers = asked.round or range(asked.first, asked.first + asked.rounds)
    names = [name for name in asked.faults if not (asked.without_ray and name in disturb.ON_A_CLUSTER)]
    on_ray = not asked.without_ray and bool(set(names) & {*disturb.FAULTS, *disturb.ON_A_CLUSTER})
    results = campaign(numbers, asked.seed, names, on_ray=on_ray, planted=asked.planted, console=console)
    Console().print(table(results))
    failed = [played.number for played in results if played.problems]
    if failed:
        chosen = f" --faults {shlex.join(asked.faults)}" if asked.faults != list(FAULTS) else ""
        chosen += f" --planted '{asked.planted}'" if asked.planted else ""
        for number in failed:
            print(f"again: python -m workflows.benchmarks.chaos --seed {asked.seed} --round {number}{chosen}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
