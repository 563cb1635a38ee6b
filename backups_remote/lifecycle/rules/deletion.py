"""When a backup's row may go, and whether its archive can be deleted with it."""

from __future__ import annotations

import datetime as dt
import enum
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from backups_remote.daemon import is_callable
from backups_remote.exceptions import DiskNotConfigured
from backups_remote.lifecycle.rules.age import aware, is_older_than
from backups_remote.models import Backup
from backups_remote.storage import get_backend
from backups_remote.storage.registry import is_named

if TYPE_CHECKING:
    from backups_remote.models import Server

#: How long a rotation leaves out an archive that the store refused to delete.
_ASKED_AGAIN_AFTER: Final = dt.timedelta(days=1)


class Obstacle(enum.Enum):
    """Why a backup's row cannot go."""

    LOCKED = "The backup is locked."
    NOT_ENDED = "The backup has not ended yet."
    BEING_RESTORED = "The backup is being restored."


def obstacle_to_deletion(backup: Backup, server: Server) -> Obstacle | None:
    """Why ``backup`` may not be deleted; None if it may, or if its deletion has begun already."""
    if backup.state is Backup.State.DELETING:
        return _obstacle_of_old_panel(server)
    if backup.is_locked:
        return Obstacle.LOCKED
    if backup.completed_at is None:  # safeguard: unfinished-backup-not-deleted
        return Obstacle.NOT_ENDED
    return _obstacle_of_restore(backup, server)  # safeguard: deletion-checks-restore


def obstacle_to_forgetting(backup: Backup, server: Server) -> Obstacle | None:
    """Why the row of a backup whose disk is gone may not be deleted; None if it may."""
    if backup.is_locked:  # safeguard: locked-backup-not-forgotten
        return Obstacle.LOCKED
    return _obstacle_of_restore(backup, server)  # safeguard: restoring-backup-not-forgotten


def _obstacle_of_restore(backup: Backup, server: Server) -> Obstacle | None:
    # safeguard: failed-backup-not-restoring
    if backup.is_successful and server.is_restoring_from(backup):
        return Obstacle.BEING_RESTORED
    return None


def _obstacle_of_old_panel(server: Server) -> Obstacle | None:
    """Why a deletion that has begun must wait: a panel of an older version may take it back.

    Such a panel does not remember which backup it restores.
    """
    # safeguard: old-deletion-waits
    if server.is_restoring and server.restoring_backup_id is None:
        return Obstacle.BEING_RESTORED
    return None


def is_configured(disk: str) -> bool:
    """Whether the settings say what this disk is, and it can be set up so."""
    try:
        get_backend(disk)
    except DiskNotConfigured:
        return False
    return True


def is_gone(disk: str) -> bool:
    """Whether the settings have no such disk any more.

    One that cannot be set up, for a misspelt option perhaps, has its archives all the same.
    """
    return not is_named(disk)


def has_nothing_stored(backup: Backup) -> bool:
    """Whether the row knows of no upload and no archive: it is in no store.

    A node's own disk may still have an archive, whose report was lost.
    """
    return not (backup.upload_id or backup.object_key or backup.size or backup.checksum)


def ends_without_disk(backup: Backup) -> bool:
    """Whether ``backup`` ends without its disk, whose alias is gone, misspelt or empty."""
    return has_nothing_stored(backup) and not is_configured(backup.disk)


def has_its_disk(backup: Backup) -> bool:
    """Whether the settings have the disk that the end of ``backup`` needs, if it needs one."""
    return has_nothing_stored(backup) or is_configured(backup.disk)


def is_kept_by_store(backup: Backup) -> bool:
    """Whether the store has refused to delete this archive, and would do so again by all signs.

    Until the end of the retention period that it named; if it named none, for a day.
    """
    until, refused_at = backup.retained_until, backup.deletion_refused_at
    if until is not None and aware(until) > aware(timezone.now()):
        return True  # safeguard: retained-backup-not-rotated
    return refused_at is not None and not is_older_than(refused_at, _ASKED_AGAIN_AFTER)


def can_be_erased(backup: Backup) -> bool:
    """Whether the panel can delete this archive: in the store, or through its node's daemon."""
    if not is_configured(backup.disk):
        return False
    return get_backend(backup.disk).presigned_uploads or is_callable(backup.node)
