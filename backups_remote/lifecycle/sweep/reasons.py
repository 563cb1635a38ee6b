"""Why a silent backup failed, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backups_remote.lifecycle.rules.age import aware
from backups_remote.lifecycle.rules.parts import planned_parts
from backups_remote.lifecycle.sweep.staleness import forgotten_at
from backups_remote.models.events import in_words

if TYPE_CHECKING:
    import datetime as dt

    from backups_remote.lifecycle.sweep.decide import Finding
    from backups_remote.models import Backup


def why_given_up(backup: Backup, finding: Finding, now: dt.datetime) -> str:
    """Why a silent backup is failed: what had arrived by the time that nothing more was heard."""
    refused_at = backup.refused_at
    if refused_at is not None and refused_at >= backup.silent_from:
        return f"refused: {backup.refusal.removeprefix('parts: ').removesuffix('.')}"
    last = max(aware(moment) for moment in (backup.silent_from, finding.newest) if moment)
    silence = f"silent for {in_words(aware(now) - last)}"
    never_called = "its node never called"
    if forgotten_at(backup) is not None:
        silence, never_called = "its node's daemon restarted", "it had not called"
    planned = len(planned_parts(backup))
    if backup.upload_id and not planned:
        return f"{silence}: {finding.arrived} parts of a stream had arrived"
    if not planned:
        return f"{silence}: {never_called}"
    return f"{silence}: {finding.arrived} of {planned} parts had arrived"
