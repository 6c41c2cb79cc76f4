"""Measurements, one module each: `python -m workflows.benchmarks.NAME`; without a NAME, all that need no GPU.

In: nothing, or media that you name. Out: a table on the terminal. No command depends on them. How fast: `build`,
`acquire`, `archives`, `flow`, `loader`, `train`, `requests`, `scale`, `gpu_speed`. Whether it is right: `chaos` (faults
against real builds), `autoscaling` (builds on a cluster that grows and shrinks), `races`, `simulate` (builds on a
simulated clock), `gpu_check`. The other modules make what these need. Begin reading with `build`.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the commands do (`workflows.__main__`), before torch is loaded
