"""What becomes of the exceptions of a stage that ran on a node."""

from __future__ import annotations

import errno
import os

import pytest
import ray

from kinetics_pipeline.errors import JobFailed, UserError, WorkRemains
from kinetics_pipeline.workflows.building.executor import Lost
from kinetics_pipeline.workflows.building.ray_executor import lost_by


def raised(cause: Exception) -> ray.exceptions.RayTaskError:
    return ray.exceptions.RayTaskError("fetch", "Traceback", cause)


@pytest.mark.parametrize(
    ("number", "ending"), [(errno.ENOSPC, WorkRemains), (errno.EDQUOT, WorkRemains), (errno.EROFS, JobFailed)]
)
def test_a_disk_that_fails_every_clip_ends_the_run_in_a_line(number: int, ending: type[UserError]) -> None:
    with pytest.raises(ending, match="a download cannot be kept: ") as ended:
        lost_by(raised(OSError(number, os.strerror(number))), "a download cannot be kept")
    assert len(str(ended.value).splitlines()) == 1


def test_a_folder_that_another_build_removed_is_work_that_is_lost() -> None:
    assert lost_by(raised(FileNotFoundError(errno.ENOENT, "gone", "/cache/v")), "x") == Lost(
        "FileNotFoundError: [Errno 2] gone: '/cache/v'"
    )
