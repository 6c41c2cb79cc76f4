"""`kinetics-pipeline`, also `python -m workflows`."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded; see `workflows.train.ray_workers`


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 finished; 1 failed; 2 bad input or usage; 3 work remains;
    130 interrupted. An error that a user can cause is one line on stderr."""
    try:
        from workflows.build.signals import let_signals_interrupt

        let_signals_interrupt()
        from workflows.cli import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"models", "workflows", "kinetics_pipeline"}:
            raise
        import workflows

        found = getattr(workflows, "__file__", None) or list(workflows.__path__)
        print(
            f"kinetics-pipeline: {error.name} is missing; is another package of that name in the way? "
            f"(workflows was found at {found})",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130
    return run(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
