"""Ports that no two programs of this project are given at once, on the whole machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where the locks are, whatever TMPDIR says: a lock in another directory would exclude nobody.
LOCKS: Final = Path("/tmp/backups_remote-ports")  # noqa: S108
#: A lock is of a block: this many ports, and as many that are HIGHER.
BLOCK: Final = 10
HIGHER: Final = 10_000
#: Lower ports and higher ones never meet, and all are below those that the system gives to outgoing
#: connections (from 32,768 on).
FIRST: Final = 12_000
LAST: Final = FIRST + HIGHER


class NoPortsError(RuntimeError):
    """Every block of ports is in use."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of one block, for ``port + HIGHER`` too."""

    numbers: tuple[int, ...]
    #: Descriptor of the lock. A program that inherits it (``pass_fds``) keeps the ports until it
    #: has ended, even if this process is killed first.
    lock: int

    @property
    def block(self) -> range:
        """All ports that the lock is of."""
        return range(self.numbers[0], self.numbers[0] + BLOCK)


@contextlib.contextmanager
def held_ports(count: int) -> Iterator[Ports]:
    """Hold ``count`` free ports of 127.0.0.1 until the block ends.

    The lock is an advisory one of the kernel, so it ends with its last holder however that ends.

    Raises:
        ValueError: more than a block has.
        NoPortsError: none are left.

    """
    if count > BLOCK:
        raise ValueError(f"at most {BLOCK} ports at once, not {count}")
    starts = list(range(FIRST, LAST, BLOCK))
    # In no order: those that begin at once would all ask for the same.
    random.shuffle(starts)
    for start in starts:
        with _locked(start) as lock:
            numbers = tuple(range(start, start + count))
            if lock is not None and all(map(_is_free, numbers)):
                yield Ports(numbers, lock)
                return
    raise NoPortsError(f"no {count} ports are free between {FIRST} and {LAST}")


@contextlib.contextmanager
def _locked(start: int) -> Iterator[int | None]:
    """Lock the block that begins at ``start``; None if another process has it."""
    try:
        lock = _open(LOCKS / f"{start}.lock")
    except PermissionError:
        yield None
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock
    finally:
        os.close(lock)


def _open(path: Path) -> int:
    if not path.parent.exists():
        path.parent.mkdir(exist_ok=True)
        # Every user of the machine may add locks; whoever made the directory sets this.
        with contextlib.suppress(PermissionError):
            path.parent.chmod(0o1777)
    # A lock needs no right to write, so those of other users serve as well. They are never removed:
    # two processes could then hold one lock each for the same ports.
    while True:
        try:
            return os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644))


def _is_free(port: int) -> bool:
    """Whether no program listens on this port or on the higher one: programs that know no locks."""
    try:
        for number in (port, port + HIGHER):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", number))
    except OSError:
        return False
    return True
