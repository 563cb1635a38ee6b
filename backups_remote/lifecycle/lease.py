"""Claims on reported backups: leases that a living holder renews.

As long as a claim holder lives, it alone completes the backup in the store. If its process dies,
the claim ends within ``LEASE``: a node tries again for about 30 seconds, and its later tries must
find the backup free. Losing a lease does no harm: the object in the store decides, and every
transition that needs the claim names its holder.
"""

from __future__ import annotations

import contextvars
import datetime as dt
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Final, TypeVar

from django.db import Error, connections, router
from django.utils import timezone

from backups_remote.models import Backup

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

#: How long a claim lasts without a renewal.
LEASE: Final = dt.timedelta(seconds=12)  # safeguard: dead-claim-expires
#: Seconds between two renewals: two may be missed.
RENEW_EVERY: Final = 4.0
#: Seconds between two looks of the renewing thread at what is due.
_TICK: Final = 0.5
#: Seconds without a claim after which the renewing thread ends.
_IDLE: Final = 30.0

T = TypeVar("T")


def lease_end() -> dt.datetime:
    """When a claim taken or renewed now is over."""
    return timezone.now() + LEASE


def call_with_lease(backup: Backup, call: Callable[[], T]) -> T:
    """Run ``call``, and have the claim on ``backup`` renewed meanwhile.

    With a pool, the caller's database connection goes back to it first: others would wait for it.
    """
    if is_pooled():
        give_back_connection()  # safeguard: connection-released
    started = time.monotonic()
    held = _HeldClaim(backup, started)
    _renewer.add(held)
    try:
        return call()
    finally:
        _renewer.remove(held)
        if time.monotonic() - started > RENEW_EVERY:
            # The database may have ended a connection that was idle for so long.
            give_back_connection()


def renew(backup: Backup) -> None:
    """Extend the caller's claim. A database fault does not end the completion."""
    try:
        backup.renew_claim(lease_end())
    except Error:  # safeguard: renewal-failure-tolerated
        logger.warning("The claim on backup %s could not be renewed.", backup.uuid, exc_info=True)


def give_back_connection() -> None:
    """Close the thread's connection, which returns it to a pool; the next query opens one."""
    connection = connections[router.db_for_write(Backup)]
    if not connection.in_atomic_block:
        connection.close()


def is_pooled() -> bool:
    """Whether closing a connection returns it to a pool."""
    connection = connections[router.db_for_write(Backup)]
    return bool(connection.settings_dict.get("OPTIONS", {}).get("pool"))


class _HeldClaim:
    """A claim whose holder is waiting for the store."""

    def __init__(self, backup: Backup, now: float) -> None:
        self._backup = backup
        self._renewed = now
        # Who acts, and what else belongs to the caller.
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._is_held = True

    def renew_if_due(self, now: float) -> None:
        with self._lock:
            if self._is_held and now - self._renewed >= RENEW_EVERY:
                self._context.run(renew, self._backup)  # safeguard: report-renews-claim
                self._renewed = now

    def end(self) -> None:
        """Once this returns, no renewal is under way and none will come."""
        with self._lock:
            self._is_held = False


class _Renewer:
    """Renews all claims of this process, in one thread that runs while there are any.

    Most calls end long before a renewal is due. A thread of its own for each would take longer
    than everything else that is done for it here, and so would waking the one thread: it looks by
    itself, and ends after a while without a claim.
    """

    def __init__(self) -> None:
        self._claims: set[_HeldClaim] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._last_used = 0.0

    def add(self, claim: _HeldClaim) -> None:
        with self._lock:
            self._claims.add(claim)
            self._last_used = time.monotonic()
            # A process that was forked has no thread yet.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="renew-claims", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:
                    # No thread can be started: complete without renewing, which does no harm.
                    self._thread = None

    def remove(self, claim: _HeldClaim) -> None:
        with self._lock:
            self._claims.discard(claim)
        claim.end()

    def _run(self) -> None:
        while not self._ends():
            now = time.monotonic()
            try:
                for claim in self._held():
                    claim.renew_if_due(now)
            finally:
                connections.close_all()  # safeguard: renewing-thread-closes-connections
            time.sleep(min(_TICK, RENEW_EVERY / 4))

    def _held(self) -> list[_HeldClaim]:
        with self._lock:
            return list(self._claims)

    def _ends(self) -> bool:
        """Whether there was no claim for a while; the next one then starts another thread."""
        with self._lock:
            is_over = not self._claims and time.monotonic() - self._last_used > _IDLE
            if is_over:
                self._thread = None
            return is_over


def _start_afresh() -> None:
    """Forget the claims of the parent process, and a lock that a thread of it may have held."""
    global _renewer  # noqa: PLW0603
    _renewer = _Renewer()


_renewer = _Renewer()
os.register_at_fork(after_in_child=_start_afresh)
