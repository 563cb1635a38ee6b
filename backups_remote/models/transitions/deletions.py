"""The transitions of a deletion, from its beginning to the row's end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db.models import Q
from django.utils import timezone

from backups_remote.models.backup_fields import LONGEST_REASON
from backups_remote.models.changes import UNCLAIMED, BackupChanges, new_holder
from backups_remote.models.events import EventKind, Note
from backups_remote.models.states import ENDED, STATES, BackupState
from backups_remote.sql import Guard

if TYPE_CHECKING:
    import datetime as dt

# What a row must be for a transition to take place.
# safeguard: locked-not-deleted
_IF_ENDED_UNLOCKED: Final = Guard(ENDED & Q(is_locked=False))
_IF_UNLOCKED: Final = Guard(Q(is_locked=False))
_IF_DELETING: Final = Guard(STATES[BackupState.DELETING])


class DeletionTransitions(BackupChanges):
    """A deletion begins, is refused by the store or is done."""

    class Meta:
        abstract = True

    def begin_deletion(self, reason: str = "") -> bool:
        """COMPLETED or FAILED → DELETING, unless locked. Only a store's refusal takes it back.

        What is erased must be what this instance saw: the row may name another object by now.
        """
        detail = f"{reason}: {self.archive_in_words}" if reason else self.archive_in_words
        seen = {  # safeguard: deletion-guard
            "is_successful": self.is_successful,
            "object_etag": self.object_etag,
            "version_id": self.version_id,
        }
        return self._move(  # safeguard: states-begin-deletion
            _IF_ENDED_UNLOCKED,
            seen,
            Note(EventKind.DELETION_STARTED, detail),
            is_successful=False,
            deletion_started_at=timezone.now(),
        )

    def begin_erasing(self, quiet_until: dt.datetime) -> bool:
        """DELETING → DELETING: calls that erase the archive are about to be sent.

        Until ``quiet_until`` they may be under way, whatever becomes of this process, unless
        ``take_back_deletion`` or ``note_refused_deletion`` says that they were answered.
        """
        earlier = self.quiet_until
        begun = self._move(  # safeguard: states-begin-erasing
            _IF_DELETING,
            {"claimed_by": self.claimed_by, "quiet_until": earlier},
            claimed_by=new_holder(),
            quiet_until=quiet_until,
        )
        if begun:
            self.earlier_call_until = earlier
        return begun

    def take_back_deletion(self, reason: str, retained_until: dt.datetime | None) -> bool:
        """DELETING → COMPLETED: the store refused to erase the archive, which is whole.

        Only by whoever sent the last erasing call, and while no earlier one may be under way.
        """
        if self._may_overlap():  # safeguard: overlapping-deletion-not-taken-back
            return False
        return self._move(  # safeguard: states-take-back-deletion
            _IF_DELETING,
            {"claimed_by": self.claimed_by},  # safeguard: last-eraser-takes-back
            Note(EventKind.DELETION_REFUSED, reason[:LONGEST_REASON]),
            is_successful=True,
            deletion_started_at=None,
            **_refused(reason, retained_until),
            **UNCLAIMED,
        )

    def note_refused_deletion(self, reason: str, retained_until: dt.datetime | None) -> bool:
        """DELETING → DELETING: the store or the node refused, and nothing is taken back now."""
        return self._move(  # safeguard: states-note-refused-deletion
            _IF_DELETING,
            {"claimed_by": self.claimed_by},
            # This process' own call was answered.
            quiet_until=self.earlier_call_until if self._may_overlap() else None,
            **_refused(reason, retained_until),
        )

    def _may_overlap(self) -> bool:
        """Whether an earlier call that erases may be under way still."""
        earlier = self.earlier_call_until
        return earlier is not None and earlier > timezone.now()

    def remove_deleted(self, detail: str) -> bool:
        """DELETING → no row, once the archive is gone; False if another process was first."""
        # safeguard: states-remove-deleted
        return self._remove(_IF_DELETING, Note(EventKind.DELETED, detail))

    def remove_forgotten(self, detail: str) -> bool:
        """Any state → no row, unless locked: the archive is left where it is."""
        # safeguard: states-remove-forgotten
        return self._remove(_IF_UNLOCKED, Note(EventKind.FORGOTTEN, detail))


def _refused(reason: str, retained_until: dt.datetime | None) -> dict[str, Any]:
    return {
        "deletion_refused_at": timezone.now(),
        "deletion_refusal": reason[:LONGEST_REASON],
        "retained_until": retained_until,
    }
