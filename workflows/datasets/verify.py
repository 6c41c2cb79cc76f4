"""`verify`: holds everything committed against what was written, and names what is not so."""

from __future__ import annotations

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.repair import require_nothing_left
from kinetics_pipeline.dataset.verify import Findings
from kinetics_pipeline.dataset.verify import verify as findings_of
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.runtime.progress import Meter, size


def verify(uri: str, quick: bool) -> None:
    """Prints a line for each fault. Raises JobFailed when there is one, UserError where there is no dataset."""
    dataset = Dataset.open(uri)
    findings = look(dataset, quick)
    require_nothing_left(findings, dataset.store.uri)
    how = "markers and sizes" if quick else "every byte"
    print(
        f"{how} of {counted(findings.shards, 'shard')}, {counted(findings.clips, 'clip')}, "
        f"{size(findings.bytes)}: as they were written"
    )
    if findings.pending:
        pending = counted(len(findings.pending), "planned shard is", "planned shards are")
        print(f"{pending} not committed yet: build goes on")


def look(dataset: Dataset, quick: bool) -> Findings:
    """The findings, each fault printed on stdout."""
    with Meter(len(dataset.marker_names()), "shards") as meter:
        findings = findings_of(dataset, quick=quick, on_shard=meter.at)
    for fault in findings.faults:
        print(fault)
    return findings
