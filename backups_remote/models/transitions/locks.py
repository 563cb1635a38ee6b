"""A backup is locked, so that nothing deletes it, and unlocked."""

from __future__ import annotations

from typing import Final

from django.db.models import Q

from backups_remote.models.changes import BackupChanges
from backups_remote.models.events import EventKind, Note
from backups_remote.models.states import COMPLETED, OPEN
from backups_remote.sql import Guard

_IF_LOCKABLE: Final = Guard((OPEN | COMPLETED) & Q(is_locked=False))
_IF_LOCKED: Final = Guard(Q(is_locked=True))


class LockTransitions(BackupChanges):
    """The transitions of a backup's lock."""

    class Meta:
        abstract = True

    def set_locked(self, *, locked: bool) -> bool:
        """Lock or unlock; a failed backup has nothing to lock."""
        note = Note(EventKind.LOCKED if locked else EventKind.UNLOCKED)
        # safeguard: states-set-locked
        return self._move(_IF_LOCKABLE if locked else _IF_LOCKED, None, note, is_locked=locked)
