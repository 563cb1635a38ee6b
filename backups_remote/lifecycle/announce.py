"""Sending the signals once a change is committed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from django.db import router, transaction

from backups_remote import signals

if TYPE_CHECKING:
    from django.dispatch import Signal

    from backups_remote.models import Backup


def announce_creation(backup: Backup) -> None:
    """Send ``backup_created``."""
    _send(signals.backup_created, backup)


def announce_end(backup: Backup) -> None:
    """Send ``backup_completed`` or ``backup_failed``, as the row now says."""
    _send(signals.backup_completed if backup.is_successful else signals.backup_failed, backup)


def announce_removal(backup: Backup, *, forgotten: bool = False) -> None:
    """Send ``backup_deleted``: the row is gone."""
    _send(signals.backup_deleted, backup, forgotten=forgotten)


def announce_restore_begun(backup: Backup) -> None:
    """Send ``restore_started``: the server shows that ``backup`` is being restored."""
    _send(signals.restore_started, backup)


def announce_restore(backup: Backup, *, successful: bool) -> None:
    """Send ``restore_reported``: a restore of ``backup`` has ended."""
    _send(signals.restore_reported, backup, successful=successful)


def _send(signal: Signal, backup: Backup, **details: object) -> None:
    transaction.on_commit(  # safeguard: signals-on-row-database
        partial(signal.send_robust, sender=type(backup), backup=backup, **details),
        using=router.db_for_write(type(backup), instance=backup),
        robust=True,
    )
