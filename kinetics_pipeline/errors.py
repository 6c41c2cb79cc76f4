"""The one kind of exception a user can cause. Anything else that is raised is a defect, and crashes loudly."""

from __future__ import annotations

from kinetics_pipeline.redaction import visible


class UserError(Exception):
    """Wrong input or a state the user must change. The message is one line: the bad value, and what is allowed; where
    many values are bad, each argument is a line.

    The command line prints it without a traceback and ends with `exit_code`.
    """

    exit_code = 2

    def __str__(self) -> str:
        return "\n".join(visible(str(line)) for line in self.args)  # names in it may come from a stranger's dataset


class JobFailed(UserError):
    """The input was right, but the job could not be done (a device that fails, a dataset that is damaged)."""

    exit_code = 1


class WorkRemains(UserError):
    """The job stopped with work left; the same command goes on with it."""

    exit_code = 3
