"""What happened to a backup, and which of that is old enough to be pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from django.db import router
from django.db.models import Exists, OuterRef
from django.utils import timezone

from backups_remote.conf import app_settings
from backups_remote.models import Backup, BackupEvent
from backups_remote.sql import keys_of

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

#: How many events one statement deletes.
_BATCH: Final = 1000


def history(backup: Backup | UUID) -> list[BackupEvent]:
    """What happened to a backup, oldest first; by its uuid also after its row is gone.

    Empty for what happened before events were kept, and for what was pruned since.
    """
    uuid = backup if isinstance(backup, UUID) else backup.uuid
    return list(BackupEvent.objects.of_backup(uuid))


def prunable() -> array[int]:
    """The keys of all events that are older than ``EVENTS_KEPT`` and whose backup is gone."""
    database = router.db_for_write(BackupEvent)
    before = timezone.now() - app_settings.events_kept
    # safeguard: pruned-by-age
    old = BackupEvent.objects.using(database).filter(at__lt=before)
    backups = Backup.objects.using(database).filter(uuid=OuterRef("backup_uuid"))
    gone = old.exclude(Exists(backups))  # safeguard: existing-backup-keeps-events
    # Read beforehand, eight bytes each, so that the index is walked once.
    return keys_of(gone.order_by("at", "pk"))


def prune(keys: array[int]) -> Iterator[int]:
    """Delete the events with these keys, a batch at a time; yields how many each batch had."""
    events = BackupEvent.objects.using(router.db_for_write(BackupEvent))
    for start in range(0, len(keys), _BATCH):
        yield events._prune(keys[start : start + _BATCH])  # noqa: SLF001 - for the sweep alone
