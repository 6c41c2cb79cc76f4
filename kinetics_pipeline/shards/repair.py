"""Takes what `verification` names out of the committed set, so that the next build makes it again."""

from __future__ import annotations

import pyarrow as pa

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.plan import SCHEMA, Plan
from kinetics_pipeline.shards.catalogue import Dataset, plan_name
from kinetics_pipeline.shards.markers import NEXT
from kinetics_pipeline.shards.verification import Findings
from kinetics_pipeline.shards.writer import data_name, marker_name


def take_out(dataset: Dataset, findings: Findings) -> list[str]:
    """What was done, a line each. Only for who holds the lease.

    The marker of a bad shard goes first, then its data: killed in between, the shard is one that was never finished. A
    plan that is damaged or missing is written anew from its good shards; clips it had besides are planned again.
    """
    done = []
    for shard in findings.bad_shards():
        dataset.store.delete(marker_name(shard))
        for stem in (shard, shard + NEXT):
            dataset.store.delete(data_name(stem, dataset.recipe.layout))
        done.append(f"shard {shard} is taken out")
    for fault in findings.faults:
        if fault.shard is None and fault.file.startswith("plans/"):
            number = int(fault.file.removeprefix("plans/").removesuffix(".parquet"))
            plan = _from_markers(dataset, number)
            if len(plan):
                dataset.store.write(fault.file, plan.to_parquet_bytes())
                done.append(f"plan {plan_name(number)} is written anew from {len(plan.shard_names())} committed shards")
            else:
                dataset.store.delete(fault.file)
                done.append(f"plan {plan_name(number)} is removed: no committed shard is of it")
    return done


def _from_markers(dataset: Dataset, number: int) -> Plan:
    rows: list[dict[str, object]] = []
    for marker in dataset.markers():
        if marker.plan == number:
            rows += [
                {
                    "position": len(rows) + place,
                    **{name: entry[name] for name in ("clip_id", "video_id", "time_start", "time_end", "label")},
                    "split": marker.split,
                    "path": None,
                    "source": "network" if entry["requests"] else "local",
                    "shard": marker.shard,
                }
                for place, entry in enumerate(marker.clips)
            ]
    return Plan(pa.Table.from_pylist(rows, schema=SCHEMA))


def require_nothing_left(findings: Findings, uri: str) -> None:
    """Raises JobFailed, one line, when something is bad."""
    if findings.faults:
        shards, clips = findings.bad_shards(), _bad_clips(findings)
        plans = sum(fault.shard is None for fault in findings.faults)
        what = [f"{len(shards)} of {findings.shards} shards are bad"] if shards else []
        what += [f"{clips} clips are named"] if clips else []
        what += [f"{plans} plans are bad"] if plans else []
        raise JobFailed(
            f"{uri}: {', '.join(what)}; `kinetics-pipeline tools repair {uri}` takes them out, "
            "and the next build makes them again"
        )


def _bad_clips(findings: Findings) -> int:
    return len({(fault.shard, fault.clip_id) for fault in findings.faults if fault.clip_id is not None})
