"""`python -m workflows.benchmarks`: every benchmark that needs no GPU, one after the other."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = ("flow", "build", "acquire", "loader", "scale", "requests", "train", "features", "forecast")


def main() -> int:
    """The first exit code that is not 0, after all have run."""
    codes = []
    for name in BENCHMARKS:
        print(f"== {name}", flush=True)
        codes.append(
            subprocess.run(
                [sys.executable, "-m", f"kinetics_pipeline.workflows.benchmarks.{name}"], check=False
            ).returncode
        )
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
