"""What a build did and what its dataset now holds: printed by the command, returned by the call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from kinetics_pipeline.redaction import counted, html_table
from kinetics_pipeline.workflows.runtime.progress import duration, size


@dataclass(frozen=True)
class BuildResult:
    """A build that is finished: every clip that was asked has an outcome."""

    dataset: str
    """Its place."""
    made: Mapping[str, int]
    """Clips by outcome that this run made; empty where nothing was to do."""
    ok: int
    """Clips of the dataset that are there."""
    failed: Mapping[str, int]
    """The other clips of the dataset, by outcome."""
    shards: int
    bytes: int
    seconds: float
    """How long this run took."""
    stages: Mapping[str, float]
    """Seconds that the stages of this run took, over all cores."""
    traffic: str
    """What was fetched from the network, in words; empty for nothing."""
    advice: tuple[str, ...]
    """What the failures say together, and what to do."""

    def _rows(self) -> list[tuple[str, str, str]]:
        counts = {"ok": self.ok, **self.failed}
        return [(outcome, str(self.made.get(outcome, 0)), str(total)) for outcome, total in counts.items()]

    def _lines(self) -> list[str]:
        lines = ["nothing to do: every clip asked has an outcome"]
        if made := sum(self.made.values()):
            spent = sorted(self.stages.items(), key=lambda item: -item[1])
            lines = [
                f"{counted(made, 'clip')} in {duration(self.seconds)} ({made / self.seconds:.2f}/s)",
                "seconds by stage: " + ", ".join(f"{stage} {value:.1f}" for stage, value in spent),
            ]
        lines += [self.traffic] if self.traffic else []
        return [*lines, f"{counted(self.shards, 'shard')}, {size(self.bytes)} in {self.dataset}"]

    def print(self) -> None:
        """Prints the outcomes of this run and of the dataset, the seconds, and what to do."""
        console = Console(highlight=False)
        table = Table("outcome", "this run", "dataset", box=None, pad_edge=False)
        for row in self._rows():
            table.add_row(*row)
        console.print(table)
        for line in [*self._lines(), *self.advice]:
            console.print(line, soft_wrap=True, markup=False)

    def _repr_html_(self) -> str:
        rows = [*self._rows(), *([line] for line in [*self._lines(), *self.advice])]
        return html_table(f"build of {self.dataset}", rows, ("outcome", "this run", "dataset"))
