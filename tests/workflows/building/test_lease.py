"""One build at a time."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.workflows.building import lease as leases
from kinetics_pipeline.workflows.building.lease import Lease, holder, is_current

HOLDER = """
import sys, time
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.workflows.building.lease import Lease
lease = Lease.acquire(open_store(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_build_is_refused_in_one_line_that_names_the_first(tmp_path):
    with Lease.acquire(open_store(tmp_path)), pytest.raises(UserError, match=f"process {os.getpid()}") as refusal:
        Lease.acquire(open_store(tmp_path))
    assert "\n" not in str(refusal.value)


def test_a_lease_that_was_released_is_free_and_the_next_generation_is_higher(tmp_path):
    store = open_store(tmp_path)
    with Lease.acquire(store) as first:
        assert is_current(store, first.generation)
    assert holder(store) is None
    with Lease.acquire(store) as second:
        assert second.generation == first.generation + 1
        assert not is_current(store, first.generation)


def test_the_lease_of_a_killed_process_is_free_at_once(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError):
            Lease.acquire(open_store(tmp_path))
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and a zombie until its exit code is read
        Lease.acquire(open_store(tmp_path)).release()


def test_the_lease_of_another_machine_is_free_when_it_is_no_longer_renewed(tmp_path):
    store = open_store(tmp_path)
    with Lease.acquire(store) as lease:
        document = {**lease.document, "boot": "another machine"}
    document["released"] = False
    name = f"state/lease/{lease.generation:08d}.json"
    store.write(name, json.dumps(document).encode())
    with pytest.raises(UserError):
        Lease.acquire(store)
    store.write(name, json.dumps({**document, "renewed": time.time() - leases.STALE_AFTER - 1}).encode())
    Lease.acquire(store).release()


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"released": false, "boot": 5, "pid": "x", "renewed": "y"}']
)
def test_a_lease_that_is_damaged_holds_nothing_and_its_generation_still_counts(tmp_path, data):
    store = open_store(tmp_path)
    store.write("state/lease/00000007.json", data)
    store.write("state/lease/notes.json", b"{}")
    assert holder(store) is None
    with Lease.acquire(store) as lease:
        assert lease.generation == 8
        assert is_current(store, 8)
