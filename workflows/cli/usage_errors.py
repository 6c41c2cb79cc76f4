"""What is said, in one line, of a command line that the parser does not take."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import CycloptsError, MissingArgumentError, UnusedCliTokensError


def said_of(error: CycloptsError, arguments: Sequence[str]) -> str:
    """A flag or an argument that is not there, one without a value, a word too many, or the parser's own message."""
    command = " ".join(error.command_chain or ())
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.argument.name
        if error.keyword is not None or any(word.partition("=")[0] == name for word in arguments):
            return f"{error.keyword or name} has no value; allowed: {name} VALUE"
        return f"{name} is missing, which {command} needs"
    if isinstance(error, UnusedCliTokensError):
        return f"{' '.join(error.unused_tokens or ())} is given, but {command} takes no more"
    return " ".join(str(error).split())
