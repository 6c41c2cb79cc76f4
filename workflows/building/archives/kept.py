"""Archives that were fetched, kept in a folder or object store (`--keep-archives`): looked for there first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.storage.store import download


def kept_sizes(place: str, key: str, names: Sequence[str]) -> list[int] | None:
    """The bytes of each part of an archive that was kept; None where it was not, or not all of it."""
    there = dict(open_store(place).list(key))
    sizes = [there.get(_kept_name(key, name)) for name in names]
    found = [size for size in sizes if size]
    return found if len(found) == len(names) else None


def from_kept(place: str, key: str, parts: Sequence[Path], sizes: Sequence[int | None]) -> bool:
    """Takes an archive from where archives are kept to `parts`; whether it was there, in the sizes that it should have
    as far as they are known."""
    there = kept_sizes(place, key, [part.name for part in parts])
    if there is None or any(size not in (None, found) for size, found in zip(sizes, there, strict=True)):
        return False
    store = open_store(place)
    for part in parts:
        if not part.exists():
            part.parent.mkdir(parents=True, exist_ok=True)
            unfinished = part.with_name(f"{part.name}.kept")
            download(store, _kept_name(key, part.name), unfinished)
            unfinished.replace(part)
    return True


def keep(place: str, key: str, parts: Sequence[Path]) -> None:
    """Keeps an archive that was fetched, unless it is kept already."""
    store = open_store(place)
    for part in parts:
        store.create_from(part, _kept_name(key, part.name))


def _kept_name(key: str, name: str) -> str:
    return f"{key}/{name}"
