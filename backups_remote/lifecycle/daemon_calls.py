"""The verbs that call a node's daemon: write the row, make the call, update the row by its outcome.

Only what has certainly not begun is taken back. After any other fault the daemon may be at work:
the row is left to its report, or to the sweep.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.db import router
from django.views.decorators.debug import sensitive_variables

from backups_remote.daemon import get_daemon
from backups_remote.exceptions import DaemonError, DaemonNotBegun, DaemonUnclear, ServerNotFound
from backups_remote.lifecycle.announce import announce_end
from backups_remote.lifecycle.create import start_backup
from backups_remote.lifecycle.restores import (
    LINK_LIFESPAN,
    begin_restore,
    cancel_restore,
    download_link,
)
from backups_remote.models import Node, Server

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable
    from uuid import UUID

    from backups_remote.models import Backup


def back_up(
    server: Server,
    *,
    name: str = "",
    ignored_files: Iterable[str] = (),
    disk: str | None = None,
    is_locked: bool = False,
    rotating: bool = False,
) -> Backup:
    """Create a backup of ``server`` and have its node's daemon make it; see ``start_backup``.

    It returns once the daemon has accepted: the backup is made in the background. An error of the
    daemon names the backup in ``backup_uuid``.

    Raises:
        DaemonNotBegun: the daemon refused or was not reached; the backup has failed.
        DaemonUnclear: it may have begun; its report or the sweep ends the backup.
        BackupLimitReached, DiskNotConfigured, ServerNotFound, RuntimeError, TypeError: as
            ``start_backup``.

    """
    get_daemon(_node_of(server.pk))  # before a row is written
    backup = start_backup(
        server,
        name=name,
        ignored_files=ignored_files,
        disk=disk,
        is_locked=is_locked,
        rotating=rotating,
    )
    try:
        get_daemon(backup.node).make_backup(backup)
    except DaemonError as error:
        error.backup_uuid = backup.uuid
        # It stays if the daemon has asked for an upload after all.
        # safeguard: unclear-call-keeps-backup
        if isinstance(error, DaemonNotBegun) and backup.fail(f"not begun: {error}"):
            announce_end(backup)
        raise
    return backup


@sensitive_variables("link")
def restore(
    backup: Backup, *, truncate: bool = False, lifespan: dt.timedelta = LINK_LIFESPAN
) -> None:
    """Have the daemon of the server's node restore ``backup``; see ``start_restore``.

    ``truncate`` deletes the server's files before the archive is fetched. It returns once the
    daemon has accepted: the files are restored in the background.

    Raises:
        DaemonNotBegun: the daemon refused or was not reached; the server is idle again.
        DaemonUnclear: it may have begun; its report or ``RESTORE_TIMEOUT`` ends the restore.
        RestoreRefused, BackupNotFound, StorageUnavailable, RuntimeError: as ``start_restore``.

    """
    get_daemon(_node_of_server(backup))  # before anything is written
    link = begin_restore(backup, lifespan=lifespan, calling=True)  # safeguard: restore-call-noted
    try:
        daemon = get_daemon(_node_of_server(backup))
        daemon.restore_backup(backup, link=link, truncate=truncate)
    except DaemonNotBegun as error:  # safeguard: unclear-call-keeps-restore
        cancel_restore(backup, reason=f"not begun: {error}")
        raise
    except DaemonUnclear:
        Server.end_restore_call(backup)
        raise
    Server.end_restore_call(backup)


@sensitive_variables("link", "url")
def download_link_for_user(
    backup: Backup, *, user_uuid: UUID | None = None, lifespan: dt.timedelta = LINK_LIFESPAN
) -> str:
    """A link to a whole archive for a browser: to the store, or once to the node's daemon.

    Wings wants to know whose download it is: ``user_uuid``, by default a random one. An event says
    that a link was issued, and to whom (``backups_remote.actors``).

    Raises:
        RestoreRefused: the backup is not completed, or its archive is not what it was.
        DaemonNotConfigured: it lies on its node's own disk, whose daemon the panel does not call.
        StorageUnavailable: the store could not be asked.
        RuntimeError: a transaction is open.

    """
    link = download_link(backup, lifespan=lifespan)
    if link is not None:
        return link
    url = get_daemon(backup.node).download_url(backup, user_uuid=user_uuid or uuid.uuid4())
    backup.note_download()
    return url


def _node_of_server(backup: Backup) -> Node:
    return _node_of(backup.server_id)  # safeguard: restore-calls-current-node


def _node_of(server_id: int) -> Node:
    """The node that the server is on now.

    Raises:
        ServerNotFound: there is no such server any more.

    """
    try:
        return Node.objects.using(router.db_for_write(Node)).get(servers=server_id)
    except Node.DoesNotExist:
        raise ServerNotFound from None
