"""What all tests share."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Several processes test side by side: threads of their own beside them would only spin. Before torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from tests.builders.videos import Videos

settings.register_profile("untimed", deadline=None)  # a machine under load is slow, not wrong
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Videos:
    """Tiny videos, each rendered once a session; tests read them and never write to them."""
    return Videos(tmp_path_factory.mktemp("videos"))


LONGEST_FIRST = (
    *("test_readme.py", "test_build_youtube.py", "test_train_ray.py", "test_build.py", "test_cluster.py"),
    *("test_campaign.py", "test_campaign_refusal.py", "test_five_models.py", "test_paper.py", "test_build_disk.py"),
    *("test_keep_and_export.py", "test_acquire_benchmark.py", "test_charades.py", "test_secrets.py"),
    *("test_checkpoint_tools.py", "test_transfer.py", "test_per_node.py", "test_build_tars.py"),
    *("test_blocked_address.py", "test_chaos.py", "test_media_zoo.py", "test_readme_loops.py", "test_trainers.py"),
    *("test_writer.py", "test_flow_cache.py", "test_flow_triton.py", "test_simulation.py", "test_requests.py"),
)
"""Files that take longest, so that no process is left with one of them when the others have nothing more to do. The
first three compute no flow: its kernels are then compiled once, while a single process needs them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are named by their argument: what is packed holds the time, and every process must give a test one name."""
    return argname if isinstance(val, bytes) else None
