"""Starting a store's programs in a directory of its own, and ending them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from panel_site.ports import held_ports
from panel_site.seaweedfs import Store

PATIENCE = 90


class StoreWithLimit(Store):
    """A store that can be made full."""

    def filled(self):
        """The store without room, for the length of a block."""
        raise NotImplementedError


@dataclass(frozen=True)
class StoreOnDisk(StoreWithLimit):
    """A store with a file system of its own; None where this machine mounts none."""

    disk: Path | None = None

    def filled(self):
        return filled(self.disk)


class NotInstalled(Exception):
    """A store's programs are missing on this machine."""


class Processes:
    """Programs that run in ``directory`` until the block ends, each with a log of its own."""

    def __init__(self, name):
        self.directory = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self._running = {}
        self._mounted = []
        self._locks = []
        self._held = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        for name in reversed(list(self._running)):
            self.end(name)
        for path in self._mounted:
            subprocess.run(["umount", "--lazy", path], check=True)
        shutil.rmtree(self.directory, ignore_errors=True)
        self._held.close()

    def ports(self, count):
        """Ports that nothing else is given until the block has ended."""
        held = self._held.enter_context(held_ports(count))
        self._locks.append(held.lock)
        return held.numbers

    def start(self, name, *command, **environment):
        log = (self.directory / f"{name}.log").open("ab")
        with log:
            self._running[name] = subprocess.Popen(
                [str(word) for word in command],
                cwd=self.directory,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self._locks,
            )

    def mount(self, name, size):
        """A file system in memory, of ``size`` bytes; None where mounting is not allowed."""
        path = self.directory / name
        path.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            return None
        self._mounted.append(path)
        return path

    def end(self, name):
        """What it holds is thrown away: there is nothing to wait for."""
        process = self._running.pop(name)
        # Workers of its own are in its session.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()

    def run(self, *command, **environment):
        """A command that ends by itself; what it printed."""
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.directory,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def wait(self, is_ready):
        """Until ``is_ready()`` is true, while every program runs."""
        give_up = time.monotonic() + PATIENCE
        while not is_ready():
            dead = [name for name, process in self._running.items() if process.poll() is not None]
            assert not dead, f"{dead[0]} has ended:\n{self._tail(dead[0])}"
            assert time.monotonic() < give_up, "\n".join(map(self._tail, self._running))
            time.sleep(0.2)

    def _tail(self, name):
        log = (self.directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return f"{name}: {log[-1500:]}"


@contextlib.contextmanager
def filled(disk):
    """``disk`` without a byte to spare."""
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1024**2, 4096):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass
        yield
    finally:
        filler.unlink()


def found(program):
    """The path of an installed program."""
    path = shutil.which(program)
    if path is None:
        raise NotInstalled(f"{program} is not installed")
    return path


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def makes_its_bucket(store):
    """Whether the store answers, its bucket made."""
    with contextlib.closing(store.client(retries={"total_max_attempts": 1})) as client:
        try:
            client.create_bucket(Bucket=store.bucket)
        except (BotoCoreError, ClientError):
            return False
        return True
