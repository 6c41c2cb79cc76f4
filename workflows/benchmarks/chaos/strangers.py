"""Rounds in which each command opens a dataset that a stranger has written: it does no harm, and says what is wrong.

What a stranger writes are values in the places of ours: in documents whose digests belong to them, in plans and data
files, as links, as whole files of other kinds.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kinetics_pipeline.shards.markers import sealed
from kinetics_pipeline.storage.digest import with_digest
from kinetics_pipeline.workflows.benchmarks.chaos.guarded import Said, guard
from kinetics_pipeline.workflows.benchmarks.chaos.inline import InlineBuild
from kinetics_pipeline.workflows.benchmarks.chaos.rounds import Play, Round
from kinetics_pipeline.workflows.benchmarks.chaos.writers import writers

DATASETS = 4
"""Hostile datasets a round."""
CHANGES = 3
"""Changes that a hostile dataset has at most."""
ODD = "\x1b]0;owned\x07\x1b[2J\u202egnp.\u2066x\u2069\r\n\x9b1m"


class _Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


def _values(outside: Path) -> list[Any]:
    return [
        *("../../outside/mine", str(outside / "mine"), "/etc/passwd", f"file://{outside}/mine", "s3://127.0.0.1:9/x"),
        *("http://127.0.0.1:9/x", f"$(touch {outside}/made)", f"`touch {outside}/made`", "; rm -rf ~", ODD, "\x00", ""),
        *("a/b", "..", "train-00000/../../x", "%s%n", "{0.__class__}", "A" * 100_000, "\ud800", "<script>x</script>"),
        *(10**400, -1, 2**63, 1e308, float("nan"), float("inf"), True, None, [], {}, [[]] * 1000, {"a": {"b": {}}}),
    ]


def _leaves(document: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in a JSON document: what holds it, and its key."""
    entries = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(entries):
        yield document, key
        if isinstance(value, dict | list):
            yield from _leaves(value)


def _changed_document(path: Path, random: Random, outside: Path) -> str:
    document = json.loads(path.read_bytes())
    document.pop("digest", None)
    holder, key = random.choice(list(_leaves(document)))
    value = random.choice(_values(outside))
    if random.random() < 0.2 and isinstance(holder, dict):
        holder[value if isinstance(value, str) else str(value)] = holder.pop(key)
    else:
        holder[key] = value
    text = json.dumps(document).encode()
    try:
        data = sealed(document) if random.random() < 0.8 else text
    except (UnicodeEncodeError, ValueError, OverflowError, RecursionError):
        data = text
    path.write_bytes(data)
    return f"{key} is {str(value)[:40]!a}"


def _changed_plan(path: Path, random: Random, outside: Path) -> str:
    table = pq.read_table(path)
    column = random.choice(table.column_names)
    kind = table.schema.field(column).type
    values = table[column].to_pylist()
    value = random.choice([v for v in _values(outside) if isinstance(v, str if pa.types.is_string(kind) else float)])
    values[random.randrange(len(values))] = (
        value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
    )
    try:
        changed = table.set_column(table.column_names.index(column), column, pa.array(values, kind))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        changed = table.drop_columns([column])
    metadata = {**(table.schema.metadata or {}), b"pandas": b"\x80\x04x", b"ARROW:schema": b"////"}
    out = io.BytesIO()
    pq.write_table(changed.replace_schema_metadata(metadata), out)
    data = out.getvalue()
    path.write_bytes(data)
    copy = path.parents[1] / "state" / "plans" / path.stem
    if copy.exists() and random.random() < 0.7:
        copy.write_bytes(with_digest(data))
    return f"{column} is {str(value)[:40]!a}"


def _whole_file(path: Path, random: Random, outside: Path) -> str:
    wholes: dict[str, bytes] = {
        "a pickle": pickle.dumps(_Bomb(outside / "made")),
        "brackets": b"[" * 200_000,
        "braces": b'{"a":' * 100_000,
        "nothing": b"",
        "no text": bytes(range(256)) * 10,
        "half": path.read_bytes()[: path.stat().st_size // 2],
        "a number": b"1" * 5000,
        "zeros": bytes(1 << 20),
    }
    name, data = random.choice(list(wholes.items()))
    path.write_bytes(data)
    return f"is {name}"


def _link(path: Path, random: Random, outside: Path) -> str:
    victim = path if path.parent.name == "dataset" or random.random() < 0.6 else path.parent
    if victim.is_dir():
        shutil.rmtree(victim)
        victim.symlink_to(outside)
    else:
        victim.unlink()
        victim.symlink_to(outside / "mine")
    return "is a link"


def _flipped(path: Path, random: Random, outside: Path) -> str:
    data = bytearray(path.read_bytes())
    for _ in range(random.randint(1, 20)):
        if data:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    path.write_bytes(data)
    return "has other bits"


def _change(dataset: Path, random: Random, outside: Path) -> str:
    files = sorted(path for path in dataset.rglob("*") if path.is_file() and not path.is_symlink())
    if not files:
        return "nothing is left to change"
    path = random.choice(files)
    ways: list[Callable[[Path, Random, Path], str]] = [_whole_file, _link, _flipped]
    if path.suffix == ".json":
        ways = [*ways, *[_changed_document] * 7]
    elif path.parent.name == "plans" and path.suffix == ".parquet":
        ways = [*ways, *[_changed_plan] * 7]
    try:
        return f"{path.relative_to(dataset)} {random.choice(ways)(path, random, outside)}"
    except (ValueError, KeyError, IndexError, RecursionError, AttributeError, pa.ArrowException):
        return f"{path.relative_to(dataset)} {_whole_file(path, random, outside)}"  # it was changed before


def _commands(dataset: Path, folder: Path, build: InlineBuild) -> list[list[str]]:
    ids = folder / "ids"
    ids.write_text("chaos000000_000000_000001\n")
    place = str(dataset)
    return [
        ["status", place],
        ["status", place, "--json"],
        ["status", place, "--clip", "chaos000000_000000_000001"],
        ["verify", place],
        ["report", place],
        ["report", place, "--html", str(folder / "report.html")],
        ["compare", place, place],
        ["tools", "inspect", place],
        ["tools", "export", place, "--format", "frames", "--to", str(folder / "exported")],
        ["tools", "forget", place, "--ids", str(ids), "--reason", "asked for"],
        ["tools", "repair", place],
        ["inline-build", place, str(folder / "cache"), build.annotations, build.videos],
        ["verify", place],
    ]


def _tree(folder: Path) -> str:
    """A digest of all names and bytes."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


def _complaints(said: Said) -> list[str]:
    found = list(said.harm[:3])
    if said.code not in (0, 1, 2, 3):
        found.append(f"it ended with {said.code}: {said.text[-1500:]}")
    if "Traceback" in said.text:
        found.append(f"a traceback: {said.text[-1500:]}")
    bad = {letter for letter in said.text if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp")} - {"\n", "\r"}
    if bad:
        found.append(f"it said {bad} in {said.text[-300:]!a}")
    return found


def hostile_dataset(one: Round) -> None:
    """Each command on each of some datasets."""
    ground = one.ground
    outside = one.folder / "outside"
    outside.mkdir()
    (outside / "mine").write_bytes(b"mine")
    with writers(ground.variables) as ones, guard(ground.variables) as guarded:
        whole = InlineBuild(
            str(one.folder / "made"), str(one.folder / "cache"), str(ground.annotations), str(ground.videos), 4
        )
        assert not ones.build(whole).problem
        before = _tree(outside)
        for number in range(DATASETS):
            folder = one.folder / f"stranger-{number}"
            dataset = Path(shutil.copytree(whole.place, folder / "dataset"))
            told = [_change(dataset, one.random, outside) for _ in range(one.random.randint(1, CHANGES))]
            one.injected += len(told)
            for words in _commands(dataset, folder, whole):
                said = guarded.run(words, [folder])
                complaints = _complaints(said)
                if _tree(outside) != before:
                    complaints.append("a file outside was changed")
                    before = _tree(outside)
                if complaints:
                    one.told.append(f"dataset {number}: {'; '.join(told)}")
                for complaint in complaints:
                    one.wrong(f"{' '.join(words[:2])}: {complaint}")


FAULTS: dict[str, Play] = {"hostile dataset": hostile_dataset}
