"""`tools repair`: takes what `verify` names out of the committed set; the next build makes it again."""

from __future__ import annotations

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.repair import require_all_read, require_withdrawals, take_out
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.building.lease import Lease, is_current
from kinetics_pipeline.workflows.building.state import RUN
from kinetics_pipeline.workflows.datasets.status import look as status_of
from kinetics_pipeline.workflows.datasets.verify import look


def repair(uri: str, quick: bool) -> None:
    """Prints what is bad and what was done. Raises UserError where there is no dataset, or while it is being built;
    JobFailed for what cannot be repaired."""
    dataset = Dataset.open(uri)
    with Lease.acquire(dataset.store) as lease:
        findings = look(dataset, quick)
        done = take_out(dataset, findings, lambda: is_current(dataset.store, lease.generation))
        dataset.refresh_index()
    if done or not findings.faults:
        sound = counted(findings.shards, "shard is as it was", "shards are as they were")
        print("\n".join(done) if done else f"{sound} written: nothing to repair")
    if done and dataset.store.exists(RUN):
        print(f"next: {status_of(dataset)['next']}")
    require_all_read(findings, dataset.store.uri)
    require_withdrawals(findings, dataset.store.uri)
