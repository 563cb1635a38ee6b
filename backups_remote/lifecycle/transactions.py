"""Which transactions there are: short ones that lock a server, and none across a store call."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from django.db import connections, router, transaction
from django.utils import timezone

from backups_remote.database import retrying
from backups_remote.exceptions import ServerNotFound
from backups_remote.lifecycle.announce import announce_restore
from backups_remote.models import Backup, Server

if TYPE_CHECKING:
    from collections.abc import Iterator


def refuse_open_transaction(verb: str) -> None:
    """Make sure that what ``verb`` writes is committed before it speaks with a store or a node.

    A caller's transaction that is rolled back would take the row back to a state that is not true
    any more: completed, say, with its archive deleted. Transactions of Django's ``TestCase`` and
    of pytest-django are let through, as by ``transaction.atomic(durable=True)``.

    Raises:
        RuntimeError: a transaction is open, or autocommit is off.

    """
    alias = router.db_for_write(Backup)
    connection = connections[alias]
    if connection.get_autocommit():  # safeguard: verbs-need-autocommit
        return
    message = (
        f"{verb}() must not be called inside a database transaction: what it writes has to be "
        "committed before a store or a node is told. Call it after the commit, or exempt the "
        "view from ATOMIC_REQUESTS with django.db.transaction.non_atomic_requests."
    )
    if not connection.in_atomic_block:
        raise RuntimeError(message)
    try:
        with transaction.atomic(using=alias, savepoint=False, durable=True):
            pass
    except RuntimeError as error:
        raise RuntimeError(message) from error


@contextlib.contextmanager
def locked_server(server_id: int) -> Iterator[Server]:
    """Lock a server's row for a short transaction, in which no store may be called.

    Beginning a restore, beginning a deletion and counting backups against the limit take turns
    under this lock. An UPDATE locks the row on every database, SELECT … FOR
    UPDATE does not. A restore that has overrun its time limit is ended first, as failed.

    Raises:
        ServerNotFound: it is gone, and all its backups with it.

    """
    database = router.db_for_write(Server)
    with contextlib.ExitStack() as transactions:

        def lock() -> Server:
            with contextlib.ExitStack() as begun:
                # safeguard: transactions-on-row-database
                begun.enter_context(transaction.atomic(using=database, durable=True))
                servers = Server.objects.using(database).filter(pk=server_id)
                servers.update(updated_at=timezone.now())  # safeguard: limit-under-server-lock
                server = servers.first()
                if server is None:
                    raise ServerNotFound
                transactions.push(begun.pop_all())
            return server

        server = retrying(database, lock)
        if server.is_restore_overdue:  # safeguard: overdue-restore-replaced
            _end_restore(server)
        yield server


def _end_restore(server: Server) -> None:
    backup = server.restoring_backup
    if server.end_overdue_restore() and backup is not None:
        announce_restore(backup, successful=False)  # safeguard: overdue-restore-signal
