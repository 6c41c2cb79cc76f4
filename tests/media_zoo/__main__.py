"""Prints the zoo's table: what of each file comes out right. `python -m tests.media_zoo [NAME...]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.media_zoo.checking import CHECKS, check
from tests.media_zoo.exporting import check_exports
from tests.media_zoo.files import ZOO


def main(names: list[str]) -> int:
    asked = [entry for entry in ZOO if not names or entry.name in names]
    with tempfile.TemporaryDirectory() as folder:
        found = [check(entry, Path(folder)) for entry in asked]
        check_exports(found, Path(folder))
    print("| file | kind | report | " + " | ".join(CHECKS) + " | outcome |")
    print("|---" * (len(CHECKS) + 4) + "|")
    for one in found:
        marks = [
            "" if value is None else "right" if value is True else "WRONG"
            for value in map(one.__getattribute__, CHECKS)
        ]
        print(f"| {one.entry.name} | {one.entry.kind} | {one.entry.report} | {' | '.join(marks)} | {one.outcome} |")
    wrong = [f"{one.entry.name}: {what}" for one in found for what in one.wrong()]
    refused = sum(one.entry.refused is not None for one in found)
    made = sum(not one.outcome.startswith("not made") for one in found)
    print(f"\n{len(found)} files, {made} made, {refused} of them to be refused; {len(wrong)} checks wrong")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
