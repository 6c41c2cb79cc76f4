"""A build with a lease whose times are a tenth, and that can be killed at one of its writes.

    python -m kinetics_pipeline.workflows.benchmarks.chaos.quick_build WRITE build ...
    python -m kinetics_pipeline.workflows.benchmarks.chaos.quick_build WRITE inline PLACE CACHE ANNOTATIONS VIDEOS

The first is the command, on Ray; the second needs none.
"""

from __future__ import annotations

import sys

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.workflows.benchmarks.chaos.inline import InlineBuild
from kinetics_pipeline.workflows.benchmarks.chaos.writers import WriteCount
from kinetics_pipeline.workflows.building import lease
from kinetics_pipeline.workflows.cli.app import run

RENEW_EVERY, DEAD_AFTER, LOOK_EVERY = 1.0, 6.0, 0.25


def main(die_at: int, words: list[str]) -> int:
    """`die_at`: the number of the write at which it is killed; 0 for never."""
    lease.RENEW_EVERY, lease.DEAD_AFTER, lease.LOOK_EVERY = RENEW_EVERY, DEAD_AFTER, LOOK_EVERY
    if die_at:
        WriteCount(die_at).begin()
    if words[0] == "build":
        return run(words) or 0
    try:
        InlineBuild(words[1], words[2], words[3], words[4]).run()
    except UserError as error:
        print(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
