"""Locking and deleting a backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backups_remote.exceptions import BackupConflict, BackupLocked, BackupNotFound
from backups_remote.lifecycle.finding import look_again
from backups_remote.models import Backup
from backups_remote.storage import get_backend

if TYPE_CHECKING:
    from uuid import UUID

    from backups_remote.models import Server
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
        BackupConflict: it has not ended yet.
        StorageUnavailable: the store could not be asked; the sweep tries again.

    """
    if backup.state is not Backup.State.DELETING and not backup.begin_deletion():
        try:
            look_again(backup)
        except BackupNotFound:
            return  # what was wanted
        if backup.is_locked:
            raise BackupLocked
        raise BackupConflict("The backup has not ended yet.")
    erase(backup, get_backend(backup.disk))
    backup.delete()


def rotate_backups(server: Server) -> list[UUID]:
    """Delete a server's oldest whole, unlocked backups down to its limit; the uuids deleted.

    Only whole backups are counted, so none gives way to one that may still fail. Call it when
    ``backup_completed`` is heard. Archives on a node's own disk are the daemon's to delete: they
    are left out.

    Raises:
        StorageUnavailable: the store could not be asked; the sweep tries again.

    """
    limit = server.backup_limit
    if limit is None:
        return []
    backups = Backup.objects.filter(server=server)
    deleted = []
    for backup in list(backups.rotatable()):
        if backups.completed().count() <= limit:
            break
        if get_backend(backup.disk).presigned_uploads:
            delete_backup(backup)
            deleted.append(backup.uuid)
    return deleted


def erase(backup: Backup, backend: StorageBackend) -> None:
    """Remove whatever the store holds of a backup. What is gone already counts as removed."""
    if not backend.presigned_uploads or not backup.object_key:
        return
    if backup.upload_id:
        backend.abort_upload(backup.object_key, backup.upload_id)
    backend.delete(backup.object_key, version_id=backup.version_id)
