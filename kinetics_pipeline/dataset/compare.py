"""What two datasets, or their certificates, have in common: annotations, survivors, recipe, content, in that order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from kinetics_pipeline.dataset.certificate import Certificate
from kinetics_pipeline.redaction import counted

_SHOWN = 3


@dataclass(frozen=True)
class Aspect:
    name: str
    same: bool
    differences: list[str]
    """The differences in words, a line each."""


def compare(a: Certificate, b: Certificate) -> list[Aspect]:
    """The four aspects of the fingerprint. Each says whether its hashes agree, and if not, what differs."""
    reasons = {"annotations": _annotations, "survivors": _survivors, "recipe": _recipe, "content": _content}
    mine, theirs = a.fingerprint.to_json(), b.fingerprint.to_json()
    return [
        Aspect(name, mine[name] == theirs[name], [] if mine[name] == theirs[name] else why(a, b))
        for name, why in reasons.items()
    ]


def common(a: Certificate, b: Certificate) -> list[str]:
    """The ids of the clips that both have, sorted."""
    return sorted(a.survivors() & b.survivors())


def _annotations(a: Certificate, b: Certificate) -> list[str]:
    lines = _only_in_one("asked", set(a.clips), set(b.clips))
    other = [clip_id for clip_id in a.clips.keys() & b.clips.keys() if a.clips[clip_id].asked != b.clips[clip_id].asked]
    return lines + ([f"asked with another label or split: {_some(other)}"] if other else [])


def _survivors(a: Certificate, b: Certificate) -> list[str]:
    mine, theirs = a.survivors(), b.survivors()
    lines = [f"{counted(len(mine & theirs), 'clip is', 'clips are')} in both"]
    for which, only, other in (("first", mine - theirs, b), ("second", theirs - mine, a)):
        if only:
            why = Counter(other.clips[clip_id].outcome if clip_id in other.clips else "not asked" for clip_id in only)
            told = ", ".join(f"{outcome} {number}" for outcome, number in why.most_common())
            lines.append(f"only in the {which}: {_some(only)}; in the other: {told}")
    return lines


def _recipe(a: Certificate, b: Certificate) -> list[str]:
    names = dict.fromkeys((*a.recipe, *b.recipe))
    return [
        f"{name}: {a.recipe.get(name)} and {b.recipe.get(name)}"
        for name in names
        if a.recipe.get(name) != b.recipe.get(name)
    ]


def _content(a: Certificate, b: Certificate) -> list[str]:
    both = common(a, b)
    other = [clip_id for clip_id in both if a.clips[clip_id].content != b.clips[clip_id].content]
    if not other:
        return ["the clips that both have hold the same bytes"]
    return [f"of {counted(len(both), 'clip')} that both have, {len(other)} hold other bytes: {_some(other)}"]


def _only_in_one(what: str, mine: set[str], theirs: set[str]) -> list[str]:
    pairs = (("first", mine - theirs), ("second", theirs - mine))
    return [f"{what} only in the {which}: {_some(only)}" for which, only in pairs if only]


def _some(ids: Collection[str]) -> str:
    first = ", ".join(sorted(ids)[:_SHOWN])
    return f"{len(ids)} ({first}{', ...' if len(ids) > _SHOWN else ''})"
