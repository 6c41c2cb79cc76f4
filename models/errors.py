"""Errors that a user of the networks can cause. Their messages have one line."""

from __future__ import annotations


class InputError(ValueError):
    """A wrong name, shape, option or file. The message says the bad value and what is allowed."""


class Diverged(ArithmeticError):
    """Training met a loss or a gradient that is not a number. The message names the last good checkpoint."""

    def __init__(self, step: int, what: str, last_checkpoint: str | None) -> None:
        self.step = step
        self.last_checkpoint = last_checkpoint
        good = f"the last good checkpoint is {last_checkpoint}" if last_checkpoint else "no checkpoint was written yet"
        super().__init__(f"training diverged at step {step}: {what}; {good}")
