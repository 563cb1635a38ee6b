"""A database connection that is lost while a store is slow is replaced.

Between two statements of a function lie store calls, which may take a minute. Meanwhile an idle
limit, a failover, or a proxy or pooler in between may close the connection. The next statement
then fails although the database is well, and so do all that follow.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from django.db import InterfaceError, OperationalError, connections

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

T = TypeVar("T")


def with_reconnect(alias: str, work: Callable[[], T]) -> T:
    """Run ``work``; once more, on a new connection, if the one of ``alias`` turns out to be lost.

    ``work`` is one statement, or one transaction from its beginning to its end. If the connection
    is lost just after that was committed, a guarded UPDATE finds at its second try that the row is
    not as it was: it says that a concurrent writer won, and its caller reads the row again.

    Inside a transaction, on a connection that is opened for ``work``, or if the connection is well,
    the error is the caller's.
    """
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
