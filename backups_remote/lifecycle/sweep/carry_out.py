"""Carries a sweep's decisions out: guarded transition, store call, guarded transition.

Store calls run in threads that leave the database alone; rows are moved in the caller's thread.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from django.db import DatabaseError, router

from backups_remote.database import retrying
from backups_remote.exceptions import ServerNotFound
from backups_remote.lifecycle import lease
from backups_remote.lifecycle.announce import announce_end
from backups_remote.lifecycle.complete import (
    Answer,
    Attempt,
    Recorded,
    complete_and_verify,
    look_for_object,
    record_attempt,
    record_completion,
)
from backups_remote.lifecycle.event_history import prunable, prune
from backups_remote.lifecycle.restores import end_overdue_restores
from backups_remote.lifecycle.rotate import begin_rotation
from backups_remote.lifecycle.rules.age import may_still_appear
from backups_remote.lifecycle.rules.silence import is_only_silent
from backups_remote.lifecycle.sweep.deletions import delete_each
from backups_remote.lifecycle.sweep.faults import each_row, move_each
from backups_remote.lifecycle.sweep.outcomes import (
    aborted,
    failed,
    fault,
    found_whole,
    outcome,
    pruned,
    unverified,
)
from backups_remote.lifecycle.sweep.pool import Fault, at_store, explain, in_chunks
from backups_remote.lifecycle.totals import renew_snapshot
from backups_remote.models import Backup, Server
from backups_remote.types import StoredObject, SweepAction, SweepOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from backups_remote.lifecycle.sweep.staleness import Staleness
    from backups_remote.storage import StorageBackend
    from backups_remote.types import OpenUpload

logger = logging.getLogger(__name__)

R = TypeVar("R")


class CarryOut:
    """The effects of a sweep that is no dry run; see ``Effects``."""

    def __init__(self, staleness: Staleness, *, workers: int, is_ordered: bool = False) -> None:
        self.staleness = staleness
        self.workers = workers
        #: Whether an operator named the backups: what is failed then is not failed for silence.
        self.is_ordered = is_ordered
        self.held: list[int] = []
        self.database = router.db_for_write(Backup)

    def end_restores(self, disk: str | None) -> Iterator[SweepOutcome]:
        """End the restores that overran their time limit."""
        for server, backup in end_overdue_restores(disk):
            subject = backup.uuid if backup is not None else server.uuid
            where = backup.disk if backup is not None else ""
            detail = f"the node of server {server.uuid} never reported"
            yield SweepOutcome(SweepAction.RESTORE_ENDED, str(subject), where, detail)

    # Reported backups

    def complete_reported(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        """Claim and complete them, a few at a time: a claim is for one call, not for a batch."""
        for chunk in in_chunks(batch, self.workers):
            # safeguard: sweep-claims-first
            claimed, faults = move_each(chunk, lambda backup: backup.claim(lease.lease_end()))
            yield from faults
            for backup, result in self._complete_at_store(claimed):
                # safeguard: sweep-rejection-inconclusive
                yield from each_row(backup, self._conclude(backup, result, is_first=False))
            # safeguard: sweep-checks-claimed-object
            yield from self._look_at_held([b for b in chunk if b not in claimed])

    def _look_at_held(self, held: list[Backup]) -> Iterator[SweepOutcome]:
        """Those that another holder has claimed, or whose upload is in its quiet period.

        Nothing is sent to the store for them; but an object that proves one whole completes it.
        """
        for backup, found in self._with_etags(held, _look):
            if isinstance(found, Fault):
                yield fault(backup, found.reason)
            elif found is not None:
                yield from each_row(backup, self._record_completion(backup, found))
            else:
                self.held.append(backup.pk)

    def _complete_at_store(
        self, claimed: list[Backup], first: Collection[int] = ()
    ) -> Iterator[tuple[Backup, Attempt | Fault]]:
        """Complete at the store, and renew the claims meanwhile.

        For the backups with the primary keys ``first`` no completion was sent before.
        """

        def complete(backup: Backup, backend: StorageBackend) -> Attempt:
            return complete_and_verify(backup, backend, look_first=backup.pk not in first)

        # safeguard: sweep-renews-claim
        yield from self._with_etags(claimed, complete, meanwhile=lease.renew)

    def _conclude(
        self, backup: Backup, result: Attempt | Fault, *, is_first: bool
    ) -> Iterator[SweepOutcome]:
        """Record what came of an attempt at completing a backup that is claimed here."""
        attempt = Attempt(reason=result.reason) if isinstance(result, Fault) else result
        if attempt.proof is not None:
            yield from self._record_completion(backup, attempt.proof)
            return
        # safeguard: recent-lost-report-kept
        if attempt.answer is Answer.UPLOAD_GONE and self._is_stale(backup):
            reason = "reported, but not in the store"
            if backup.fail_reported(reason):
                announce_end(backup)  # safeguard: lost-report-signal
                yield outcome(SweepAction.FAILED, backup, reason)
            return
        reason = attempt.reason
        recorded = record_attempt(backup, attempt, is_first=is_first)
        if recorded is Recorded.OVERTAKEN:
            return
        if recorded is Recorded.REFUSED:
            reason = f"{reason} The parts are not what the store holds."
            backup.refuse_report(reason)  # safeguard: sweep-records-refusal
        yield fault(backup, reason)

    def _is_stale(self, backup: Backup) -> bool:
        heard = backup.reported_at or backup.silent_from  # safeguard: lost-report-age
        return self.staleness.is_past(heard, self.staleness.limit(backup.issued_size))

    def _record_completion(self, backup: Backup, proof: StoredObject) -> Iterator[SweepOutcome]:
        action, why = SweepAction.COMPLETED, "reported"
        if backup.is_recovered:
            action, why = SweepAction.RECOVERED, unverified("its parts were all there", backup)
        if record_completion(backup, proof) is Recorded.COMPLETED:
            yield outcome(action, backup, why)

    # Silent and failed backups

    def complete_found(self, backup: Backup, proof: StoredObject) -> Iterator[SweepOutcome]:
        """Complete a backup whose whole object is in the store without an accepted report."""
        yield from each_row(backup, self._complete_found(backup, proof))

    def _complete_found(self, backup: Backup, proof: StoredObject) -> Iterator[SweepOutcome]:
        if backup.complete_proven(proof, recovered=True):
            announce_end(backup)  # safeguard: finished-object-sweep-signal
            yield found_whole(backup)

    def recover(self, batch: list[tuple[Backup, tuple[str, ...]]]) -> Iterator[SweepOutcome]:
        """Record that the parts are all there, then complete as after a report."""
        etags = {backup.pk: found for backup, found in batch}
        backups = [backup for backup, _ in batch]
        first = {backup.pk for backup in backups if backup.completion_sent_at is None}
        recorded, faults = move_each(
            backups,
            lambda backup: backup.record_success(
                checksum="",
                size=backup.upload_size or 0,
                etags=etags[backup.pk],
                claimed_until=lease.lease_end(),
                recovered=True,
            ),
        )
        yield from faults
        for backup, result in self._complete_at_store(recorded, first):
            # safeguard: refused-recovery-given-up
            if isinstance(result, Attempt) and result.answer is Answer.REJECTED:
                steps = self._give_up(backup, is_over=backup.pk in first)
            else:
                steps = self._conclude(backup, result, is_first=backup.pk in first)
            yield from each_row(backup, steps)

    def _give_up(self, backup: Backup, *, is_over: bool) -> Iterator[SweepOutcome]:
        """The upload looked whole, and the store rejects its parts."""
        if backup.take_back_report(is_over=is_over):
            yield from self.fail(
                [(backup, "its parts were all there, and the store rejected them")]
            )

    def fail(
        self, batch: list[tuple[Backup, str]], unseen: Collection[int] = ()
    ) -> Iterator[SweepOutcome]:
        """Fail the rows first, then abort the uploads."""
        reasons = {backup.pk: reason for backup, reason in batch}
        backups = [backup for backup, _ in batch]
        moved, faults = move_each(backups, lambda backup: self._fail(backup, reasons[backup.pk]))
        yield from faults
        # safeguard: sweep-waits-for-object
        may_appear = [b for b in moved if b.pk in unseen or may_still_appear(b)]
        to_abort = [b for b in moved if b.upload_id and b not in may_appear]
        for backup in moved:
            if backup not in to_abort:
                yield failed(backup, backup.failure, is_unseen=backup.pk in unseen)
        yield from self._abort(to_abort, lambda backup: failed(backup, backup.failure))

    def _fail(self, backup: Backup, reason: str) -> bool:
        # safeguard: only-silence-opened-again
        in_silence = not self.is_ordered and is_only_silent(backup)
        moved = backup.fail(reason, in_silence=in_silence)
        if moved:  # safeguard: stale-failure-signal
            announce_end(backup)
        return moved

    def abort(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        """Abort the uploads of backups that have failed before."""
        yield from self._abort(batch, aborted)

    def _abort(
        self, batch: list[Backup], done: Callable[[Backup], SweepOutcome]
    ) -> Iterator[SweepOutcome]:
        for backup, result in self._at_store(batch, _abort_upload):
            yield from each_row(backup, _record_abort(backup, result, done(backup)))

    # Deletions and orphans

    def delete(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        """Delete the archives, then the rows; what is protected since waits."""
        yield from delete_each(batch, self.workers, self.database)

    def rotate(self, server: Server) -> Iterator[SweepOutcome]:
        """Rotate the backups of a server whose rotation is due."""
        try:
            # Once more after a refusal: the next one gives way instead.
            while going := begin_rotation(server):
                yield from self.delete(going)
        except ServerNotFound:
            return  # it went away, with its backups
        except DatabaseError as error:
            logger.exception("The sweep could not rotate the backups of server %s.", server.uuid)
            yield SweepOutcome(SweepAction.ERROR, str(server.uuid), "", explain(error))

    def close_silence(self, backup: Backup) -> bool:
        """Keep a backup that failed in silence from being reopened; False if it already was.

        Two uploads of one backup: the second finds it closed already.
        """
        return backup.confirm_failure() or not backup.failed_in_silence

    def abort_orphan(self, orphan: OpenUpload, backend: StorageBackend) -> None:
        """Abort an upload that no row owns."""
        backend.abort_upload(orphan.key, orphan.upload_id)

    def prune_events(self) -> Iterator[SweepOutcome]:
        """Delete the events that are old enough."""
        count = 0
        try:
            for deleted in prune(prunable()):
                count += deleted
        except DatabaseError as error:
            logger.exception("The sweep could not prune events.")
            yield SweepOutcome(SweepAction.ERROR, "events", "", explain(error))
        yield from pruned(count)

    def count_backups(self) -> Iterator[SweepOutcome]:
        """Count all backups for the admin, whatever the disk of the sweep; report only a fault."""
        try:
            renew_snapshot()
        except DatabaseError as error:
            logger.exception("The sweep could not count the backups.")
            yield SweepOutcome(SweepAction.ERROR, "totals", "", explain(error))

    def _with_etags(
        self,
        backups: list[Backup],
        call: Callable[[Backup, StorageBackend], R],
        *,
        meanwhile: Callable[[Backup], object] | None = None,
    ) -> Iterator[tuple[Backup, R | Fault]]:
        """``call`` for each with its report's ETags, which are dropped once it is dealt with."""

        def reading() -> Iterator[Backup]:
            for backup in backups:
                # In this thread: the call must not ask the database.
                retrying(self.database, partial(getattr, backup, "reported_etags"))
                yield backup

        for backup, result in self._at_store(reading(), call, meanwhile=meanwhile):
            yield backup, result
            backup.__dict__.pop("reported_etags", None)  # safeguard: reported-etags-cleared

    def _at_store(
        self,
        batch: Iterable[Backup],
        call: Callable[[Backup, StorageBackend], R],
        *,
        meanwhile: Callable[[Backup], object] | None = None,
    ) -> Iterator[tuple[Backup, R | Fault]]:
        return at_store(batch, call, self.workers, every=lease.RENEW_EVERY, meanwhile=meanwhile)


def _record_abort(
    backup: Backup, result: Fault | None, done: SweepOutcome
) -> Iterator[SweepOutcome]:
    if isinstance(result, Fault):  # safeguard: failed-abort-keeps-upload
        yield fault(backup, result.reason)
    else:
        backup.forget_upload()
        yield done


def _look(backup: Backup, backend: StorageBackend) -> StoredObject | None:
    return look_for_object(backup, backend, part_etags=backup.reported_etags or ())


def _abort_upload(backup: Backup, backend: StorageBackend) -> None:
    backend.abort_upload(backup.object_key, backup.upload_id)
