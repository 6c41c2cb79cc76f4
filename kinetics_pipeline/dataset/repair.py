"""Takes what `verification` names out of the committed set, so that the next build makes it again."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from kinetics_pipeline.dataset.dataset import TOMBSTONES, Dataset
from kinetics_pipeline.dataset.plan_files import PLAN, PLAN_COPY, plan_copy, plan_file, plan_name
from kinetics_pipeline.dataset.verify import Findings
from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.plan import LOCAL, NETWORK, SCHEMA, Plan, source_of_group
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.shards.markers import Marker, marker_name, shard_of
from kinetics_pipeline.shards.writer import Superseded
from kinetics_pipeline.storage.digest import with_digest
from kinetics_pipeline.storage.store import StoreFailed


def take_out(dataset: Dataset, findings: Findings, still_current: Callable[[], bool] = lambda: True) -> list[str]:
    """What was done, a line each. Only for the holder of the lease.

    The marker of a bad shard goes first, then its data: killed in between, the shard is one that was never finished. A
    plan that is damaged or missing is restored from its copy. A plan of an older dataset is written again
    from its good shards: without the files, lists and actions that annotations named, and clips it had besides are
    planned again. A withdrawal cannot be mended: only who withdrew knows what it said. What could not be read is left.
    """
    done = []
    data_files = defaultdict(list)
    for name, _ in dataset.store.list("shards"):
        if not name.endswith(".json"):
            data_files[shard_of(name.removeprefix("shards/").rpartition(".")[0])].append(name)
    for shard in findings.bad_shards():
        if not still_current():
            raise Superseded("nothing more is taken out: another command has taken over this dataset")
        dataset.store.delete(marker_name(shard))
        for name in data_files[shard]:
            dataset.store.delete(name)
        done.append(f"shard {shard} is taken out")
    bad = sorted({int(match[1]) for fault in findings.faults if (match := PLAN.fullmatch(fault.file))})
    done += [_mend_plan(dataset, number) for number in bad]
    for number in sorted({int(match[1]) for fault in findings.faults if (match := PLAN_COPY.fullmatch(fault.file))}):
        if number not in bad:
            dataset.store.write(plan_copy(number), with_digest(dataset.store.read(plan_file(number))))
            done.append(f"the copy of plan {plan_name(number)} is written again")
    return done


def _mend_plan(dataset: Dataset, number: int) -> str:
    try:
        written = dataset.plan_as_written(number)
    except StoreFailed:
        raise
    except JobFailed:
        written = None  # a damaged copy is none
    if written is not None:
        dataset.store.write(plan_file(number), written)
        return f"plan {plan_name(number)} is restored"
    plan = _from_markers(dataset, number)
    if not len(plan):
        dataset.store.delete(plan_file(number))
        dataset.store.delete(plan_copy(number))
        return f"plan {plan_name(number)} is removed: no committed shard is of it"
    data = plan.to_parquet_bytes()
    dataset.store.write(plan_file(number), data)
    dataset.store.write(plan_copy(number), with_digest(data))
    return f"plan {plan_name(number)} is written again from {counted(len(plan.shard_names()), 'committed shard')}"


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
                    "source": _source(marker, entry),
                    "shard": marker.shard,
                }
                for place, entry in enumerate(marker.clips)
            ]
    return Plan(pa.Table.from_pylist(rows, schema=SCHEMA))


def _source(marker: Marker, entry: Mapping[str, Any]) -> str:
    if marker.archive_group is not None:
        return source_of_group(marker.archive_group)
    return NETWORK if entry["requests"] else LOCAL


def require_nothing_left(findings: Findings, uri: str) -> None:
    """Raises JobFailed, one line, when something is bad."""
    shards, clips = findings.bad_shards(), _bad_clips(findings)
    plans = {fault.file for fault in findings.faults if fault.file.startswith(("plans/", "state/plans/"))}
    what = [f"{len(shards)} of {findings.shards} shards are bad"] if shards else []
    what += [f"{counted(clips, 'clip is', 'clips are')} named"] if clips else []
    what += [f"{counted(len(plans), 'plan is', 'plans are')} bad"] if plans else []
    if what:
        raise JobFailed(
            f"{uri}: {', '.join(what)}; `kinetics-pipeline tools repair {shlex.quote(uri)}` takes them out, "
            "and the next build makes them again"
        )
    require_all_read(findings, uri)
    require_withdrawals(findings, uri)


def require_all_read(findings: Findings, uri: str) -> None:
    """Raises JobFailed, one line, when it is not known of a file what it holds."""
    if unread := sorted({fault.file for fault in findings.faults if fault.unread}):
        one = f"file, {unread[0]}, could not be read and is left as it is"
        several = f"files, as {unread[0]}, could not be read and are left as they are"
        raise JobFailed(f"{uri}: {counted(len(unread), one, several)}")


def require_withdrawals(findings: Findings, uri: str) -> None:
    """Raises JobFailed, one line, when one is damaged or missing."""
    if bad := [fault.file for fault in findings.faults if fault.file.startswith(TOMBSTONES)]:
        raise JobFailed(
            f"{uri}: {counted(len(bad), 'withdrawal is', 'withdrawals are')} bad; "
            f"restore {bad[0]} from a copy: nothing else has it"
        )


def _bad_clips(findings: Findings) -> int:
    return len({(fault.shard, fault.clip_id) for fault in findings.faults if fault.clip_id is not None})
