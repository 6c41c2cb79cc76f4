"""`tools repair`: takes what `verify` names out of the committed set; the next build makes it again."""

from __future__ import annotations

from kinetics_pipeline.shards.catalogue import Dataset
from kinetics_pipeline.shards.repair import take_out
from workflows.build.job import RUN
from workflows.build.lease import Lease
from workflows.status import look as status_of
from workflows.verify import look


def repair(uri: str, quick: bool) -> None:
    """Prints what is bad and what was done. Raises UserError where there is no dataset, or while it is being built."""
    dataset = Dataset.open(uri)
    with Lease.acquire(dataset.store):
        findings = look(dataset, quick)
        done = take_out(dataset, findings)
    print("\n".join(done) if done else f"{findings.shards} shards are as they were written: nothing to repair")
    if done and dataset.store.exists(RUN):
        print(f"next: {status_of(dataset)['next']}")
