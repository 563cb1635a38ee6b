"""Lock backups against deletion and rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backups_remote.models import Backup


def lock_backup(backup: Backup) -> bool:
    """Protect a backup from deletion; False if it is locked already or has failed."""
    return backup.set_locked(locked=True)


def unlock_backup(backup: Backup) -> bool:
    """Let a backup be deleted again; False if it was not locked."""
    return backup.set_locked(locked=False)
