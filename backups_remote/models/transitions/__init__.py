"""The guarded transitions of a backup.

Each is one conditional UPDATE whose WHERE names the states that it may leave, committed by itself
or together with the event that tells of it. It answers whether there was such a row. Where there
was none, a concurrent writer won: reload the row and decide again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backups_remote.models.events import EventKind, Note, in_words
from backups_remote.models.transitions.deletions import DeletionTransitions
from backups_remote.models.transitions.ends import EndTransitions
from backups_remote.models.transitions.locks import LockTransitions
from backups_remote.models.transitions.reports import ReportTransitions
from backups_remote.models.transitions.uploads import UploadTransitions

if TYPE_CHECKING:
    import datetime as dt


class BackupTransitions(
    UploadTransitions, ReportTransitions, EndTransitions, LockTransitions, DeletionTransitions
):
    """The moves of a backup's row from state to state."""

    class Meta:
        abstract = True

    def note_download(self, lifespan: dt.timedelta | None = None) -> None:
        """Note that a link to the archive was issued: an event without a change.

        Without ``lifespan`` it is one to the node's daemon, for one download.
        """
        detail = "for one download" if lifespan is None else f"valid for {in_words(lifespan)}"
        self._note(Note(EventKind.DOWNLOAD_LINK_ISSUED, detail))
