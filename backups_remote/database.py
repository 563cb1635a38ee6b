"""What a database may do to a statement that is right, and how it is tried again.

The database may drop the connection. A function makes store calls, which may take a minute,
between two statements.
Meanwhile an idle limit, a failover, or a proxy or pooler in between may close the connection. The
next statement then fails although the database is well, and so do all that follow.

And the statement may conflict with those of other transactions: under the isolation levels
REPEATABLE READ and SERIALIZABLE, and in a deadlock.
"""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Final, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connections

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

#: How often work is tried that the database cannot put in order with that of others.
_TRIES: Final = 10
#: Seconds between two tries, at most.
_LONGEST_PAUSE: Final = 0.05
#: SQLSTATE (PostgreSQL) and error numbers (MariaDB: a deadlock, a row that has changed since it was
#: read) that say so.
_OUT_OF_ORDER: Final = frozenset({"40001", "40P01", 1020, 1213})

T = TypeVar("T")


def retrying(alias: str, work: Callable[[], T]) -> T:
    """Run ``work``; again, if its connection was lost or it came into conflict with that of others.

    ``work`` is one statement, or one transaction from its beginning to its end. If a connection is
    lost just after that was committed, a guarded UPDATE finds at its second try that the row is not
    as it was: it says that a concurrent writer won, and its caller reads the row again.

    Inside a transaction the error is the caller's. So is any other error.
    """
    return in_order(alias, lambda: _with_reconnect(alias, work))


def in_order(alias: str, work: Callable[[], T]) -> T:
    """Run ``work``, one transaction; again, if it came into conflict with those of others.

    It was rolled back then, so that a row which it inserts is not inserted twice.

    Inside a transaction the error is the caller's. So is any other error.
    """
    if connections[alias].in_atomic_block:
        return work()
    for _ in range(_TRIES - 1):
        try:
            return work()
        except DatabaseError as error:
            if not _is_out_of_order(error):  # safeguard: other-errors-not-repeated
                raise
            time.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311 - of several, one goes first
    return work()


def close_if_lost(alias: str) -> bool:
    """Close the connection of ``alias`` if it is lost, so that the next statement opens another.

    It is asked with a round trip to the server.
    """
    connection = connections[alias]
    if connection.in_atomic_block or connection.connection is None or connection.is_usable():
        return False
    logger.warning("The connection to the database %r was lost, and is replaced.", alias)
    connection.close()
    return True


def _with_reconnect(alias: str, work: Callable[[], T]) -> T:
    connection = connections[alias]
    before = connection.connection
    if before is None or connection.in_atomic_block:
        return work()
    try:
        return work()
    except (InterfaceError, OperationalError):
        # At the end of a transaction Django replaces a connection that cannot even roll back.
        # safeguard: live-connection-not-repeated
        if connection.connection is before and not close_if_lost(alias):
            raise
    return work()


def _is_out_of_order(error: DatabaseError) -> bool:
    cause = error.__cause__
    code = getattr(cause, "sqlstate", None) or next(iter(getattr(cause, "args", ())), None)
    return code in _OUT_OF_ORDER
