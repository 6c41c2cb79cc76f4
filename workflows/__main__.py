"""`kinetics-pipeline`; in a checkout also `python -m workflows`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded; see `workflows.training.ray_workers`


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 finished; 1 failed; 2 bad input or usage; 3 work remains;
    130 interrupted. An error that a user can cause is one line on stderr."""
    if (problem := _broken_links()) is not None:
        print(f"kinetics-pipeline: {problem}", file=sys.stderr)
        return 2
    try:
        from kinetics_pipeline.workflows.runtime.signals import let_signals_interrupt

        let_signals_interrupt()
        from kinetics_pipeline.workflows.cli.app import run
    except KeyboardInterrupt:
        return 130
    return run(sys.argv[1:] if arguments is None else arguments)


def _broken_links() -> str | None:
    """What to do where git wrote files for the links of `kinetics_pipeline`, as it does on Windows by default."""
    package = Path(__file__).parent.parent / "kinetics_pipeline"
    if not any((package / name).is_file() for name in ("models", "workflows")):
        return None
    return (
        f"the links {package / 'models'} and workflows are files; allow links and check them out again: "
        "git config core.symlinks true && git checkout -- kinetics_pipeline"
    )


if __name__ == "__main__":
    sys.exit(main())
