"""The outcomes that a sweep yields about backups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backups_remote.conf import app_settings
from backups_remote.models.events import in_words
from backups_remote.types import SweepAction, SweepOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backups_remote.models import Backup


def outcome(action: SweepAction, backup: Backup, detail: str = "") -> SweepOutcome:
    """What was done about a backup."""
    return SweepOutcome(action, str(backup.uuid), backup.disk, detail)


def fault(backup: Backup, reason: str) -> SweepOutcome:
    """What could not be done about a backup, and why."""
    return outcome(SweepAction.ERROR, backup, reason)


def unverified(why: str, backup: Backup) -> str:
    """Why a backup is completed without an accepted report, and why its last one was refused."""
    if not backup.refusal:  # safeguard: recovery-notes-unverified
        return why
    return f"{why}; it is unverified, its report was refused: {backup.refusal}"


def found_whole(backup: Backup) -> SweepOutcome:
    """The outcome of a backup whose whole object was in the store."""
    if backup.checksum:  # of a report that was accepted before the backup failed
        return outcome(SweepAction.COMPLETED, backup, "reported, and failed before it was whole")
    why = unverified("its whole archive was in the store", backup)
    return outcome(SweepAction.RECOVERED, backup, why)


def failed(backup: Backup, reason: str, *, is_unseen: bool = False) -> SweepOutcome:
    """The outcome of a silent backup that is given up.

    ``is_unseen`` says that the store refused to show whether there is an object.
    """
    why = reason
    if is_unseen or backup.completion_sent_at is not None:
        why = f"{reason}; its upload is kept for days: its object may still appear"
    elif backup.upload_id:
        why = f"{reason}; its upload is aborted"
    return outcome(SweepAction.FAILED, backup, why)


def aborted(backup: Backup) -> SweepOutcome:
    """The outcome of a failed backup whose upload was still there."""
    return outcome(SweepAction.UPLOAD_ABORTED, backup, "failed before, its upload was still there")


def pruned(count: int) -> Iterator[SweepOutcome]:
    """The outcome of ``count`` events that are old enough; none if there are none."""
    if count:
        detail = f"older than {in_words(app_settings.events_kept)}, of backups that are gone"
        yield SweepOutcome(SweepAction.EVENTS_PRUNED, f"{count:,}", "", detail)
