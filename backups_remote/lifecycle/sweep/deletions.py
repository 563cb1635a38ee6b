"""The part of a sweep that finishes deletions: the archive first, then the row."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from backups_remote.database import close_if_lost, retrying
from backups_remote.exceptions import BackupConflict
from backups_remote.lifecycle import erase
from backups_remote.lifecycle.delete import remove
from backups_remote.lifecycle.references import why_protected
from backups_remote.lifecycle.rules.deletion import ends_without_disk
from backups_remote.lifecycle.sweep.faults import each_row, move_each
from backups_remote.lifecycle.sweep.outcomes import fault, outcome
from backups_remote.lifecycle.sweep.pool import Fault, at_store, in_chunks
from backups_remote.types import SweepAction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backups_remote.models import Backup
    from backups_remote.types import SweepOutcome


def delete_each(batch: list[Backup], workers: int, database: str) -> Iterator[SweepOutcome]:
    """Finish the deletions that have begun; what is protected since waits."""
    going: list[Backup] = []
    close_if_lost(database)
    for backup in batch:
        if reason := why_protected(backup):  # safeguard: protected-deletion-waits
            yield outcome(SweepAction.NOTICE, backup, reason)
        elif ends_without_disk(backup):  # safeguard: failed-own-disk-sweep-told
            yield from each_row(backup, _record_deletion(backup, erase.Erasure()))
        else:
            going.append(backup)

    def reading(chunk: list[Backup]) -> Iterator[Backup]:
        for backup in chunk:
            # In this thread, for a call to the node's daemon.
            retrying(database, partial(getattr, backup, "node"))
            retrying(database, partial(getattr, backup, "server"))
            yield backup

    # A few at a time: a call that erases is sent soon after it was noted.
    for chunk in in_chunks(going, workers):
        begun, faults = move_each(chunk, erase.begin)
        yield from faults
        for backup, result in at_store(reading(begun), erase.erase, workers):
            yield from each_row(backup, _record_deletion(backup, result))


def _record_deletion(backup: Backup, result: erase.Erasure | Fault) -> Iterator[SweepOutcome]:
    if isinstance(result, Fault):
        yield fault(backup, result.reason)
        return
    if result.refusal:
        stays = "it stays" if erase.take_back(backup, result) else "it is tried again"
        # A failed backup has nothing that could stay: its upload is what is left.
        # safeguard: refused-deletion-is-no-error
        action = SweepAction.ERROR if result.kept is None else SweepAction.NOTICE
        yield outcome(action, backup, f"{stays}. {result.refusal}")
        return
    if result.is_under_way:  # safeguard: swept-deletion-under-way-keeps-row
        yield outcome(SweepAction.NOTICE, backup, "its node deletes the archive in the background")
        return
    # safeguard: kept-object-named
    detail = "" if result.left is None else f"left {backup.object_key}: it is not this backup's"
    try:
        removed = remove(backup, result.left)
    except BackupConflict as error:
        yield outcome(SweepAction.NOTICE, backup, f"its archive is gone, its row stays. {error}")
        return
    if removed:
        yield outcome(SweepAction.DELETED, backup, detail)
