"""`kinetics-pipeline`; in a checkout also `python -m workflows`."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded; see `workflows.training.ray_workers`


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 finished; 1 failed; 2 bad input or usage; 3 work remains;
    130 interrupted. An error that a user can cause is one line on stderr."""
    try:
        from kinetics_pipeline.workflows.runtime.signals import let_signals_interrupt

        let_signals_interrupt()
        from kinetics_pipeline.workflows.cli.app import run
    except KeyboardInterrupt:
        return 130
    return run(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
