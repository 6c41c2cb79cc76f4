"""What must hold after every change of the bucket, and at the end of every run."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.records import Clip
from kinetics_pipeline.shards.markers import is_sealed, parse_marker, shard_of
from kinetics_pipeline.sources.pace.retries import POLICY
from kinetics_pipeline.workflows.benchmarks.simulation.bucket import Bucket
from kinetics_pipeline.workflows.benchmarks.simulation.network import Truth
from kinetics_pipeline.workflows.benchmarks.simulation.tokens import token

_LASTING = re.compile(
    r"dataset\.json|plans/\d{5}\.parquet|shards/[^/]+|state/(dataset\.json|plans/\d{5}|withdrawn/\d{5}\.json"
    r"|lease/\d{8}\.json|markers-1\.arrow|egress\.json|attempts\.json|probe)"
)
"""What may be there when nothing is at work."""


class Violation(Exception):
    """An invariant does not hold."""


class Watcher:
    """Told of every change in the bucket; raises Violation through `fail`."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.trace = hashlib.sha256()
        """Hash of everything that changed, and when: two runs of one seed have the same."""
        self._created: Counter[str] = Counter()
        bucket.watch = self.changed

    def changed(self, name: str, before: bytes | None, after: bytes | None, careful: bool) -> None:
        there = b"" if after is None else hashlib.sha256(_undated(name, after)).digest()
        self.trace.update(f"{self.bucket.world.now:.6f} {name} ".encode() + there)
        was_changed = before is not None and after is not None and before != after
        if was_changed and name.startswith(("plans/", "state/lease/")):
            self._fail(f"{name} was overwritten")
        if name.startswith("plans/") and after is None:
            self._fail(f"{name} was removed")
        if name.startswith("shards/"):
            self._shard_changed(name, before, after, careful)

    def _shard_changed(self, name: str, before: bytes | None, after: bytes | None, careful: bool) -> None:
        if name.endswith(".json"):
            if after is None:
                self._fail(f"the marker {name} was removed")
                return
            if before is None:
                self._created[name] += 1
                if self._created[name] > 1:
                    self._fail(f"{name} was committed twice")
            elif not careful or not _is_withdrawal(json.loads(before), json.loads(after)):
                self._fail(f"the committed shard {name} was overwritten")
        shard = shard_of(name.removeprefix("shards/").rpartition(".")[0])
        marker = self.bucket.objects.get(f"shards/{shard}.json")
        if marker is not None:
            document = json.loads(marker.data)
            problem = _not_as_it_says(document, self.bucket)
            if problem:
                self._fail(problem)

    def _fail(self, problem: str) -> None:
        self.bucket.world.fail(Violation(f"at {self.bucket.world.now:.1f} s: {problem}"))


def _undated(name: str, data: bytes) -> bytes:
    """The data without what the real clock wrote."""
    if name.startswith("shards/") and name.endswith(".json"):
        document = json.loads(data)
        return json.dumps({k: v for k, v in document.items() if k not in ("created", "digest")}).encode()
    return b"" if name.startswith(("state/withdrawn/", "state/markers-")) else data


def _is_withdrawal(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a marker differs from an earlier one by withdrawn clips or its file's name alone, or by nothing."""
    old, new = ({entry["clip_id"]: entry["outcome"] for entry in one["clips"]} for one in (before, after))
    return old.keys() == new.keys() and all(new[clip] in (outcome, "withdrawn") for clip, outcome in old.items())


def _not_as_it_says(document: Mapping[str, Any], bucket: Bucket) -> str:
    """Empty where the data file that a marker names is there, and as the marker says."""
    if document["sha256"] is None:
        return ""
    name = f"shards/{document.get('file', document['shard'])}.parquet"
    data = bucket.objects.get(name)
    if data is None:
        return f"{document['shard']} is committed, and {name} is not there"
    if hashlib.sha256(data.data).hexdigest() != document["sha256"]:
        return f"{document['shard']} is committed, and {name} is not as its marker says"
    return ""


def check_end(
    dataset: Dataset,
    bucket: Bucket,
    asked: Mapping[str, Clip],
    truths: Mapping[str, Truth],
    own_failures: Mapping[str, int],
    withdrawn: Collection[str],
    charged: Collection[str],
) -> None:
    """Checks what is there after the last build ended with 0.

    `asked`: by clip_id. `withdrawn`: clips whose withdrawal was confirmed. `charged`: videos that may be charged with
    an outage.

    Raises Violation.
    """
    if stray := [name for name in bucket.objects if not _LASTING.fullmatch(name)]:
        raise Violation(f"{stray[0]} was left behind")
    *older, highest = bucket.under("state/lease")
    if stray := [name for name in older if name not in bucket.late]:  # late ones go with the next command's numbers
        raise Violation(f"{stray[0]} was left behind, though {highest} has followed")
    entries = _entries(bucket)
    known = dataset.withdrawn()
    if missing := sorted(asked.keys() - entries.keys() - known.keys()):
        raise Violation(f"{missing[0]} has no outcome, after a build that ended with 0")
    for clip_id, entry in entries.items():
        if entry["outcome"] == "network" and entry["video_id"] in charged:
            continue
        _check_outcome(entry, truths[entry["video_id"]], own_failures.get(entry["video_id"], 0), clip_id in known)
    for clip_id in withdrawn:
        if clip_id not in known:
            raise Violation(f"the withdrawal of {clip_id} was confirmed, and is lost")
        if clip_id in entries and entries[clip_id]["outcome"] != "withdrawn":
            raise Violation(f"{clip_id} was withdrawn, and is {entries[clip_id]['outcome']}")


def _entries(bucket: Bucket) -> dict[str, dict[str, Any]]:
    """The marker's entry of every clip. Raises Violation for a clip that has two, a file that is not as it has to be,
    and one that nobody knows."""
    entries: dict[str, dict[str, Any]] = {}
    expected_files = set()
    for name in bucket.under("shards"):
        if not name.endswith(".json"):
            continue
        data = bucket.objects[name].data
        if not is_sealed(data):
            raise Violation(f"{name} is damaged")
        marker = parse_marker(name, data)
        expected_files.add(name)
        tokens = b""
        for entry in marker.clips:
            if entry["clip_id"] in entries:
                raise Violation(f"{entry['clip_id']} is committed in two shards")
            entries[entry["clip_id"]] = entry
            if entry["outcome"] == "ok":
                tokens += token(entry["clip_id"])
        if marker.sha256 is not None:
            file = f"shards/{marker.shard}.parquet"
            expected_files.add(file)
            if bucket.objects[file].data != tokens:
                raise Violation(f"the bytes of {file} are not those of an undisturbed run")
    if stray := sorted(set(bucket.under("shards")) - expected_files):
        raise Violation(f"{stray[0]} was left behind")
    return entries


def _check_outcome(entry: Mapping[str, Any], truth: Truth, failures: int, is_withdrawn: bool) -> None:
    outcome, clip_id = entry["outcome"], entry["clip_id"]
    if is_withdrawn and outcome == "withdrawn":
        return
    right: dict[Truth, set[str]] = {
        "ok": {"ok"},
        "flaky": {"ok"},
        "gone": {"gone"},
        "private": {"private"},
        "decode": {"decode"},
        "broken": {"network"},
    }
    if outcome in right[truth]:
        if truth == "broken" and failures < POLICY["network"].attempts:
            raise Violation(f"{clip_id} is {outcome} after {failures} failures of its own")
        return
    raise Violation(f"{clip_id} is {outcome}, and its video is {truth} ({entry['detail']})")
