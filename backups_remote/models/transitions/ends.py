"""The transitions that end a backup, as completed or as failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone

from backups_remote.models.backup_fields import LONGEST_REASON
from backups_remote.models.changes import NOT_REFUSED, UNCLAIMED, BackupChanges
from backups_remote.models.events import EventKind, Note
from backups_remote.models.states import (
    COMPLETED,
    FAILED,
    FAILED_IN_SILENCE,
    REPORTED,
    UNREPORTED,
    UPLOADING,
    BackupState,
)
from backups_remote.sql import Guard

if TYPE_CHECKING:
    from backups_remote.types import Report, StoredObject

# What a row must be for a transition to take place.
_IF_UNREPORTED: Final = Guard(UNREPORTED)
_IF_UPLOADING: Final = Guard(UPLOADING)
_IF_REPORTED: Final = Guard(REPORTED)
_IF_COMPLETED: Final = Guard(COMPLETED)
_IF_FAILED: Final = Guard(FAILED)
_IF_FAILED_IN_SILENCE: Final = Guard(FAILED_IN_SILENCE)


class EndTransitions(BackupChanges):
    """A backup is completed, or fails; later, such an end is corrected."""

    class Meta:
        abstract = True

    def complete_uploaded(self, proof: StoredObject) -> bool:
        """REPORTED → COMPLETED: ``proof`` is the whole object in the store."""
        same = {"upload_id": self.upload_id}  # safeguard: report-proof-guard
        # safeguard: states-complete-uploaded
        return self._complete(_IF_REPORTED, same, **_identity(proof))

    def complete_proven(
        self, proof: StoredObject, *, checksum: str = "", recovered: bool = False
    ) -> bool:
        """UPLOADING or FAILED → COMPLETED: the whole object is in the store already.

        ``recovered`` says that no report of this object is at hand. Where one had been accepted
        before the backup failed, it still stands.
        """
        same = {"upload_mark": self.upload_mark}  # safeguard: proof-guard
        if recovered and self.checksum:  # safeguard: accepted-report-stands
            same["checksum"] = checksum = self.checksum
            recovered = False
        return self._complete(  # safeguard: states-complete-proven
            _IF_FAILED if self.state is BackupState.FAILED else _IF_UPLOADING,
            same,
            checksum=checksum,
            size=proof.size,
            is_recovered=recovered,
            **_identity(proof),
            **({} if recovered else NOT_REFUSED),
        )

    def complete_on_node(self, report: Report) -> bool:
        """PENDING, UPLOADING or FAILED → COMPLETED: the archive lies on the node's own disk."""
        return self._complete(  # safeguard: states-complete-node
            _IF_FAILED if self.state is BackupState.FAILED else _IF_UNREPORTED,
            checksum=report.checksum,
            size=report.size,
            reported_at=timezone.now(),
            **NOT_REFUSED,
        )

    def accept_object(self, found: StoredObject) -> bool:
        """COMPLETED → COMPLETED: the row is about ``found`` now, a copy of its object.

        For a bucket that was copied: the copies have ETags and versions of their own.
        """
        # safeguard: copy-guard
        seen = {"object_etag": self.object_etag, "version_id": self.version_id}
        note = Note(EventKind.COPY_ACCEPTED, f"an object with the ETag {found.etag}")
        # safeguard: states-accept-object
        return self._move(_IF_COMPLETED, seen, note, **_identity(found))

    def fail(self, reason: str, *, in_silence: bool = False) -> bool:
        """PENDING or UPLOADING → FAILED. The upload, if any, is still to be aborted.

        ``in_silence`` says that there is no other reason than that its node never called.
        """
        # safeguard: failure-guard
        seen = {"upload_id": self.upload_id, "upload_started_at": self.upload_started_at}
        # safeguard: states-fail
        return self._fail(_IF_UNREPORTED, seen, reason, failed_in_silence=in_silence)

    def confirm_failure(self, reason: str = "") -> bool:
        """FAILED → FAILED: it failed for silence alone, and is not opened again from now on.

        ``reason`` is what its node says of it after all.
        """
        changes: dict[str, Any] = {"failed_in_silence": False}
        note = None
        if reason:
            changes["failure"] = reason[:LONGEST_REASON]
            note = Note(EventKind.FAILED, changes["failure"])
        # safeguard: states-confirm-failure
        return self._move(_IF_FAILED_IN_SILENCE, None, note, **changes)

    def fail_reported(self, reason: str) -> bool:
        """REPORTED → FAILED: the store holds neither the upload nor the object.

        The checksum of the report is kept: the object may appear after all.
        """
        kept = {"checksum": self.checksum}
        # safeguard: states-fail-reported
        return self._fail(_IF_REPORTED, self._claimed, reason, **kept)

    def _complete(
        self, guard: Guard, same: dict[str, Any] | None = None, /, **changes: Any
    ) -> bool:
        if guard is _IF_FAILED:
            same = {**(same or {}), "was_locked": self.was_locked}
            changes |= self._lock_again | {"failed_in_silence": False}
        recovered = changes.get("is_recovered", self.is_recovered)
        kind = EventKind.RECOVERED if recovered else EventKind.COMPLETED
        return self._move(
            guard,
            same,
            Note(kind, f"{changes.get('size', self.size):,} bytes"),
            is_successful=True,
            failure="",
            completed_at=timezone.now(),
            reported_etags=None,
            completion_sent_at=None,
            **UNCLAIMED,
            **changes,
        )

    def _fail(self, guard: Guard, same: dict[str, Any], reason: str, /, **changes: Any) -> bool:
        return self._move(  # safeguard: lock-kept-on-failure
            guard,
            {**same, "is_locked": self.is_locked},
            Note(EventKind.FAILED, reason[:LONGEST_REASON]),
            is_successful=False,
            failure=reason[:LONGEST_REASON],
            is_locked=False,
            was_locked=self.is_locked,
            is_recovered=False,
            completed_at=timezone.now(),
            size=0,
            reported_etags=None,
            **UNCLAIMED,
            **{"checksum": "", **changes},
        )


def _identity(found: StoredObject) -> dict[str, str]:
    """What tells an object from any other that may lie under its key later."""
    return {"object_etag": found.etag, "version_id": found.version_id}  # safeguard: version-kept
