"""One build at a time."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.storage.object_client import in_memory
from kinetics_pipeline.storage.objects import ObjectStore
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.storage.store import StoreFailed
from kinetics_pipeline.workflows.building.lease import (
    DEAD_AFTER,
    REMOVED_AT_ONCE,
    RENEW_EVERY,
    Lease,
    LeaseHeld,
    Machine,
    Process,
    condition,
    holder,
    is_current,
)

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
        assert second.generation > first.generation
        assert not is_current(store, first.generation)


def test_the_lease_of_a_killed_process_is_free_at_once(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError):
            Lease.acquire(open_store(tmp_path))
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and a zombie until its exit code is read
        Lease.acquire(open_store(tmp_path)).release()


class Elsewhere:
    """Machines whose time passes only while somebody sleeps; each knows nothing of the processes of the others."""

    def __init__(self):
        self.time = 0.0
        self.each_second = lambda: None

    def machine(self, name, *, clock_ahead=0.0):
        return Machine(
            process=Process(name, name, 1, 0.0),
            clock=lambda: self.time,
            sleep=self.sleep,
            now=lambda: 1e9 + self.time + clock_ahead,
            token=lambda: f"{name} {self.time}",
        )

    def sleep(self, seconds):
        for _ in range(int(seconds)):
            self.time += 1
            self.each_second()


@pytest.fixture(params=["local", "object"])
def store(request, tmp_path):
    if request.param == "local":
        return open_store(tmp_path)
    return ObjectStore("s3://bucket", in_memory("s3://bucket"))


@pytest.mark.parametrize("ahead", [-6 * 3600.0, 0.0, 6 * 3600.0])
def test_a_holder_elsewhere_that_is_silent_for_a_minute_is_dead_whatever_its_clock_says(store, ahead):
    world = Elsewhere()
    first = Lease.acquire(store, world.machine("a", clock_ahead=ahead), renewing=False)
    began = world.time
    second = Lease.acquire(store, world.machine("b"), renewing=False)
    assert DEAD_AFTER <= world.time - began <= DEAD_AFTER + 5
    assert not first.renew()
    with pytest.raises(LeaseHeld, match="process 1 on b has taken over"):
        first.require_held()
    assert second.renew()
    assert not is_current(store, first.generation)
    assert is_current(store, second.generation)


@pytest.mark.parametrize("behind", [-90.0, 0.0, 6 * 3600.0])
def test_a_holder_elsewhere_that_renews_is_never_taken_over_whatever_its_clock_says(store, behind):
    world = Elsewhere()
    first = Lease.acquire(store, world.machine("a", clock_ahead=behind), renewing=False)
    world.each_second = lambda: world.time % RENEW_EVERY or first.renew()
    with pytest.raises(LeaseHeld, match="being built by process 1 on a") as refused:
        Lease.acquire(store, world.machine("b"), renewing=False)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 3
    assert world.time <= 3 * RENEW_EVERY
    assert first.renew()


def test_a_holder_of_an_earlier_version_rewrites_its_file_and_is_alive_while_it_does(store):
    world = Elsewhere()
    old = {"host": "a", "boot": "a", "pid": 1, "process_started": 0, "since": 0, "renewed": 0, "released": False}

    def rewrite():
        store.write("state/lease/00000005.json", json.dumps({"generation": 5, **old, "renewed": world.time}).encode())

    rewrite()
    world.each_second = rewrite
    with pytest.raises(LeaseHeld):
        Lease.acquire(store, world.machine("b"), renewing=False)
    world.each_second = lambda: None
    assert Lease.acquire(store, world.machine("b"), renewing=False).generation == 6


def test_who_wakes_up_after_its_number_was_taken_and_removed_does_not_hold(store):
    world = Elsewhere()
    frozen = Lease.acquire(store, world.machine("a"), renewing=False)
    other = Lease.acquire(store, world.machine("b"), renewing=False)
    for _ in range(15):
        assert other.renew()
    assert not store.exists(f"state/lease/{frozen.number + 1:08d}.json")
    assert not frozen.renew()
    assert other.renew()
    for _ in range(30):
        assert other.renew()
    assert len(store.list("state/lease")) <= REMOVED_AT_ONCE + 2


def test_a_renewal_whose_answer_was_lost_is_a_renewal(store, monkeypatch):
    world = Elsewhere()
    lease = Lease.acquire(store, world.machine("a"), renewing=False)
    create = type(store).create

    def lost(self, name, data):
        create(self, name, data)
        raise StoreFailed("no answer")

    monkeypatch.setattr(type(store), "create", lost)
    with pytest.raises(StoreFailed):
        lease.renew()
    monkeypatch.setattr(type(store), "create", create)
    world.time += 10
    assert lease.renew()


def test_what_is_said_of_a_holder_without_waiting(tmp_path):
    store, world = open_store(tmp_path), Elsewhere()
    assert condition(store) is None
    lease = Lease.acquire(store, world.machine("a"), renewing=False)
    modified = store.files("state/lease")[-1].modified
    for age, state in ((5, "running"), (500, "silent")):
        found = condition(store, replace(world.machine("b"), now=lambda age=age: modified + age))
        assert (found.state, found.holding.host) == (state, "a")
        assert found.silent_seconds == pytest.approx(age, abs=0.01)
    lease.release()
    assert condition(store).state == "ended"
    with Lease.acquire(store):
        assert condition(store).state == "running"


def test_a_store_that_cannot_decide_between_two_is_refused(monkeypatch):
    store = ObjectStore("s3://bucket", in_memory("s3://bucket"))
    monkeypatch.setattr(ObjectStore, "create", lambda self, name, data: self.write(name, data) is None)
    with pytest.raises(UserError, match="ignores If-None-Match"):
        Lease.acquire(store)
    assert store.list() == []


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
