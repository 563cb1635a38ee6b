"""Sending the signals once a change is committed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from django.db import router, transaction

from backups_remote import signals

if TYPE_CHECKING:
    from django.dispatch import Signal

    from backups_remote.models import Backup


def announce_end(backup: Backup) -> None:
    """Tell that ``backup`` was completed or has failed."""
    _send(signals.backup_completed if backup.is_successful else signals.backup_failed, backup)


def announce_restore(backup: Backup, *, successful: bool) -> None:
    """Tell that ``backup``'s node reported the end of a restore."""
    _send(signals.restore_reported, backup, successful=successful)


def _send(signal: Signal, backup: Backup, **details: object) -> None:
    transaction.on_commit(
        partial(signal.send_robust, sender=type(backup), backup=backup, **details),
        using=router.db_for_write(type(backup), instance=backup),
        robust=True,
    )
