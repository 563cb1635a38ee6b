"""The part of a sweep that starts from rows: which ones, and what is to become of each.

What is decided is done by ``effects``.
"""

from __future__ import annotations

import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from django.db.models import F
from django.utils import timezone

from backups_remote.lifecycle import lease
from backups_remote.lifecycle.complete import Look, look_for_unsent
from backups_remote.lifecycle.rules.age import is_past_late_objects, may_still_appear
from backups_remote.lifecycle.rules.deletion import (
    has_nothing_stored,
    is_configured,
    is_gone,
)
from backups_remote.lifecycle.sweep.decide import (
    Decision,
    Finding,
    decide,
    examine,
)
from backups_remote.lifecycle.sweep.outcomes import fault
from backups_remote.lifecycle.sweep.pool import Fault, at_store
from backups_remote.lifecycle.sweep.reasons import why_given_up
from backups_remote.models import RESTORING
from backups_remote.sql import keys_of, read_in_batches
from backups_remote.types import SweepAction, SweepOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backups_remote.lifecycle.sweep.dry_run import Effects
    from backups_remote.lifecycle.sweep.staleness import Staleness
    from backups_remote.models import Backup, BackupQuerySet

_BATCH: Final = 256
#: How many backups an outcome names.
_NAMED: Final = 10

Work: TypeAlias = "Callable[[list[Backup]], Iterator[SweepOutcome]]"


class RowSweep:
    """Brings the stale ones among ``backups`` to their end, by ``effects``."""

    def __init__(
        self,
        backups: BackupQuerySet,
        staleness: Staleness,
        effects: Effects,
        *,
        recover: bool,
        workers: int,
    ) -> None:
        self.backups = backups
        self.staleness = staleness
        self.effects = effects
        self.recover = recover
        self.workers = workers
        self._on_unknown_disks: defaultdict[str, list[str]] = defaultdict(list)

    def run(self) -> Iterator[SweepOutcome]:
        """Every row once."""
        for backups, work in self._jobs():
            yield from self._in_batches(backups, work)
        yield from self._name_unknown_disks()  # safeguard: unconfigured-disk-is-error

    def run_again_when_leases_end(self) -> Iterator[SweepOutcome]:
        """The reported backups that another claim holder had: a dead one's lease is over soon."""
        if not self.effects.held:
            return
        held = self.backups.reported().filter(pk__in=list(self.effects.held))
        until = [end for end in held.values_list("claimed_until", flat=True) if end is not None]
        remaining = max(until, default=timezone.now()) - timezone.now()
        time.sleep(max(min(remaining, lease.LEASE).total_seconds(), 0))
        yield from self._in_batches(held, self.effects.complete_reported)

    def count(self) -> int:
        """How many rows there are to look at."""
        return sum(backups.count() for backups, _ in self._jobs())

    def _jobs(self) -> Iterator[tuple[BackupQuerySet, Work]]:
        """What there is to do, in this order: each kind of row, and what to do with a batch."""
        now = self.staleness.now
        yield self.backups.reported(), self.effects.complete_reported
        silent = self.backups.silent_since(now - self.staleness.shortest_limit)
        yield silent, self._end_silent
        refused = self.backups.refused_since(now - self.staleness.refusal_limit)
        yield refused, self._end_silent  # safeguard: refused-upload-expires
        forgotten = self.backups.forgotten_after(now - self.staleness.shortest_limit)
        yield forgotten, self._end_silent  # safeguard: forgotten-uploads-found
        # safeguard: aborts-repeated
        yield self.backups.left_behind().filter(completed_at__lte=now), self._abort_left_behind
        # safeguard: deletion-claim
        deleting = self.backups.deleting().filter(deletion_started_at__lte=now)
        # Before a restore's backup was remembered, a deletion could be begun beside a restore.
        # safeguard: sweep-respects-restore
        beside = deleting.exclude(server__status=RESTORING, server__restoring_backup=None)
        yield beside, self.effects.delete  # safeguard: deletions-finished

    def _in_batches(self, backups: BackupQuerySet, work: Work) -> Iterator[SweepOutcome]:
        """Every row once, as it is when its batch's turn comes.

        The keys are read beforehand, eight bytes each: whichever index finds them is walked once,
        where an ordered search for each batch would walk it again and again.
        """
        keys = keys_of(backups.order_by())
        known = backups.with_names().annotate(known_restart=F("node__restarted_at"))
        # A report's ETags, up to 10,000 a row, are read for a few rows at a time.
        for batch in read_in_batches(keys, known.defer("reported_etags"), _BATCH):
            yield from work([backup for backup in batch if self._can_work_on(backup)])

    def _can_work_on(self, backup: Backup) -> bool:
        if has_nothing_stored(backup):  # safeguard: nothing-stored-needs-no-disk
            return True
        # safeguard: unconfigured-disk-named
        if backup.disk not in self._on_unknown_disks and is_configured(backup.disk):
            return True
        self._on_unknown_disks[backup.disk].append(str(backup.uuid))
        return False

    def _name_unknown_disks(self) -> Iterator[SweepOutcome]:
        """One outcome a disk: there is nothing else that can be done about its rows."""
        for disk, uuids in self._on_unknown_disks.items():
            named = ", ".join(uuids[:_NAMED]) + (", …" if len(uuids) > _NAMED else "")
            wrong, remedy = "cannot be set up", "Correct its options: check names them"
            if is_gone(disk):
                wrong = "is not configured"
                remedy = "Configure it again, or forget them in the admin"
            detail = f"The disk {wrong}; {len(uuids)} of its backups wait: {named}. {remedy}."
            yield SweepOutcome(SweepAction.ERROR, disk, disk, detail)

    def _end_silent(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        """Examine and decide; do what was decided for a few backups at a time."""
        silent = [backup for backup in batch if self.staleness.is_silent(backup)]
        stale = [backup for backup in silent if not has_nothing_stored(backup)]
        look = partial(examine, staleness=self.staleness)
        to_recover: list[tuple[Backup, tuple[str, ...]]] = []
        unseen: set[int] = set()
        to_fail = [
            (backup, why_given_up(backup, Finding(), self.staleness.now))
            for backup in silent
            if has_nothing_stored(backup)
        ]
        for backup, finding in at_store(stale, look, self.workers):
            if isinstance(finding, Fault):
                yield fault(backup, finding.reason)
                continue
            decision = decide(backup, finding, self.staleness, recover=self.recover)
            if decision is Decision.COMPLETE and finding.proof is not None:
                yield from self.effects.complete_found(backup, finding.proof)
            elif decision is Decision.RECOVER:
                to_recover.append((backup, finding.whole_etags or ()))
            elif decision is Decision.FAIL:
                if finding.is_unseen:
                    unseen.add(backup.pk)
                to_fail.append((backup, why_given_up(backup, finding, self.staleness.now)))
            if len(to_recover) >= self.workers:
                yield from self.effects.recover(to_recover)
                to_recover.clear()
            if len(to_fail) >= self.workers:
                yield from self.effects.fail(to_fail, unseen)
                to_fail.clear()
        yield from self.effects.recover(to_recover)
        yield from self.effects.fail(to_fail, unseen)

    def _abort_left_behind(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        """Abort what failed backups left in the store, once no object of theirs can appear."""
        to_abort: list[Backup] = []
        # safeguard: failed-upload-checked-first
        for backup, found in at_store(batch, look_for_unsent, self.workers):
            if isinstance(found, Fault):
                yield fault(backup, found.reason)
            elif found is Look.REFUSED:
                # safeguard: unseen-object-waited-for
                if is_past_late_objects(backup, now=self.staleness.now):
                    to_abort.append(backup)
            elif found is not None:
                # The store completed the upload after the backup had been given up.
                yield from self.effects.complete_found(backup, found)
            # safeguard: late-object-found
            elif not may_still_appear(backup, now=self.staleness.now):
                to_abort.append(backup)
        yield from self.effects.abort(to_abort)
