"""The command that a dataset says made it, before it is shown to be copied into a shell.

A dataset may come from a stranger. So of the recorded text only words are taken that this program's own commands
know, secrets are placeholders, the place is where the dataset lies now, and all is quoted again.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from kinetics_pipeline.workflows.flags.build_flags import BuildConfig
from kinetics_pipeline.workflows.flags.record import shown_option

UNKNOWN = "kinetics-pipeline build ..."
"""Where the record is not a command of this program."""
_SWITCHES = {f"--{f.name}".replace("_", "-") for f in fields(BuildConfig) if isinstance(f.default, bool)}
_BUILD = {f"--{f.name}".replace("_", "-") for f in fields(BuildConfig)} - _SWITCHES
_CONVERT = {"--output", "--layout", "--classes", "--split", "--clips", "--examples-per-class", "--clips-per-shard"}
_PLACEHOLDERS: Mapping[str, str] = {"--cookies": "FILE", "--proxy": "HOST:PORT"}
_KNOWN: tuple[tuple[tuple[str, ...], set[str], set[str]], ...] = (
    (("kinetics-pipeline", "build"), _BUILD, _SWITCHES),
    (("kinetics-pipeline", "tools", "convert"), _CONVERT, set()),
)


class _Unknown(ValueError):
    pass


def checked_command(recorded: str, place: str) -> str:
    """The command, with `place` as its output; `UNKNOWN` where the record holds anything else than a command."""
    try:
        words = shlex.split(recorded)
        for start, valued, switches in _KNOWN:
            if tuple(words[: len(start)]) == start and all(word.isprintable() for word in words):
                return shlex.join([*start, *_checked(words[len(start) :], place, valued, switches)])
    except ValueError:
        pass
    return UNKNOWN


def without_flag(command: str, flag: str) -> str:
    """A checked command without a flag and its value."""
    words = shlex.split(command)
    kept = [word for before, word in zip(["", *words], words, strict=False) if flag not in (before, word)]
    return shlex.join(kept) if command != UNKNOWN else command


def _checked(words: Sequence[str], place: str, valued: set[str], switches: set[str]) -> Iterator[str]:
    waiting = iter(words)
    for word in waiting:
        if not word.startswith("-"):
            yield word
            continue
        if word in switches or (word.startswith("--no-") and f"--{word[5:]}" in switches):
            yield word
            continue
        if word not in valued or (value := next(waiting, None)) is None:
            raise _Unknown(word)
        if re.match(r"--[a-z]", value):
            raise _Unknown(value)
        yield from (word, place if word == "--output" else _PLACEHOLDERS.get(word) or _shown(word, value))


def _shown(flag: str, value: str) -> str:
    return shown_option(value) if flag == "--ytdlp-option" else value
