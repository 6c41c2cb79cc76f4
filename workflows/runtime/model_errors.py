"""Errors of `models`, which knows nothing of this project's own, as errors that the command line prints as one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.models import Diverged, InputError


@contextmanager
def as_user_errors() -> Iterator[None]:
    """Raises UserError in place of InputError, and JobFailed in place of Diverged."""
    try:
        yield
    except InputError as error:
        raise UserError(" ".join(str(error).split())) from error
    except Diverged as error:
        raise JobFailed(str(error)) from error
