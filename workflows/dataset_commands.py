"""The commands about datasets that exist: verified, compared, mended, shown, cut down. Each imports its work late."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

Flag = Parameter(negative=())


def verify(output: str, /, *, quick: Annotated[bool, Flag] = False) -> None:
    """Check every byte of a dataset; name every bad shard and clip, and end with 1 if there is one.

    Parameters
    ----------
    output
        The dataset.
    quick
        Look at markers, plans and file sizes only.
    """
    from workflows.verify import verify as job

    job(output, quick)


def repair(output: str, /, *, quick: Annotated[bool, Flag] = False) -> None:
    """Take what `verify` names out of a dataset, so that the next build makes it again.

    Parameters
    ----------
    output
        The dataset.
    quick
        Only what `verify --quick` names.
    """
    from workflows.tools.repair import repair as job

    job(output, quick)


def register(app: App, tools: App) -> None:
    """Adds the commands to the command line and to its `tools`."""
    for command in (verify,):
        app.command(command)
    for command in (repair,):
        tools.command(command)
