"""State dicts out of what people save them in: dicts within dicts, and names with prefixes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from kinetics_pipeline.models.weights.foreign import naming_of, prefixes_in
from kinetics_pipeline.models.weights.recognition import tensors_kind

PREFERRED = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
"""Keys under which a network usually lies, in order of preference; averaged weights (`ema`) come last."""
AVERAGED = ("ema", "averag", "swa", "teacher", "momentum", "encoder_k")
"""What keys of weights averaged over training have in them."""
NO_WEIGHTS = ("optim", "sched", "scaler", "rng_state", "random")
"""What keys of other state have in them: its tensors are no weights."""
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
"""Parts of names that DataParallel, AveragedModel, torch.compile, FSDP and DeepSpeed put in, wherever they stand."""
DEPTH = 4


@dataclass(frozen=True)
class StateDict:
    """Tensors by name; `notes`: lines about which part of the file they are, and what was left out."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def state_dicts(document: object) -> list[StateDict]:
    """Finds every dict of tensors in `document`, by preference: known names first, averages of other weights last.

    What a file holds beside tensors (numbers, text, the state of an optimiser) is passed over. An empty list: there is
    no tensor in it.
    """
    found = list(_dicts(document, (), DEPTH))
    cleaned = [
        ((*where, *part), inside, outside)
        for where, tensors in found
        for part, inside, outside in _networks_in(tensors)
    ]
    cleaned.sort(key=lambda one: _rank(one[0], one[1]))
    places = [where for where, _, _ in cleaned]
    results = []
    for where, tensors, left_out in cleaned:
        others = [other for other in places if other != where]
        notes = [_which(where, others)] if where or others else []
        if left_out:
            more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
            notes.append(f"not used of it: {left_out[0]}{more}")
        results.append(StateDict(tensors, tuple(notes)))
    return results


def _dicts(value: object, where: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    items: list[tuple[str, object]] = []
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
        tensors = {key: item for key, item in items if isinstance(item, Tensor)}
        if len(tensors) > 1:
            yield where, tensors
    elif isinstance(value, list | tuple):
        items = [(str(number), item) for number, item in enumerate(value[:8])]
    if depth:
        for key, item in items:
            if not any(word in key.lower() for word in NO_WEIGHTS):
                yield from _dicts(item, (*where, key), depth - 1)


def _rank(where: tuple[str, ...], tensors: Mapping[str, Tensor]) -> tuple[bool, bool, int, int]:
    averaged = any(word in key.lower() for key in where for word in AVERAGED)
    places = [PREFERRED.index(key) for key in where if key in PREFERRED]
    return naming_of(tensors) is None, averaged, min(places, default=len(PREFERRED)), -len(tensors)


def _which(where: tuple[str, ...], others: list[tuple[str, ...]]) -> str:
    beside = ", ".join(repr(".".join(other)) for other in others if other)
    taken = f"{'.'.join(where)!r} in it" if where else "what has no prefix in it"
    return f"{taken} was taken" + (f", not {beside}" if beside else "")


def _networks_in(tensors: Mapping[str, Tensor]) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor], list[str]]]:
    """Yields each network in one dict: the prefix of its names where there are several, its tensors under the names
    that the network itself gives them, and the names that are of none.

    Wrappers' parts of names go wherever they stand, and single numbers that wrappers count with. Of names that are
    known the prefix goes, with what lies outside it (a loss, another head); of others the prefix that all share.
    """
    plain = {_unwrapped(name): tensor for name, tensor in tensors.items() if "." in name or tensor.ndim}
    if prefixes := prefixes_in(plain):
        network_of = {name: max((p for p in prefixes if name.startswith(p)), key=len, default=None) for name in plain}
        outside = [name for name, prefix in network_of.items() if prefix is None]
        for prefix in prefixes:
            inside = {name.removeprefix(prefix): plain[name] for name, its in network_of.items() if its == prefix}
            yield (prefix.removesuffix("."),) if len(prefixes) > 1 and prefix else (), inside, outside
        return
    while not _is_recognised(plain) and all("." in name for name in plain):
        if len({name.partition(".")[0] for name in plain}) != 1:
            break
        plain = {name.partition(".")[2]: tensor for name, tensor in plain.items()}
    yield (), plain, []


def _is_recognised(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a network that is known, though not read: all of them may begin alike."""
    return tensors_kind({name: tuple(tensor.shape) for name, tensor in tensors.items()}) is not None


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)
