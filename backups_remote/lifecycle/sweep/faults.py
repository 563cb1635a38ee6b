"""A database error concerns one row only: the sweep goes on with the others."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.db import DatabaseError

from backups_remote.lifecycle.sweep.outcomes import fault
from backups_remote.lifecycle.sweep.pool import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backups_remote.models import Backup
    from backups_remote.types import SweepOutcome

logger = logging.getLogger(__name__)


def move_each(
    batch: list[Backup], move: Callable[[Backup], bool]
) -> tuple[list[Backup], list[SweepOutcome]]:
    """The backups whose rows were moved, and the database's faults: the other rows go on."""
    moved: list[Backup] = []
    faults: list[SweepOutcome] = []
    for backup in batch:
        try:
            if move(backup):
                moved.append(backup)
        except DatabaseError as error:  # safeguard: move-database-error
            faults.append(_database_fault(backup, error))
    return moved, faults


def each_row(backup: Backup, steps: Iterator[SweepOutcome]) -> Iterator[SweepOutcome]:
    """What ``steps`` yield, or the database's fault: the other rows go on."""
    try:
        yield from steps
    except DatabaseError as error:  # safeguard: sweep-database-error
        yield _database_fault(backup, error)


def _database_fault(backup: Backup, error: DatabaseError) -> SweepOutcome:
    logger.error("The sweep could not change backup %s.", backup.uuid, exc_info=error)
    return fault(backup, explain(error))
