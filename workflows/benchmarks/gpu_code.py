"""What the CUDA kernels of flow compile to, for every GPU they are meant for, on a machine without one.

    python -m workflows.benchmarks.gpu_code [--write]

Each kernel is compiled with the arguments that the solver launches it with. Registers, spilled bytes and shared memory
are read from the machine code; the programs that fit an SM follow from them. `gpu_code.json` keeps these for the Triton
of constraints.txt, and a test holds the code to it. `--write` replaces it.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kinetics_pipeline.flow import TVL1
from kinetics_pipeline.flow.cuda import kernels, solver
from kinetics_pipeline.flow.cuda.tiling import TILINGS, Tiling

KEPT = Path(__file__).with_name("gpu_code.json")
NAMES = ("warp", "iterate", "median", "take_filtered", "list_live")
REGISTERS = 65_536
"""32-bit registers of an SM, which warps take 256 at a time."""
RESERVED = 1024
"""Bytes of shared memory that a program takes of its own accord from compute capability 8.0 on."""


@dataclass(frozen=True)
class Multiprocessor:
    """What an SM holds at most (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability")."""

    warps: int
    programs: int
    shared: int


MULTIPROCESSORS = {
    (8, 0): Multiprocessor(64, 32, 164 * 1024),
    (8, 6): Multiprocessor(48, 16, 100 * 1024),
    (8, 9): Multiprocessor(48, 24, 100 * 1024),
    (9, 0): Multiprocessor(64, 32, 228 * 1024),
    (10, 0): Multiprocessor(64, 32, 228 * 1024),
    (12, 0): Multiprocessor(48, 24, 100 * 1024),
}


@dataclass(frozen=True)
class Code:
    """A compiled kernel: 32-bit registers a thread, bytes spilled a thread, bytes of shared memory, warps a program,
    and how many programs an SM holds."""

    registers: int
    spilled: int
    shared: int
    warps: int
    programs: int


@dataclass(frozen=True)
class Launch:
    """A kernel as the solver launches it: its name, its arguments, and the constants and options."""

    name: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    @property
    def title(self) -> str:
        return f"{self.name} {self.keywords['side']}x{self.keywords['side']}" if "side" in self.keywords else self.name


def launches(tiling: Tiling) -> list[Launch]:
    """One of each form that the solver uses, seen while it solves a pair with kernels that do nothing."""
    seen: dict[str, Launch] = {}

    class Recorder:
        def __init__(self, name: str) -> None:
            self.name = name

        def __getitem__(self, grid: object) -> Callable[..., None]:
            def launch(*arguments: Any, **keywords: Any) -> None:
                found = Launch(self.name, arguments, keywords)
                seen.setdefault(found.title, found)

            return launch

    frames, first_frames = torch.zeros(2, 16, 40, dtype=torch.uint8), torch.zeros(1, dtype=torch.int32)
    recorders: dict[str, Any] = {name: Recorder(name) for name in NAMES}
    with mock.patch.multiple(kernels, **recorders):
        for side in (5, 3):
            parameters = TVL1.named(medianFiltering=side, nscales=1, warps=1)
            solver.solve(frames, first_frames, parameters, tiling=tiling)
    return list(seen.values())


def compiled(launch: Launch, capability: tuple[int, int]) -> Code:
    """Compiles a kernel for GPUs of a compute capability, of which none need be here."""
    kernel = getattr(kernels, launch.name)
    options = {name: value for name, value in launch.keywords.items() if name not in kernel.arg_names}
    constants = {name: value for name, value in launch.keywords.items() if name in kernel.arg_names}
    values = dict(zip(kernel.arg_names, launch.arguments, strict=False))
    signature = {name: "constexpr" if name in constants else _kind(values[name]) for name in kernel.arg_names}
    # As at a launch: torch's memory is aligned, and sizes are left open (`kernels.SIZES`).
    aligned = {(place,): [["tt.divisibility", 16]] for place, kind in enumerate(signature.values()) if kind[0] == "*"}
    major, minor = capability
    source = ASTSource(kernel, signature, constants, aligned)
    found = triton.compile(source, target=GPUTarget("cuda", 10 * major + minor, 32), options=options)
    registers, spilled = _resources(found.asm["cubin"])
    return fitted(registers, spilled, found.metadata.shared, options.get("num_warps", 4), capability)


def fitted(registers: int, spilled: int, shared: int, warps: int, capability: tuple[int, int]) -> Code:
    """Adds the number of programs that fit an SM."""
    limits = MULTIPROCESSORS[capability]
    of_registers = REGISTERS // (-(-registers * 32 // 256) * 256) // warps
    programs = min(limits.programs, limits.warps // warps, limits.shared // (shared + RESERVED), of_registers)
    return Code(registers, spilled, shared, warps, programs)


def _kind(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return {torch.float32: "*fp32", torch.int32: "*i32", torch.int64: "*i64"}[value.dtype]
    return "i32" if isinstance(value, int) else "fp32"


def _resources(cubin: bytes) -> tuple[int, int]:
    """Registers and spilled bytes of a thread, as the CUDA toolkit's `cuobjdump`, which Triton brings, reads them."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    usage = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", text)
    if usage is None:
        raise RuntimeError(f"cuobjdump says nothing of registers: {text!r}")
    registers, stack, local = map(int, usage.groups())
    return registers, stack + local


def table(capabilities: tuple[tuple[int, int], ...] = tuple(MULTIPROCESSORS)) -> Iterator[tuple[str, str, Code]]:
    """Kernel, compute capability ("9.0") and code, with each capability's own tiling."""
    for capability in capabilities:
        for launch in launches(TILINGS[capability]):
            yield launch.title, ".".join(map(str, capability)), compiled(launch, capability)


def main(*, write: bool = False) -> None:
    """Compiles every kernel for every GPU and prints what came out. write: keep it as what tests compare with."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    print(f"Triton {triton.__version__}: registers / spilled bytes / shared bytes, programs and warps an SM")
    for name, capability, code in table():
        found.setdefault(name, {})[capability] = asdict(code)
        print(
            f"{name:14} {capability:>5}: {code.registers:3} / {code.spilled} / {code.shared:4}, "
            f"{code.programs:2} programs, {code.programs * code.warps:2} of "
            f"{MULTIPROCESSORS[tuple(map(int, capability.split('.')))].warps} warps",  # type: ignore[index]
            flush=True,
        )
    if write:
        KEPT.write_text(json.dumps({"triton": triton.__version__, "kernels": found}, indent=1) + "\n")


if __name__ == "__main__":
    import cyclopts

    cyclopts.run(main)
