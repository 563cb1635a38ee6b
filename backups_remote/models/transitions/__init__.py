"""The guarded transitions of a backup.

Each is one conditional UPDATE whose WHERE names the states that it may leave, committed by itself
or together with the event that tells of it. It answers whether there was such a row. Where there
was none, a concurrent writer won: reload the row and decide again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db.models import Q

from backups_remote.models.events import EventKind, Note, in_words
from backups_remote.models.states import COMPLETED, OPEN
from backups_remote.models.transitions.deletions import DeletionTransitions
from backups_remote.models.transitions.ends import EndTransitions
from backups_remote.models.transitions.reports import ReportTransitions
from backups_remote.models.transitions.uploads import UploadTransitions
from backups_remote.sql import Guard

if TYPE_CHECKING:
    import datetime as dt

_IF_LOCKABLE: Final = Guard((OPEN | COMPLETED) & Q(is_locked=False))
_IF_LOCKED: Final = Guard(Q(is_locked=True))


class BackupTransitions(UploadTransitions, ReportTransitions, EndTransitions, DeletionTransitions):
    """The moves of a backup's row from state to state."""

    class Meta:
        abstract = True

    def set_locked(self, *, locked: bool) -> bool:
        """Lock or unlock; a failed backup has nothing to lock."""
        note = Note(EventKind.LOCKED if locked else EventKind.UNLOCKED)
        # safeguard: states-set-locked
        return self._move(_IF_LOCKABLE if locked else _IF_LOCKED, None, note, is_locked=locked)

    def note_download(self, lifespan: dt.timedelta | None = None) -> None:
        """Note that a link to the archive was issued: an event without a change.

        Without ``lifespan`` it is one to the node's daemon, for one download.
        """
        detail = "for one download" if lifespan is None else f"valid for {in_words(lifespan)}"
        self._note(Note(EventKind.DOWNLOAD_LINK_ISSUED, detail))
