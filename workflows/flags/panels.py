"""The panel of `--help` that each flag is shown in: those that most people need are in the first one."""

from __future__ import annotations

from collections.abc import Callable
from inspect import get_annotations
from typing import Annotated, TypeVar, get_type_hints

from cyclopts import Group, Parameter

C = TypeVar("C")
FIRST = "Most used"
"""The panel that is shown first, with at most ten flags."""


def panels(**names: str) -> Callable[[type[C]], type[C]]:
    """Puts the flags of a config, also inherited ones, into panels: title (with `_` for a space) = their names, in a
    text. The panels are shown in this order. Raises ValueError for a name that is not a field, or one in two panels."""

    def decorate(config: type[C]) -> type[C]:
        hints = get_type_hints(config, include_extras=True)
        own = get_annotations(config)
        for place, (title, flags) in enumerate(names.items()):
            panel = Group(title.replace("_", " "), sort_key=place)
            for name in flags.split():
                if name not in hints:
                    raise ValueError(f"{config.__name__} has no flag {name} that is in no other panel")
                own[name] = Annotated[hints.pop(name), Parameter(group=panel)]
        config.__annotations__ = own
        return config

    return decorate
