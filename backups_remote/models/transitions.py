"""The guarded transitions of a backup.

Each is one conditional UPDATE whose WHERE names the states that it may leave, committed by itself
or together with the event that tells of it. It answers whether there was such a row. Where there
was none, a concurrent writer won: reload the row and decide again.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.db import router
from django.db.models import Q
from django.utils import timezone

from backups_remote.database import retrying
from backups_remote.models.events import EventKind, Note, in_words
from backups_remote.models.fields import LONGEST_REASON
from backups_remote.models.moves import BackupMoves
from backups_remote.models.states import (
    COMPLETED,
    ENDED,
    FAILED,
    FAILED_IN_SILENCE,
    OPEN,
    REPORTED,
    STATES,
    UNREPORTED,
    UPLOADING,
    BackupQuerySet,
    BackupState,
)
from backups_remote.sql import Guard, defining_model

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from backups_remote.types import Report, StoredObject

# What a row must be for a transition to take place.
_IF_UNREPORTED: Final = Guard(UNREPORTED)
_IF_UPLOADING: Final = Guard(UPLOADING)
_IF_REPORTED: Final = Guard(REPORTED)
_IF_RECOVERING: Final = Guard(REPORTED & Q(is_recovered=True))
_IF_COMPLETED: Final = Guard(COMPLETED)
# safeguard: checksum-adopted-once
_IF_RECOVERED: Final = Guard(COMPLETED & Q(is_recovered=True, checksum=""))
_IF_FAILED: Final = Guard(FAILED)
_IF_FAILED_IN_SILENCE: Final = Guard(FAILED_IN_SILENCE)
_IF_NOT_COMPLETED: Final = Guard(OPEN | FAILED)
_IF_ENDED_UNLOCKED: Final = Guard(ENDED & Q(is_locked=False))  # safeguard: locked-not-deleted
_IF_LOCKABLE: Final = Guard((OPEN | COMPLETED) & Q(is_locked=False))
_IF_LOCKED: Final = Guard(Q(is_locked=True))
_IF_UNLOCKED: Final = Guard(Q(is_locked=False))
_IF_DELETING: Final = Guard(STATES[BackupState.DELETING])


_UNCLAIMED: Final = {"claimed_until": None, "claimed_by": "", "quiet_until": None}
_NOT_REFUSED: Final = {"refused_at": None, "refusal": ""}
_OPEN_AGAIN: Final = {"completed_at": None, "failure": "", "failed_in_silence": False}


class BackupTransitions(BackupMoves):
    """The moves of a backup's row from state to state."""

    class Meta:
        abstract = True

    def start_upload(
        self, *, upload_id: str, mark: str, key: str, size: int | None, part_size: int
    ) -> bool:
        """PENDING or UPLOADING → UPLOADING, replacing the very upload that this instance saw.

        So does FAILED, where that was for silence alone. ``size`` is None where the archive is
        streamed: its report tells the size.
        """
        is_first = not self.upload_id
        kind = EventKind.UPLOAD_STARTED if is_first else EventKind.UPLOAD_REPLACED
        what = "a stream" if size is None else f"{size:,} bytes"
        detail = f"{what} in parts of {part_size:,} bytes"
        guard, reopened = _IF_UNREPORTED, {}  # safeguard: states-start-upload
        # safeguard: upload-replaced-once
        same: dict[str, Any] = {"upload_id": self.upload_id}
        if self.state is BackupState.FAILED:
            # safeguard: states-open-again
            guard, reopened = _IF_FAILED_IN_SILENCE, {**_OPEN_AGAIN, **self._lock_again}
            same |= {"was_locked": self.was_locked}
            detail += "; it had failed in silence"
        return self._move(
            guard,
            same,
            Note(kind, detail),
            upload_id=upload_id,
            upload_mark=mark,
            object_key=key,
            upload_size=size,
            part_size=part_size,
            upload_started_at=timezone.now(),
            completion_sent_at=None,
            **reopened,
        )

    def touch_upload(self) -> bool:
        """UPLOADING → UPLOADING: URLs are issued again, which is a sign of life."""
        same = {"upload_id": self.upload_id}
        # safeguard: states-touch-upload
        return self._move(_IF_UPLOADING, same, upload_started_at=timezone.now())

    def record_success(
        self,
        *,
        checksum: str,
        size: int,
        etags: Iterable[str],
        claimed_until: dt.datetime,
        recovered: bool = False,
    ) -> bool:
        """UPLOADING → REPORTED, claimed at once by the caller."""
        note = _reported(size, checksum)
        if recovered:
            note = Note(EventKind.RECOVERY_STARTED, "its parts are all in the store")
        return self._move(  # safeguard: states-record-success
            _IF_UPLOADING,
            {"upload_id": self.upload_id, "upload_started_at": self.upload_started_at},
            note,
            checksum=checksum,
            size=size,
            # Known from now on if the archive was streamed; else it is this already.
            upload_size=size,  # safeguard: streamed-size-recorded
            reported_etags=list(etags),
            reported_at=timezone.now(),
            # Before it is sent: nothing is known of it if the panel dies over it.
            completion_sent_at=timezone.now(),
            claimed_until=claimed_until,
            claimed_by=_new_holder(),
            quiet_until=None,
            is_recovered=recovered,
            **({} if recovered else _NOT_REFUSED),
        )

    def claim(self, until: dt.datetime) -> bool:
        """Claim a reported backup for completion, if it is ``claimable``; the claim is a lease."""
        now = timezone.now()
        holder = _new_holder()  # safeguard: claim-holder-identity
        alias = router.db_for_write(type(self), instance=self)
        # safeguard: derived-rows-claimed-once
        backups = BackupQuerySet(defining_model(type(self), "claimed_until"), using=alias)
        free = backups.claimable(now).filter(pk=self.pk)  # safeguard: claim-only-when-free
        changes = {"claimed_until": until, "claimed_by": holder, "updated_at": now}
        # safeguard: claim-reconnects
        claimed = bool(retrying(alias, partial(free.update, **changes)))
        if claimed:
            self.claimed_until, self.claimed_by = until, holder
        return claimed

    def renew_claim(self, until: dt.datetime) -> bool:
        """Extend the lease, unless another holder has claimed the backup since."""
        # safeguard: states-renew-claim
        return self._move(_IF_REPORTED, self._claimed, claimed_until=until)

    def release(self, *, quiet_until: dt.datetime | None = None) -> bool:
        """End the claim: others may complete the backup, now or after a quiet period."""
        return self._move(  # safeguard: states-release
            _IF_REPORTED,
            self._claimed,
            claimed_until=None,
            claimed_by="",
            quiet_until=quiet_until,
        )

    def refuse_report(self, reason: str) -> bool:
        """Remember why a report about a backup that is not completed was refused."""
        return self._move(  # safeguard: states-refuse-report
            _IF_NOT_COMPLETED,
            None,
            Note(EventKind.REPORT_REFUSED, reason[:LONGEST_REASON]),
            refused_at=timezone.now(),
            refusal=reason[:LONGEST_REASON],
        )

    def take_back_report(self, *, is_over: bool = False) -> bool:
        """REPORTED → UPLOADING: the store rejected the parts, another report may be right.

        ``is_over`` says that no earlier completion of this upload can still be under way.
        """
        return self._move(  # safeguard: states-take-back-report
            _IF_REPORTED,
            self._claimed,
            Note(EventKind.REPORT_TAKEN_BACK, "the store rejected the parts"),
            checksum="",
            size=0,
            reported_at=None,
            reported_etags=None,
            claimed_until=None,
            claimed_by="",
            quiet_until=None,
            is_recovered=False,
            # A report that an older version recorded has no time of its completion.
            completion_sent_at=None if is_over else self.completion_sent_at or self.reported_at,
        )

    def adopt_checksum(self, report: Report) -> bool:
        """Give a recovery the checksum that its node reported after all.

        It is under way, or was over before this report was compared with the object.
        """
        is_over = self.state is BackupState.COMPLETED
        return self._move(  # safeguard: states-adopt-checksum
            _IF_RECOVERED if is_over else _IF_RECOVERING,
            {"size": report.size},
            _reported(report.size, report.checksum),
            checksum=report.checksum,
            is_recovered=False,
            **_NOT_REFUSED,
        )

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
            **({} if recovered else _NOT_REFUSED),
        )

    def complete_on_node(self, report: Report) -> bool:
        """PENDING, UPLOADING or FAILED → COMPLETED: the archive lies on the node's own disk."""
        return self._complete(  # safeguard: states-complete-node
            _IF_FAILED if self.state is BackupState.FAILED else _IF_UNREPORTED,
            checksum=report.checksum,
            size=report.size,
            reported_at=timezone.now(),
            **_NOT_REFUSED,
        )

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

    def accept_object(self, found: StoredObject) -> bool:
        """COMPLETED → COMPLETED: the row is about ``found`` now, a copy of its object.

        For a bucket that was copied: the copies have ETags and versions of their own.
        """
        # safeguard: copy-guard
        seen = {"object_etag": self.object_etag, "version_id": self.version_id}
        note = Note(EventKind.COPY_ACCEPTED, f"an object with the ETag {found.etag}")
        # safeguard: states-accept-object
        return self._move(_IF_COMPLETED, seen, note, **_identity(found))

    def forget_upload(self) -> bool:
        """Note that a failed backup's upload is gone from the store."""
        note = Note(EventKind.UPLOAD_ABORTED)
        # safeguard: states-forget-upload
        return self._move(_IF_FAILED, {"upload_id": self.upload_id}, note, upload_id="")

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
            claimed_by=_new_holder(),
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
            **_UNCLAIMED,
        )

    def note_refused_deletion(self, reason: str, retained_until: dt.datetime | None) -> bool:
        """DELETING → DELETING: the store refused, and the deletion is not taken back now."""
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

    @property
    def _claimed(self) -> dict[str, Any]:
        """The upload and the claim that the claim holder has seen."""
        return {"upload_id": self.upload_id, "claimed_by": self.claimed_by}

    @property
    def _lock_again(self) -> dict[str, bool]:
        """A failed backup shows unlocked; what an operator locked before is locked again."""
        # safeguard: lock-restored
        return {"is_locked": self.was_locked, "was_locked": False}

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
            **_UNCLAIMED,
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
            **_UNCLAIMED,
            **{"checksum": "", **changes},
        )


def _refused(reason: str, retained_until: dt.datetime | None) -> dict[str, Any]:
    return {
        "deletion_refused_at": timezone.now(),
        "deletion_refusal": reason[:LONGEST_REASON],
        "retained_until": retained_until,
    }


def _reported(size: int, checksum: str) -> Note:
    return Note(EventKind.REPORTED, f"{size:,} bytes, {checksum or 'no checksum'}")


def _identity(found: StoredObject) -> dict[str, str]:
    """What tells an object from any other that may lie under its key later."""
    return {"object_etag": found.etag, "version_id": found.version_id}  # safeguard: version-kept


def _new_holder() -> str:
    return secrets.token_hex(16)
