"""The embedded store: its ports are its own, and a run ends when it stops working."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from panel_site import ports, seaweedfs
from panel_site.gunicorn import ROOT
from panel_site.ports import HIGHER, NoPortsError, held_ports
from panel_site.seaweedfs import NotWorkingError, running_store

pytestmark = pytest.mark.once


def run(code, **more):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        **more,
    )


@pytest.fixture
def two_blocks(monkeypatch, tmp_path):
    """All that there is: two blocks of five ports each, with locks of their own."""
    with held_ports(ports.BLOCK) as held:
        first = held.numbers[0]
        monkeypatch.setattr(ports, "LOCKS", tmp_path / "locks")
        monkeypatch.setattr(ports, "FIRST", first)
        monkeypatch.setattr(ports, "LAST", first + ports.BLOCK)
        monkeypatch.setattr(ports, "BLOCK", 5)
        yield [first, first + 5]


def test_ports_are_held_by_one_at_a_time(two_blocks):
    with held_ports(2) as one:
        with held_ports(2) as other:
            assert sorted([one.numbers[0], other.numbers[0]]) == two_blocks
            with pytest.raises(NoPortsError), held_ports(1):
                pass
        with held_ports(2):
            pass


def test_port_with_a_listener_is_not_given(two_blocks):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", two_blocks[0] + HIGHER + 1))
        listener.listen()
        with held_ports(2) as held:
            assert held.numbers == (two_blocks[1], two_blocks[1] + 1)


def test_more_ports_than_a_block_has_are_refused():
    with pytest.raises(ValueError, match="at most 10 ports at once, not 11"), held_ports(11):
        pass


def test_ports_stay_held_until_the_program_that_inherited_them_ends(two_blocks):
    """The process that chose them is killed; its store lives on for a while."""
    with held_ports(1):
        # The other block is the only one left.
        chooser = run(
            f"""
            import subprocess, sys, time
            from pathlib import Path
            from panel_site import ports
            ports.LOCKS, ports.BLOCK = Path({str(ports.LOCKS)!r}), {ports.BLOCK}
            ports.FIRST, ports.LAST = {ports.FIRST}, {ports.LAST}
            with ports.held_ports(1) as held:
                store = subprocess.Popen(
                    ["sleep", "600"], pass_fds=(held.lock,), stdout=subprocess.DEVNULL
                )
                print(store.pid, flush=True)
                time.sleep(600)
            """
        )
        store = int(chooser.stdout.readline())
        chooser.kill()
        chooser.communicate()
        with pytest.raises(NoPortsError), held_ports(1):
            pass
        os.kill(store, signal.SIGKILL)
        # It is not this process's child: nothing tells when it is gone.
        while True:
            with contextlib.suppress(NoPortsError), held_ports(1):
                break


# Each in a process of its own starts stores one after the other, and uses each while the others'
# begin and end.
STARTS = """
import contextlib, sys
from panel_site.seaweedfs import running_store
for _ in range(int(sys.argv[1])):
    with running_store() as store, contextlib.closing(store.client()) as client:
        for number in range(20):
            body = f"{store.endpoint} {number}".encode()
            client.put_object(Bucket=store.bucket, Key="mine", Body=body)
            assert client.get_object(Bucket=store.bucket, Key="mine")["Body"].read() == body
        listed = client.list_objects_v2(Bucket=store.bucket)["Contents"]
        assert [one["Key"] for one in listed] == ["mine"], listed
        print("whole", flush=True)
"""


def start_many(processes, each):
    running = [
        subprocess.Popen(
            [sys.executable, "-c", STARTS, str(each)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(processes)
    ]
    said = [process.communicate()[0] for process in running]
    assert said == ["whole\n" * each] * processes


def test_stores_that_begin_at_once_do_not_disturb_one_another():
    start_many(3, 2)


@pytest.mark.torture
@pytest.mark.timeout(1200)
def test_two_hundred_stores_do_not_disturb_one_another():
    start_many(8, 25)


def test_store_removes_what_it_made_and_nothing_else(tmp_path):
    with running_store(within=tmp_path) as other:
        of_other = sockets_of(other)
        with running_store(within=tmp_path) as store:
            assert sockets_of(store)
            assert len(list(tmp_path.iterdir())) == 2
        assert not sockets_of(store)
        assert list(tmp_path.iterdir()) == [other.log.parent]
        assert sockets_of(other) >= of_other
        with contextlib.closing(other.client()) as client:
            other.try_out(client)
    assert not sockets_of(other)


def sockets_of(store):
    return sockets_from(int(store.endpoint.rpartition(":")[2]))


def sockets_from(port):
    """Those whose names have a port of the block that begins there."""
    return {
        path.name
        for number in range(port + HIGHER, port + HIGHER + ports.BLOCK)
        for path in seaweedfs.SOCKETS.glob(f"seaweedfs-*-{number}.sock")
    }


@pytest.mark.parametrize("which", ["volume.port", "admin.port"])
def test_port_taken_by_a_stranger_costs_one_try(monkeypatch, which):
    """It listens on a port after the store's ports were chosen, before the store takes them."""
    taken = []
    real = seaweedfs._command

    def take_a_port_first(bucket, directory, held):
        if not taken:
            number = held.numbers[seaweedfs._PORTS.index(which)]
            listener = socket.create_server(("127.0.0.1", number + HIGHER))
            taken.append((listener, held.numbers))
        return real(bucket, directory, held)

    monkeypatch.setattr(seaweedfs, "_command", take_a_port_first)
    with running_store() as store, contextlib.closing(store.client()) as client:
        listener, numbers = taken[0]
        with listener:
            assert not store.endpoint.endswith(f":{numbers[0]}")
            assert not sockets_from(numbers[0])
            store.try_out(client)


def test_store_that_cannot_start_says_why(monkeypatch):
    monkeypatch.setattr(seaweedfs, "_command", lambda *_: ["sh", "-c", "echo no disk; exit 1"])
    with pytest.raises(NotWorkingError, match=r"The end of its log:\nno disk"), running_store():
        pass


FROZEN = """
import contextlib, os, signal
import pytest
from tests.support import watchdog

watchdog.EVERY, watchdog.READ_TIMEOUT, watchdog.FAILURES = 0.2, 1, 3

def test_that_works(store):
    pass

@pytest.mark.parametrize("number", range(6))
def test_that_waits_for_the_store(store, number):
    os.kill(store.process.pid, signal.SIGSTOP)
    with contextlib.closing(store.client(read_timeout=600)) as client:
        client.head_bucket(Bucket=store.bucket)
"""


# Its own end comes after a minute at most.
@pytest.mark.parametrize(
    "workers",
    [pytest.param((), marks=pytest.mark.torture), ("-n", "2")],
    ids=["one process", "two workers"],
)
def test_frozen_store_ends_the_run(tmp_path, workers):
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_configure, store")
    (tmp_path / "test_frozen.py").write_text(FROZEN)
    pytest_command = ["-m", "pytest", "-c", "pyproject.toml", *workers]
    done = subprocess.run(
        # As a shell does in the background.
        ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, *pytest_command, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said = done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.INTERRUPTED, said
    assert "The store does not work any more: " in said
    assert "The end of the store's log:" in said
    assert "Starting SeaweedFS Mini" in said
