"""A backup is put back onto its server."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from django.db import router
from django.db.models import Q
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from backups_remote.conf import app_settings
from backups_remote.database import in_order
from backups_remote.exceptions import RestoreRefused, UploadNotFound
from backups_remote.lifecycle.announce import announce_restore, announce_restore_begun
from backups_remote.lifecycle.lookup import make_current, reload
from backups_remote.lifecycle.rules.ownership import why_foreign
from backups_remote.lifecycle.transactions import locked_server, refuse_open_transaction
from backups_remote.models import RESTORING, Backup, EventKind, Server
from backups_remote.models.backup_fields import LONGEST_REASON
from backups_remote.storage import get_backend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from backups_remote.models.servers import ServerQuerySet
    from backups_remote.storage import StorageBackend
    from backups_remote.types import StoredObject

#: The content types that the daemon unpacks.
_ARCHIVES: Final = frozenset({"application/x-gzip", "application/gzip"})
LINK_LIFESPAN: Final = dt.timedelta(hours=1)


@sensitive_variables("link")
def start_restore(backup: Backup, *, lifespan: dt.timedelta = LINK_LIFESPAN) -> str | None:
    """Mark the server as restoring; return the link for its daemon (None: the node's own disk).

    The archive is looked at before anything is said to the daemon, which may delete the server's
    files before it fetches. From then on the backup is not deleted, until its node reports the
    end or the setting ``RESTORE_TIMEOUT`` is over. If the daemon refuses, or certainly was not
    reached, call ``cancel_restore``.

    Raises:
        RestoreRefused: the backup is not whole, or out of the node's reach, or its archive is not
            what it was, or its server is busy with something else.
        BackupNotFound: it was deleted meanwhile.
        StorageUnavailable: the store could not be asked.
        RuntimeError: a transaction is open.

    """
    return begin_restore(backup, lifespan=lifespan, calling=False)


@sensitive_variables("link")
def begin_restore(backup: Backup, *, lifespan: dt.timedelta, calling: bool) -> str | None:
    """``start_restore``; with ``calling``, ``Server.end_restore_call`` is to follow."""
    refuse_open_transaction("start_restore")  # safeguard: restore-outside-transaction
    make_current(backup)
    link = _link(backup, lifespan)
    in_order(router.db_for_write(Backup), lambda: _begin(backup, calling=calling))
    return link


def _begin(backup: Backup, *, calling: bool) -> None:
    with locked_server(backup.server_id) as server:  # safeguard: restore-under-server-lock
        # Under the lock that a deletion takes too: it has begun, and shows here, or it will see
        # the restore.
        reload(backup)  # safeguard: restore-reloads-row
        _refuse_unless_whole(backup)
        _refuse_unless_reachable(backup, server)  # safeguard: wings-restore-same-node
        if not server.begin_restore(backup, calling=calling):
            raise RestoreRefused("The server is busy with something else.")
        announce_restore_begun(backup)


def cancel_restore(backup: Backup, *, reason: str = "") -> None:
    """Take ``start_restore`` back: the daemon refused, or was certainly not reached.

    Called with the instance that ``start_restore`` was called with, it ends that restore, and not
    a later one of the same backup that has begun since. Any other instance
    ends whichever of them is going on. ``reason`` is for the event.
    """
    ended = Server.end_restore(
        backup.server_id,
        backup,
        EventKind.RESTORE_CANCELLED,
        reason[:LONGEST_REASON],
        began_at=backup.restore_began_at,
    )
    if ended:
        announce_restore(backup, successful=False)


def record_restore(backup: Backup, *, successful: bool, onto: UUID | None = None) -> None:
    """Record that a node reported the end of a restore of ``backup``.

    A report about a backup that is not being restored changes nothing: daemons repeat a report
    whose answer was lost, by when another restore may have begun. ``onto`` is the server that the
    report names, if any: ``start_restore`` restores a backup onto its own server, so a report
    about another one changes nothing either.
    """
    if onto is not None and onto != backup.server_uuid:  # safeguard: restore-report-names-server
        return
    kind = EventKind.RESTORE_COMPLETED if successful else EventKind.RESTORE_FAILED
    detail = "" if successful else "the node reported failure"
    if Server.end_restore(backup.server_id, backup, kind, detail):
        announce_restore(backup, successful=successful)


def end_overdue_restores(disk: str | None = None) -> Iterator[tuple[Server, Backup | None]]:
    """End the restores whose node has been silent for ``RESTORE_TIMEOUT``, as failed.

    Yields each server with the backup that was being restored, where that is known. ``disk``
    narrows it to restores of backups on that disk, and those whose backup is not known.
    """
    servers = Server.objects.using(router.db_for_write(Server)).filter(status=RESTORING)
    # Their beginning is not known: count from now on.
    # safeguard: undated-restore-limit
    servers.filter(restore_started_at=None).update(restore_started_at=timezone.now())
    # safeguard: current-restore-kept
    overdue = servers.filter(restore_started_at__lte=timezone.now() - app_settings.restore_timeout)
    if disk is not None:
        # safeguard: disk-sweep-ends-restores
        overdue = overdue.filter(Q(restoring_backup__disk=disk) | Q(restoring_backup=None))
    return end_as_failed(overdue)


def end_as_failed(
    servers: ServerQuerySet, reason: str = ""
) -> Iterator[tuple[Server, Backup | None]]:
    """End the restores onto these servers, whose daemons will not report them, as failed.

    Yields each server with the backup that was being restored, where that is known. ``reason`` is
    for the event; without one it says how long nothing was reported.
    """
    for server in servers.select_related("restoring_backup", "node").order_by("pk"):
        backup = server.restoring_backup
        if server.end_overdue_restore(reason):  # safeguard: overdue-restore-once
            if backup is not None:
                announce_restore(backup, successful=False)
            yield server, backup


@sensitive_variables("link")
def download_link(backup: Backup, *, lifespan: dt.timedelta = LINK_LIFESPAN) -> str | None:
    """A presigned link to a whole archive; None where it lies on its node's own disk.

    An event says that it was issued, and to whom (``backups_remote.actors``).

    Raises:
        RestoreRefused: the backup is not completed, or its archive is not what it was.
        BackupNotFound: it was deleted meanwhile.
        StorageUnavailable: the store could not be asked.
        RuntimeError: a transaction is open.

    """
    refuse_open_transaction("download_link")
    make_current(backup)
    link = _link(backup, lifespan)
    if link is not None:
        backup.note_download(lifespan)
    return link


def _link(backup: Backup, lifespan: dt.timedelta) -> str | None:
    """The link, once the archive has been looked at."""
    _refuse_unless_whole(backup)  # safeguard: link-only-completed
    backend = get_backend(backup.disk)
    if not backend.presigned_uploads:
        return None
    # safeguard: restore-checks-version
    found = backend.stat(backup.object_key, version_id=backup.version_id)
    if found is None:
        raise RestoreRefused("The archive is not in the store.")
    _refuse_unless_sound(backup, found)
    _refuse_if_damaged(backup, backend, found)  # safeguard: restore-looks-at-parts
    # HEAD alone proves no archive readable: on some stores an Abort beside a Complete breaks it.
    # safeguard: restore-reads-byte
    if not backend.is_intact(backup.object_key, version_id=backup.version_id):
        raise RestoreRefused("The store shows the archive, but it cannot be read.")
    return backend.download_url(  # safeguard: link-version
        backup.object_key,
        version_id=backup.version_id,
        filename=f"backup-{backup.uuid}.tar.gz",
        lifespan=lifespan,
    )


def _refuse_unless_whole(backup: Backup) -> None:
    if backup.state is not Backup.State.COMPLETED:
        raise RestoreRefused("Only a completed backup can be restored.")


def _refuse_unless_reachable(backup: Backup, server: Server) -> None:
    """What lies on a node's own disk is out of reach of any other node."""
    if not get_backend(backup.disk).presigned_uploads and server.node_id != backup.node_id:
        raise RestoreRefused("The archive is on the disk of a node that the server has left.")


def _refuse_unless_sound(backup: Backup, found: StoredObject) -> None:
    foreign = why_foreign(backup, found)
    if foreign:  # safeguard: foreign-object-not-restored
        raise RestoreRefused(foreign)
    if found.content_type not in _ARCHIVES:  # safeguard: restorable-content-type
        raise RestoreRefused(f"The archive's content type is {found.content_type!r}.")
    if not found.is_readable:  # safeguard: archived-object-not-restored
        raise RestoreRefused("The archive is in an archive class: have the store thaw it first.")


def _refuse_if_damaged(backup: Backup, backend: StorageBackend, found: StoredObject) -> None:
    """Find out whether a part was put again after the upload had been completed.

    Some stores take it, and then show the object as whole although reading it fails. They still
    list the upload's parts, which do not give the object's ETag any more.
    """
    if not backup.upload_id:
        return
    try:
        parts = backend.list_parts(backup.object_key, backup.upload_id)
    except UploadNotFound:
        return
    # safeguard: tries-refuse-nothing
    if len({part.number for part in parts}) != len(parts):
        return  # a store that lists every try at a part: which of them were used is not known
    expected = backend.etag_of(part.etag for part in parts) if parts else None
    if expected is not None and expected != found.etag:  # safeguard: damaged-archive-not-restored
        raise RestoreRefused("A part of the archive was replaced after the backup was completed.")
