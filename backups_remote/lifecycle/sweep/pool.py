"""Store calls at once, with a bounded number of them, and of their results, at any time."""

from __future__ import annotations

import contextvars
import logging
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from django.db import connections

from backups_remote.exceptions import BackupsRemoteError
from backups_remote.storage import get_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from backups_remote.models import Backup
    from backups_remote.storage import StorageBackend

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Fault:
    """A call that failed: why, in words that hold no secret."""

    reason: str


def explain(error: Exception) -> str:
    """An error in words that hold no secret: only this package's own are shown."""
    if isinstance(error, BackupsRemoteError):
        return str(error)
    return f"{type(error).__name__}, see the log"


def in_parallel(
    items: Iterable[T],
    call: Callable[[T], R],
    workers: int,
    *,
    every: float | None = None,
    meanwhile: Callable[[T], object] | None = None,
) -> Iterator[tuple[T, R | Fault]]:
    """Each item with what ``call`` returned for it, or with why it failed; in the items' order.

    No more than ``workers`` calls are begun ahead of the item that is yielded. While they run,
    ``meanwhile`` is called for each of their items, in this thread, every ``every`` seconds.
    """

    def guarded(item: T) -> R | Fault:
        try:
            return call(item)
        except BackupsRemoteError as error:
            return Fault(explain(error))  # safeguard: sweep-survives-store-error
        except Exception as error:
            logger.exception("A store call of the sweep failed unexpectedly.")
            return Fault(explain(error))  # safeguard: unexpected-error-contained
        finally:
            # A backend may have used the database.
            connections.close_all()  # safeguard: sweep-threads-close-connections

    rest = iter(items)
    with ThreadPoolExecutor(max_workers=workers) as pool:

        def begin(item: T) -> tuple[T, Future[R | Fault]]:
            return item, pool.submit(contextvars.copy_context().run, guarded, item)

        running = deque(begin(item) for item in islice(rest, workers))
        while running:
            item, future = running[0]
            # safeguard: sweep-renews-claims
            while not wait_for([future], timeout=every).done:
                for waiting, other in list(running):
                    if meanwhile is not None and not other.done():
                        meanwhile(waiting)
            running.popleft()
            yield item, future.result()
            running.extend(begin(item) for item in islice(rest, 1))


def at_store(
    batch: Iterable[Backup],
    call: Callable[[Backup, StorageBackend], R],
    workers: int,
    *,
    every: float | None = None,
    meanwhile: Callable[[Backup], object] | None = None,
) -> Iterator[tuple[Backup, R | Fault]]:
    """``in_parallel`` for backups: ``call`` is given each with the storage backend of its disk."""
    return in_parallel(
        batch,
        lambda backup: call(backup, get_backend(backup.disk)),
        workers,
        every=every,
        meanwhile=meanwhile,
    )


def in_chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """``items``, ``size`` at a time. What was read is yielded before their error is raised."""
    problem: BackupsRemoteError | None = None
    rest = iter(items)
    while problem is None:
        chunk: list[T] = []
        try:
            # extend() keeps what was read before an error; list() would drop it.
            chunk.extend(islice(rest, size))  # safeguard: listed-before-error
        except BackupsRemoteError as error:
            problem = error
        if not chunk:
            break
        yield chunk
    if problem is not None:
        raise problem
