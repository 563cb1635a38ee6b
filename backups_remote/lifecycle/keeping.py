"""Locking and deleting a backup."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from django.db import router

from backups_remote.exceptions import (
    BackupConflict,
    BackupLocked,
    BackupNotFound,
    DiskNotConfigured,
)
from backups_remote.lifecycle.finding import look_again
from backups_remote.models import Backup, Server
from backups_remote.storage import get_backend

if TYPE_CHECKING:
    from uuid import UUID

    from backups_remote.storage import StorageBackend


def lock_backup(backup: Backup) -> bool:
    """Protect a backup from deletion; False if it is locked already or has failed."""
    return backup.set_locked(locked=True)


def unlock_backup(backup: Backup) -> bool:
    """Let a backup be deleted again; False if it was not locked."""
    return backup.set_locked(locked=False)


def delete_backup(backup: Backup) -> None:
    """Delete an ended backup: its archive in the store, then its row. One that is gone is gone.

    From the first step on the row says that it is being deleted, so that a panel which dies in
    between leaves nothing that looks whole; the sweep finishes it. The archive of a backup on the
    node's own disk is the daemon's to delete: have it do so before.

    Raises:
        BackupLocked: unlock it first.
        BackupConflict: it has not ended yet, or its server is being restored.
        StorageUnavailable: the store could not be asked; the sweep tries again.

    """
    try:
        while backup.state is not Backup.State.DELETING and not _begin_deletion(backup):
            look_again(backup)
            _refuse_unless_deletable(backup)
    except BackupNotFound:
        return  # what was wanted
    erase(backup, get_backend(backup.disk))
    backup.delete()


def rotate_backups(server: Server) -> list[UUID]:
    """Delete a server's oldest whole, unlocked backups down to its limit; the uuids deleted.

    Only whole backups are counted, so none gives way to one that may still fail, and the newest
    one never goes. Call it when ``backup_completed`` is heard. Archives on a node's own disk are
    the daemon's to delete: they are left out. So is whatever is locked or restored meanwhile.

    Raises:
        StorageUnavailable: the store could not be asked; the sweep tries again.

    """
    limit = server.backup_limit
    if limit is None:
        return []
    backups = Backup.objects.using(router.db_for_write(Backup)).filter(server=server)
    whole = list(backups.completed().order_by("completed_at", "pk"))
    deleted: list[UUID] = []
    for backup in whole[:-1]:
        if len(whole) - len(deleted) <= limit:
            break
        if backup.is_locked or not is_erasable(backup.disk):
            continue
        with contextlib.suppress(BackupConflict, BackupLocked):
            delete_backup(backup)
            deleted.append(backup.uuid)
    return deleted


def is_erasable(disk: str) -> bool:
    """Whether archives on this disk are the panel's to delete."""
    try:
        return get_backend(disk).presigned_uploads
    except DiskNotConfigured:
        return False


def erase(backup: Backup, backend: StorageBackend) -> None:
    """Remove whatever the store holds of a backup. What is gone already counts as removed."""
    if not backend.presigned_uploads or not backup.object_key:
        return
    if backup.upload_id:
        backend.abort_upload(backup.object_key, backup.upload_id)
    version_id = backup.version_id
    if not version_id:
        # Without a version, a store that keeps them would only hide the object.
        found = backend.stat(backup.object_key)
        version_id = found.version_id if found is not None else ""
    backend.delete(backup.object_key, version_id=version_id)


def _begin_deletion(backup: Backup) -> bool:
    was_whole = backup.is_successful
    if not backup.begin_deletion():
        return False
    # Looked at after the row has changed, as a restore looks at the row after it has changed the
    # server: whichever of the two comes second sees the other.
    if was_whole and Server.is_restoring(backup.server_id) and backup.cancel_deletion():
        raise BackupConflict("Its server is being restored.")
    return True


def _refuse_unless_deletable(backup: Backup) -> None:
    if backup.is_locked:
        raise BackupLocked
    if backup.completed_at is None:
        raise BackupConflict("The backup has not ended yet.")
