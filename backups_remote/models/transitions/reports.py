"""The transitions of a reported backup that is not completed yet, and its claims."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from django.db import router
from django.db.models import Q
from django.utils import timezone

from backups_remote.database import retrying
from backups_remote.models.backup_fields import LONGEST_REASON
from backups_remote.models.changes import NOT_REFUSED, BackupChanges, new_holder
from backups_remote.models.events import EventKind, Note
from backups_remote.models.querysets import BackupQuerySet
from backups_remote.models.states import (
    COMPLETED,
    FAILED,
    OPEN,
    REPORTED,
    UPLOADING,
    BackupState,
)
from backups_remote.sql import Guard, defining_model

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from backups_remote.types import Report

# What a row must be for a transition to take place.
_IF_UPLOADING: Final = Guard(UPLOADING)
_IF_REPORTED: Final = Guard(REPORTED)
_IF_RECOVERING: Final = Guard(REPORTED & Q(is_recovered=True))
# safeguard: checksum-adopted-once
_IF_RECOVERED: Final = Guard(COMPLETED & Q(is_recovered=True, checksum=""))
_IF_NOT_COMPLETED: Final = Guard(OPEN | FAILED)


class ReportTransitions(BackupChanges):
    """A success is reported; the upload is claimed, and completed or given back."""

    class Meta:
        abstract = True

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
            # Set before it is sent: if the panel dies meanwhile, its outcome is unknown.
            completion_sent_at=timezone.now(),
            claimed_until=claimed_until,
            claimed_by=new_holder(),
            quiet_until=None,
            is_recovered=recovered,
            **({} if recovered else NOT_REFUSED),
        )

    def claim(self, until: dt.datetime) -> bool:
        """Claim a reported backup for completion, if it is ``claimable``; the claim is a lease."""
        now = timezone.now()
        holder = new_holder()  # safeguard: claim-holder-identity
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
            **NOT_REFUSED,
        )


def _reported(size: int, checksum: str) -> Note:
    return Note(EventKind.REPORTED, f"{size:,} bytes, {checksum or 'no checksum'}")
