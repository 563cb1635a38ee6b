"""The sweep: finish interrupted work, and remove uploads that no row owns.

Store calls run in a pool of threads that never touch the database; the rows' transitions run in
the caller's thread. So a sweep behaves inside a test's transaction as it does in production.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from django.db import router

from backups_remote.actors import Actor, ActorKind, acting_as, current_actor, is_actor_named
from backups_remote.conf import app_settings
from backups_remote.database import close_if_lost
from backups_remote.lifecycle.sweep.carry_out import CarryOut
from backups_remote.lifecycle.sweep.dry_run import DryRun
from backups_remote.lifecycle.sweep.orphans import sweep_orphans
from backups_remote.lifecycle.sweep.rotations import sweep_rotations
from backups_remote.lifecycle.sweep.rows import RowSweep
from backups_remote.lifecycle.sweep.staleness import Staleness
from backups_remote.lifecycle.transactions import refuse_open_transaction
from backups_remote.models import Backup
from backups_remote.storage import configured_disks

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Generator, Iterator

    from backups_remote.models import BackupQuerySet
    from backups_remote.types import SweepOutcome

DEFAULT_WORKERS: Final = 16


def sweep(
    *,
    older_than: dt.timedelta | None = None,
    disk: str | None = None,
    dry_run: bool = False,
    recover: bool | None = None,
    workers: int = DEFAULT_WORKERS,
) -> Iterator[SweepOutcome]:
    """Bring every stale backup to its end, and remove every orphan; one outcome each, as it goes.

    A backup is stale when nothing was heard of it for longer than its URLs live plus the setting
    ``STALE_AFTER``, or than ``older_than`` if given: neither a change in the database nor a part
    that arrived in the store. One whose report was refused is stale after a short grace, since
    its daemon will not call again. Stale uploads that are whole are completed (``recover``, by
    default the setting ``RECOVER_UPLOADS``), all others aborted. Reported backups are completed,
    aborts and deletions that failed before are repeated, restores that overran their time limit
    are ended, rotations that did not happen are made up for, and events older than the setting
    ``EVENTS_KEPT`` of backups that are gone are deleted. ``disk`` narrows it all to one disk, and
    leaves rotations and events. At the end all backups are counted for the admin, every few minutes
    at most.

    This is the one verb that works as its outcomes are read. A fault is an outcome too, with the
    action ``ERROR``; the others go on.

    Raises:
        RuntimeError: a transaction is open, now or when the next outcome is read.

    """
    refuse_open_transaction("sweep")  # safeguard: sweep-outside-transaction
    staleness = Staleness(older_than)
    # safeguard: dry-run-changes-nothing
    effects = DryRun() if dry_run else CarryOut(staleness, workers=workers)
    rows = RowSweep(
        _on(disk),
        staleness,
        effects,
        recover=app_settings.recover_uploads if recover is None else recover,
        workers=workers,
    )
    # Whoever calls it is named already, or it acts for itself.
    actor = current_actor() if is_actor_named() else Actor(ActorKind.SWEEP)
    return _acting(_sweep(rows, disk), actor)


def count_stale(*, older_than: dt.timedelta | None = None, disk: str | None = None) -> int:
    """How many backups such a sweep would look at. Some may turn out to be alive."""
    staleness = Staleness(older_than)
    return RowSweep(_on(disk), staleness, DryRun(), recover=False, workers=1).count()


def expire(backups: BackupQuerySet, *, recover: bool | None = None) -> list[SweepOutcome]:
    """Bring these backups to their end now, however young they are.

    A backup that is being completed at this moment, or whose upload is in its quiet period after
    a completion that timed out, is looked at only: it is in the list if its archive is there.

    Raises:
        RuntimeError: a transaction is open.

    """
    refuse_open_transaction("expire")  # safeguard: expire-outside-transaction
    staleness = Staleness.of_all()
    rows = RowSweep(
        backups.using(router.db_for_write(Backup)).order_by(),
        staleness,
        CarryOut(staleness, workers=DEFAULT_WORKERS, is_ordered=True),
        recover=app_settings.recover_uploads if recover is None else recover,
        workers=DEFAULT_WORKERS,
    )
    return list(rows.run())


def _sweep(rows: RowSweep, disk: str | None) -> Generator[SweepOutcome, None, None]:
    for step in _steps(rows, disk):
        close_if_lost(rows.backups.db)
        yield from step


def _steps(rows: RowSweep, disk: str | None) -> Iterator[Iterator[SweepOutcome]]:
    yield rows.effects.end_restores(disk)  # safeguard: overdue-restore-swept
    yield rows.run()
    yield rows.run_again_when_leases_end()  # safeguard: sweep-waits-for-claim
    if disk is None:  # a rotation deletes on any disk
        yield sweep_rotations(rows.staleness, rows.effects)
    for alias in configured_disks() if disk is None else [disk]:
        yield sweep_orphans(
            alias, rows.staleness, rows.effects, workers=rows.workers, is_named=bool(disk)
        )
    if disk is None:  # events are of no disk
        yield rows.effects.prune_events()
    yield rows.effects.count_backups()


def _acting(outcomes: Generator[SweepOutcome, None, None], actor: Actor) -> Iterator[SweepOutcome]:
    """``outcomes``, produced as ``actor``; between two of them, the reader's own actor applies."""
    with contextlib.closing(outcomes):
        while True:
            # Its reader may have begun one since.
            refuse_open_transaction("sweep")  # safeguard: sweep-read-outside-transaction
            with acting_as(*actor):
                outcome = next(outcomes, None)
            if outcome is None:
                return
            yield outcome


def _on(disk: str | None) -> BackupQuerySet:
    # Not from a replica: an upload whose row it lacks would look like an orphan.
    backups = Backup.objects.using(router.db_for_write(Backup))  # safeguard: sweep-from-primary
    return backups if disk is None else backups.filter(disk=disk)
