"""A backup is put back onto its server."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from django.db import router

from backups_remote.exceptions import RestoreRefused
from backups_remote.lifecycle.announcing import announce_restore
from backups_remote.lifecycle.finding import look_again
from backups_remote.models import Backup, Server
from backups_remote.storage import get_backend

if TYPE_CHECKING:
    from backups_remote.storage import StorageBackend

#: The content types that the daemon unpacks.
_ARCHIVES: Final = frozenset({"application/x-gzip", "application/gzip"})
LINK_LIFESPAN: Final = dt.timedelta(hours=1)


def start_restore(backup: Backup, *, lifespan: dt.timedelta = LINK_LIFESPAN) -> str | None:
    """Mark the server as restoring; the link that its daemon is to fetch (None: its own disk).

    The archive is looked at before anything is said to the daemon, which may delete the server's
    files before it fetches. If the daemon then refuses, call ``cancel_restore``.

    Raises:
        RestoreRefused: the backup is not whole or out of the node's reach, or its server is busy
            with something else.
        BackupNotFound: it was deleted meanwhile.
        StorageUnavailable: the store could not be asked.

    """
    link = download_link(backup, lifespan=lifespan)
    if not Server.begin_restoring(backup.server_id):
        raise RestoreRefused("The server is busy with something else.")
    try:
        # From now on nobody begins to delete it. Who was faster than the line above shows here.
        look_again(backup)
        _refuse_unless_whole(backup)
        _refuse_unless_reachable(backup)
    except BaseException:
        cancel_restore(backup)
        raise
    return link


def cancel_restore(backup: Backup) -> None:
    """Take ``start_restore`` back: the daemon was not reached or refused."""
    Server.end_restoring(backup.server_id)


def record_restore(backup: Backup, *, successful: bool) -> None:
    """Take a node's word that a restore is over. Only a status of ours is cleared."""
    if Server.end_restoring(backup.server_id):
        announce_restore(backup, successful=successful)


def download_link(backup: Backup, *, lifespan: dt.timedelta = LINK_LIFESPAN) -> str | None:
    """A presigned link to a whole archive; None where it lies on its node's own disk.

    Raises:
        RestoreRefused: the backup is not completed, or its archive is not what it was.
        StorageUnavailable: the store could not be asked.

    """
    _refuse_unless_whole(backup)
    backend = get_backend(backup.disk)
    if not backend.presigned_uploads:
        return None
    _refuse_unless_sound(backup, backend)
    return backend.download_url(
        backup.object_key,
        version_id=backup.version_id,
        filename=f"backup-{backup.uuid}.tar.gz",
        lifespan=lifespan,
    )


def _refuse_unless_whole(backup: Backup) -> None:
    if backup.state is not Backup.State.COMPLETED:
        raise RestoreRefused("Only a completed backup can be restored.")


def _refuse_unless_reachable(backup: Backup) -> None:
    """What lies on a node's own disk is out of reach of any other node."""
    if get_backend(backup.disk).presigned_uploads:
        return
    here = Server.objects.using(router.db_for_write(Server))
    if not here.filter(pk=backup.server_id, node=backup.node_id).exists():
        raise RestoreRefused("The archive is on the disk of a node that the server has left.")


def _refuse_unless_sound(backup: Backup, backend: StorageBackend) -> None:
    found = backend.stat(backup.object_key, version_id=backup.version_id)
    if found is None:
        raise RestoreRefused("The archive is not in the store.")
    if found.size != backup.size:
        raise RestoreRefused(f"The archive has {found.size} bytes instead of {backup.size}.")
    if found.mark not in {None, backup.upload_mark}:
        raise RestoreRefused("The object in the store is not this backup's.")
    if found.content_type not in _ARCHIVES:
        raise RestoreRefused(f"The archive's content type is {found.content_type!r}.")
    if not found.is_readable:
        raise RestoreRefused("The archive is in an archive class: have the store thaw it first.")
