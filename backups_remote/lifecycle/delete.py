"""Deleting a backup: decided once in its row, then carried out where its archive lies."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

from django.db import router
from django.db.models import ProtectedError, RestrictedError

from backups_remote.database import in_order
from backups_remote.exceptions import (
    BackupConflict,
    BackupLocked,
    BackupNotFound,
    StorageRefused,
)
from backups_remote.lifecycle import erase
from backups_remote.lifecycle.announce import announce_removal
from backups_remote.lifecycle.lookup import reload
from backups_remote.lifecycle.references import in_words, why_protected
from backups_remote.lifecycle.retry import OVERTAKEN, Overtaken, decide_until_settled
from backups_remote.lifecycle.rules.deletion import (
    Obstacle,
    ends_without_disk,
    has_nothing_stored,
    is_gone,
    obstacle_to_deletion,
    obstacle_to_forgetting,
)
from backups_remote.lifecycle.transactions import locked_server, refuse_open_transaction
from backups_remote.models import Backup
from backups_remote.storage import get_backend

if TYPE_CHECKING:
    from backups_remote.types import StoredObject

logger = logging.getLogger(__name__)

_ERRORS: Final = {
    Obstacle.LOCKED: BackupLocked,
    Obstacle.NOT_ENDED: BackupConflict,
    Obstacle.BEING_RESTORED: BackupConflict,
}


def delete_backup(backup: Backup) -> StoredObject | None:
    """Delete an ended backup: its archive, then its row. It is no error if it is gone already.

    The row is marked as being deleted first. If the panel dies after that, the sweep finishes the
    deletion. It is taken back only if the store refuses for good, for a retention period or a
    missing permission, and then shows the archive whole. What lies on the node's own disk is
    deleted by its daemon, through the setting ``DAEMON``; a daemon that does so in the background
    leaves the row to its report. Without that setting, or where the node has no URL, only the row
    is deleted: have the daemon delete the archive before.

    Returns:
        The object that was left under the backup's key because it is not the backup's; else None.

    Raises:
        BackupLocked: unlock it first.
        BackupConflict: it has not ended yet, is being restored, or is protected by rows of the
            host project, which are named.
        DiskNotConfigured: its disk is not configured; nothing is changed. See ``forget_backup``.
        StorageRefused: the store does not delete it; the backup stays whole, with the reason.
        StorageUnavailable: the store could not be asked; the sweep tries again.
        DaemonError: the node's daemon did not delete the archive; the sweep tries again.
        RuntimeError: a transaction is open.

    """
    refuse_open_transaction("delete_backup")  # safeguard: delete-outside-transaction
    try:
        begin = partial(in_order, router.db_for_write(Backup), partial(_begin, backup))
        decide_until_settled(backup, begin)
        if ends_without_disk(backup):  # safeguard: failed-own-disk-deletion-told
            remove(backup, None)
            return None
        decide_until_settled(backup, lambda: _begin_erasing(backup))
    except BackupNotFound:
        return None
    erasure = erase.erase(backup, get_backend(backup.disk))  # safeguard: archive-deleted-first
    if erasure.refusal:
        _raise_refused(erasure, is_back=erase.take_back(backup, erasure))
    if not erasure.is_under_way:  # safeguard: deletion-under-way-keeps-row
        remove(backup, erasure.left)
    return erasure.left


def forget_backup(backup: Backup) -> None:
    """Delete the row of a backup whose disk is gone from the settings. Its archive is left.

    Raises:
        BackupLocked: unlock it first.
        BackupConflict: the settings have its disk, so that it can be deleted, perhaps after its
            options are corrected; or it is being restored, or protected by rows of the host
            project.
        BackupNotFound: it is gone already.

    """
    if not is_gone(backup.disk):  # safeguard: forget-only-unconfigured
        raise BackupConflict(f"The disk {backup.disk!r} is configured: delete the backup instead.")
    with locked_server(backup.server_id) as server:
        reload(backup)
        _raise_if(obstacle_to_forgetting(backup, server))
        _raise_if_protected(backup)
        uuid = backup.uuid
        left = f"its archive, if any, was left on the disk {backup.disk}"
        if not backup.remove_forgotten(left):
            raise BackupConflict("The backup was locked or deleted meanwhile.")
        announce_removal(backup, forgotten=True)
    logger.warning(
        "The row of backup %s was deleted. Its archive, if any, was left on the disk %r.",
        uuid,
        backup.disk,
    )


def remove(backup: Backup, left: StoredObject | None) -> bool:
    """Delete the row of a backup in DELETING, whose archive is gone; False if it was gone before.

    ``left`` is the object under its key that is not its own.

    Raises:
        BackupConflict: rows of the host project protect it since its deletion was decided.

    """
    detail = backup.archive_in_words
    if left is not None:
        detail += "; an object that is not this backup's was left there"
    try:
        removed = backup.remove_deleted(detail)
    except ProtectedError as error:
        raise BackupConflict(in_words(error.protected_objects)) from error
    except RestrictedError as error:
        raise BackupConflict(in_words(error.restricted_objects)) from error
    if removed:
        announce_removal(backup)
    return removed


def _begin(backup: Backup) -> Overtaken | None:
    """Move the row to DELETING.

    The lock excludes the beginning of a restore: either the restore finds the row in DELETING, or
    this finds the restore.
    """
    with locked_server(backup.server_id) as server:  # safeguard: deletion-under-server-lock
        reload(backup)  # safeguard: deletion-reloads-row
        _raise_if(obstacle_to_deletion(backup, server))
        _raise_if_protected(backup)  # safeguard: protected-backup-not-deleted
        if not has_nothing_stored(backup):
            get_backend(backup.disk)  # safeguard: deletion-needs-disk
        if backup.state is Backup.State.DELETING or backup.begin_deletion():
            return None
    return OVERTAKEN


def _begin_erasing(backup: Backup) -> Overtaken | None:
    if backup.state is not Backup.State.DELETING:
        # The store has refused another caller, which took the deletion back.
        raise StorageRefused(backup.deletion_refusal)
    return None if erase.begin(backup) else OVERTAKEN


def _raise_refused(erasure: erase.Erasure, *, is_back: bool) -> NoReturn:
    outcome = "The backup stays." if is_back else "The sweep tries again."
    raise StorageRefused(f"{erasure.refusal} {outcome}")


def _raise_if(obstacle: Obstacle | None) -> None:
    if obstacle is not None:
        raise _ERRORS[obstacle](obstacle.value)


def _raise_if_protected(backup: Backup) -> None:
    if reason := why_protected(backup):
        raise BackupConflict(reason)
