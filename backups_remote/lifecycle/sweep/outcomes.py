"""The outcomes that a sweep yields about backups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backups_remote.types import SweepAction, SweepOutcome

if TYPE_CHECKING:
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
