"""Finishing what nobody else will: reported, silent and half-cleaned backups, and orphans.

The work goes batch by batch: store calls in a pool of threads, then the rows' transitions here in
the caller's thread, then store calls again. The pool never touches the database, so a sweep
behaves inside a test's transaction as it does at night.
"""

from __future__ import annotations

import datetime as dt
import logging
from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from django.db import DatabaseError, router
from django.utils import timezone

from backups_remote.conf import app_settings
from backups_remote.exceptions import (
    BackupsRemoteError,
    StorageError,
    UploadNotFound,
    UploadRejected,
)
from backups_remote.lifecycle.announcing import announce_end
from backups_remote.lifecycle.keeping import erase
from backups_remote.lifecycle.settling import (
    claim_end,
    conclude,
    conclude_without_proof,
    pick_parts,
    prove,
    put_together,
)
from backups_remote.models import RESTORING, Backup, BackupQuerySet
from backups_remote.storage import ceil_div, configured_disks, get_backend
from backups_remote.types import OpenUpload, StoredObject, StoredPart, SweepAction, SweepOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from backups_remote.storage import StorageBackend

logger = logging.getLogger(__name__)

DEFAULT_WORKERS: Final = 16
_BATCH: Final = 256

T = TypeVar("T")
R = TypeVar("R")
Work: TypeAlias = "Callable[[list[Backup]], Iterator[SweepOutcome]]"


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
    that arrived in the store. Stale uploads that are whole are completed (``recover``, by default
    the setting ``RECOVER_UPLOADS``), all others aborted. Reported backups are settled, aborts and
    deletions that failed before are repeated. ``disk`` narrows it all to one disk.

    A fault is an outcome too, with the action ``ERROR``; the others go on.
    """
    limits = _Limits(older_than)
    rows = _RowSweep(
        _on(disk),
        limits,
        dry_run=dry_run,
        recover=app_settings.recover_uploads if recover is None else recover,
        workers=workers,
    )
    yield from rows.run()
    disks = configured_disks() if disk is None else [disk]
    for alias in disks:
        yield from _sweep_orphans(alias, limits, dry_run=dry_run, workers=workers, asked=bool(disk))


def count_stale(*, older_than: dt.timedelta | None = None, disk: str | None = None) -> int:
    """How many backups such a sweep would look at. Some may turn out to be alive."""
    limits = _Limits(older_than)
    return _RowSweep(_on(disk), limits, dry_run=True, recover=False, workers=1).count()


def expire(backups: BackupQuerySet, *, recover: bool | None = None) -> Iterator[SweepOutcome]:
    """Bring these backups to their end now, however young they are."""
    yield from _RowSweep(
        backups.using(router.db_for_write(Backup)).order_by(),
        _Limits(dt.timedelta(0)),
        dry_run=False,
        recover=app_settings.recover_uploads if recover is None else recover,
        workers=DEFAULT_WORKERS,
    ).run()


def _on(disk: str | None) -> BackupQuerySet:
    # Not a replica's: what it does not know yet would be an orphan.
    backups = Backup.objects.using(router.db_for_write(Backup))
    return backups if disk is None else backups.filter(disk=disk)


class _Limits:
    """How long a silence is allowed."""

    def __init__(self, older_than: dt.timedelta | None) -> None:
        self.older_than = older_than
        self.now = timezone.now()

    def of(self, upload_size: int | None) -> dt.timedelta:
        if self.older_than is not None:
            return self.older_than
        return app_settings.stale_after + app_settings.url_lifespan(upload_size or 0)

    @property
    def shortest(self) -> dt.timedelta:
        return self.of(None)

    def is_past(self, moment: dt.datetime, limit: dt.timedelta) -> bool:
        # A store's clock may run ahead of ours: such a moment is now.
        return max(_aware(self.now) - _aware(moment), dt.timedelta(0)) >= limit


@dataclass(frozen=True, slots=True)
class _Finding:
    """What the store holds of a silent backup."""

    parts: Sequence[StoredPart] = ()
    #: When the newest part arrived, be it one of these or a vain try.
    newest: dt.datetime | None = None
    proof: StoredObject | None = None

    def is_whole_upload(self, backup: Backup) -> bool:
        if not backup.upload_size or not backup.part_size:
            return False
        count = ceil_div(backup.upload_size, backup.part_size)
        last = backup.upload_size - (count - 1) * backup.part_size
        planned = [(n, backup.part_size if n < count else last) for n in range(1, count + 1)]
        return [(part.number, part.size) for part in self.parts] == planned


class _RowSweep:
    """The part of a sweep that starts from rows."""

    def __init__(
        self,
        backups: BackupQuerySet,
        limits: _Limits,
        *,
        dry_run: bool,
        recover: bool,
        workers: int,
    ) -> None:
        self.backups = backups
        self.limits = limits
        self.dry_run = dry_run
        self.recover = recover
        self.workers = workers

    def run(self) -> Iterator[SweepOutcome]:
        for backups, work in self._jobs():
            yield from self._in_batches(backups, work)

    def count(self) -> int:
        return sum(backups.count() for backups, _ in self._jobs())

    def _jobs(self) -> Iterator[tuple[BackupQuerySet, Work]]:
        """What there is to do, in this order: each kind of row, and what to do with a batch."""
        now = self.limits.now
        yield self.backups.settleable(now), lambda batch: self._settle(batch, by_force=False)
        if self.limits.older_than is not None:
            taken = self.backups.reported().filter(
                claimed_until__gt=now, reported_at__lte=now - self.limits.older_than
            )
            yield taken, lambda batch: self._settle(batch, by_force=True)
        yield self.backups.silent_since(now - self.limits.shortest), self._end_silent
        yield self.backups.left_behind().filter(completed_at__lte=now), self._abort_left_behind
        deleting = self.backups.deleting().filter(deletion_started_at__lte=now)
        yield deleting.exclude(server__status=RESTORING), self._finish_deletion

    def _in_batches(self, backups: BackupQuerySet, work: Work) -> Iterator[SweepOutcome]:
        """Every row once, as it is when its batch's turn comes.

        The keys are read beforehand, eight bytes each: whichever index finds them is walked once,
        where an ordered search for each batch would walk it again and again.
        """
        keys = array("q", backups.order_by().values_list("pk", flat=True).iterator())
        for start in range(0, len(keys), _BATCH):
            yield from work(
                list(backups.filter(pk__in=keys[start : start + _BATCH]).order_by("pk"))
            )

    # Reported backups

    def _settle(self, batch: list[Backup], *, by_force: bool) -> Iterator[SweepOutcome]:
        if self.dry_run:
            yield from (_outcome(SweepAction.COMPLETED, backup, "reported") for backup in batch)
            return
        # Claimed no sooner than the store is asked: a claim lasts for one call, not for a batch.
        for start in range(0, len(batch), self.workers):
            slice_ = batch[start : start + self.workers]
            claimed = [b for b in slice_ if b.claim(claim_end(), by_force=by_force)]
            for backup, result in self._at_store(claimed, _put_together):
                yield from _carefully(backup, self._conclude(backup, result, may_fail=not by_force))

    def _conclude(
        self, backup: Backup, result: StoredObject | Exception, *, may_fail: bool
    ) -> Iterator[SweepOutcome]:
        """Note what became of a reported backup; ``may_fail`` if nobody else can be at it."""
        if isinstance(result, StoredObject):
            action = SweepAction.RECOVERED if backup.is_recovered else SweepAction.COMPLETED
            why = "its parts were all there" if backup.is_recovered else "reported"
            if conclude(backup, result):
                yield _outcome(action, backup, why)
            return
        heard = backup.reported_at or backup.silent_from
        stale = self.limits.is_past(heard, self.limits.of(backup.upload_size))
        if isinstance(result, UploadNotFound) and stale and may_fail:
            if backup.fail_reported():
                announce_end(backup)
                yield _outcome(SweepAction.FAILED, backup, "reported, but not in the store")
            return
        if isinstance(result, StorageError):
            conclude_without_proof(backup, result)
        yield _fault(backup, result)

    # Silent backups

    def _end_silent(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        stale = [
            backup
            for backup in batch
            if self.limits.is_past(backup.silent_from, self.limits.of(backup.upload_size))
        ]
        to_abort: list[Backup] = []
        to_recover: list[Backup] = []
        for backup, result in self._at_store(stale, _examine):
            if isinstance(result, Exception):
                yield _fault(backup, result)
            else:
                yield from _carefully(
                    backup, self._decide(backup, result, to_abort=to_abort, to_recover=to_recover)
                )
        yield from self._recover(to_recover)
        yield from self._abort_failed(to_abort)

    def _decide(
        self,
        backup: Backup,
        finding: _Finding,
        *,
        to_abort: list[Backup],
        to_recover: list[Backup],
    ) -> Iterator[SweepOutcome]:
        """Move a silent backup's row as the store's contents ask, and say what is left to do."""
        if finding.proof is not None:
            yield from self._complete_proven(backup, finding.proof)
        elif self._is_alive(backup, finding):
            return
        elif self.recover and finding.is_whole_upload(backup):
            if self._record_recovery(backup, finding):
                to_recover.append(backup)
        elif self._fail(backup):
            to_abort.append(backup)

    def _is_alive(self, backup: Backup, finding: _Finding) -> bool:
        newest = finding.newest
        return newest is not None and not self.limits.is_past(
            newest, self.limits.of(backup.upload_size)
        )

    def _complete_proven(self, backup: Backup, proof: StoredObject) -> Iterator[SweepOutcome]:
        if not self.dry_run:
            if not backup.complete_proven(proof, recovered=True):
                return
            announce_end(backup)
        yield _outcome(SweepAction.RECOVERED, backup, "its whole archive was in the store")

    def _record_recovery(self, backup: Backup, finding: _Finding) -> bool:
        return self.dry_run or backup.record_success(
            checksum="",
            size=backup.upload_size or 0,
            etags=[part.etag for part in finding.parts],
            claimed_until=claim_end(),
            recovered=True,
        )

    def _recover(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        if self.dry_run:
            why = "its parts are all there"
            yield from (_outcome(SweepAction.RECOVERED, backup, why) for backup in batch)
            return
        for backup, result in self._at_store(batch, _put_together):
            if isinstance(result, UploadRejected):
                steps = self._give_up(backup)
            else:
                steps = self._conclude(backup, result, may_fail=False)
            yield from _carefully(backup, steps)

    def _give_up(self, backup: Backup) -> Iterator[SweepOutcome]:
        """It looked whole, and the store will never have it so: there is nothing to save."""
        if backup.take_back_report() and self._fail(backup):
            yield from self._abort_failed([backup])

    def _fail(self, backup: Backup) -> bool:
        if self.dry_run:
            return True
        failed = backup.fail()
        if failed:
            announce_end(backup)
        return failed

    def _abort_failed(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        yield from (_outcome(SweepAction.FAILED, b, "silent") for b in batch if not b.upload_id)
        uploads = [backup for backup in batch if backup.upload_id]
        yield from self._abort(uploads, SweepAction.FAILED, "silent, its upload aborted")

    # Failed backups and deletions that could not be cleaned up before

    def _abort_left_behind(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        to_abort: list[Backup] = []
        for backup, result in self._at_store(batch, prove):
            if isinstance(result, Exception):
                yield _fault(backup, result)
            elif result is None:
                to_abort.append(backup)
            else:
                # A store that took its time: the object appeared after all.
                yield from _carefully(backup, self._complete_proven(backup, result))
        why = "failed before, its upload was still there"
        yield from self._abort(to_abort, SweepAction.UPLOAD_ABORTED, why)

    def _abort(self, batch: list[Backup], action: SweepAction, why: str) -> Iterator[SweepOutcome]:
        if self.dry_run:
            yield from (_outcome(action, backup, why) for backup in batch)
            return
        for backup, result in self._at_store(batch, _abort_upload):
            yield from _carefully(backup, self._note_abort(backup, result, action, why))

    def _note_abort(
        self, backup: Backup, result: object, action: SweepAction, why: str
    ) -> Iterator[SweepOutcome]:
        if isinstance(result, Exception):
            yield _fault(backup, result)
        else:
            backup.forget_upload()
            yield _outcome(action, backup, why)

    def _finish_deletion(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        if self.dry_run:
            yield from (_outcome(SweepAction.DELETED, backup) for backup in batch)
            return
        for backup, result in self._at_store(batch, erase):
            yield from _carefully(backup, self._note_deletion(backup, result))

    def _note_deletion(self, backup: Backup, result: object) -> Iterator[SweepOutcome]:
        if isinstance(result, Exception):
            yield _fault(backup, result)
        else:
            outcome = _outcome(SweepAction.DELETED, backup)
            backup.delete()
            yield outcome

    def _at_store(
        self, batch: Iterable[Backup], call: Callable[[Backup, StorageBackend], R]
    ) -> Iterator[tuple[Backup, R | Exception]]:
        return _in_parallel(
            batch, lambda backup: call(backup, get_backend(backup.disk)), self.workers
        )


def _sweep_orphans(
    disk: str, limits: _Limits, *, dry_run: bool, workers: int, asked: bool
) -> Iterator[SweepOutcome]:
    """Abort the uploads under our keys that no row owns."""
    try:
        # An alias that no backup uses may be anything: it is not even built.
        if not (asked or _is_used(disk)):
            return
        backend = get_backend(disk)
        if not backend.presigned_uploads:
            return
        end = partial(_end_orphan, backend=backend, limits=limits, dry_run=dry_run)
        ours = _old_uploads_of_ours(backend, limits)
        while batch := list(islice(ours, _BATCH)):
            for orphan, result in _in_parallel(_without_owner(batch, backend), end, workers):
                if isinstance(result, Exception):
                    yield SweepOutcome(SweepAction.ERROR, orphan.key, disk, _why(result))
                elif result:
                    yield SweepOutcome(SweepAction.ORPHAN_ABORTED, orphan.key, disk)
    except (BackupsRemoteError, DatabaseError) as error:
        yield SweepOutcome(SweepAction.ERROR, disk, disk, _why(error))


def _old_uploads_of_ours(backend: StorageBackend, limits: _Limits) -> Iterator[OpenUpload]:
    for upload in backend.open_uploads():
        is_old = limits.is_past(upload.started_at, limits.shortest)
        if is_old and backend.parse_key(upload.key) is not None:
            yield upload


def _is_used(disk: str) -> bool:
    return disk == app_settings.default_disk or _on(disk).exists()


def _end_orphan(
    orphan: OpenUpload, *, backend: StorageBackend, limits: _Limits, dry_run: bool
) -> bool:
    """Abort an upload, unless its parts still arrive: it may be another panel's after all."""
    try:
        parts = backend.list_parts(orphan.key, orphan.upload_id)
    except UploadNotFound:
        parts = []
    if not all(limits.is_past(part.uploaded_at, limits.shortest) for part in parts):
        return False
    if not dry_run:
        backend.abort_upload(orphan.key, orphan.upload_id)
    return True


def _without_owner(uploads: list[OpenUpload], backend: StorageBackend) -> list[OpenUpload]:
    keys = (backend.parse_key(upload.key) for upload in uploads)
    ids = {key.backup for key in keys if key is not None}
    owned = set(
        _on(None)
        .filter(uuid__in=ids)
        .exclude(upload_id="")
        .values_list("upload_id", flat=True)
        .order_by()
    )
    return [upload for upload in uploads if upload.upload_id not in owned]


def _examine(backup: Backup, backend: StorageBackend) -> _Finding:
    if not backend.presigned_uploads or not backup.upload_id:
        return _Finding()
    try:
        listed = backend.list_parts(backup.object_key, backup.upload_id)
    except UploadNotFound:
        listed = []
    if not listed:
        return _Finding(proof=prove(backup, backend))
    return _Finding(pick_parts(backup, listed), newest=max(part.uploaded_at for part in listed))


def _put_together(backup: Backup, backend: StorageBackend) -> StoredObject:
    return put_together(backup, backend, look_first=True)


def _abort_upload(backup: Backup, backend: StorageBackend) -> None:
    backend.abort_upload(backup.object_key, backup.upload_id)


def _in_parallel(
    items: Iterable[T], call: Callable[[T], R], workers: int
) -> Iterator[tuple[T, R | Exception]]:
    """Each item with what ``call`` made of it, or with what it raised; in the items' order."""

    def guarded(item: T) -> R | Exception:
        try:
            return call(item)
        except BackupsRemoteError as error:
            return error
        except Exception as error:
            logger.exception("A store call of the sweep went wrong in an unforeseen way.")
            return error

    items = list(items)
    if workers == 1 or len(items) <= 1:
        yield from ((item, guarded(item)) for item in items)
        return
    with ThreadPoolExecutor(max_workers=min(workers, len(items))) as pool:
        yield from zip(items, pool.map(guarded, items), strict=True)


def _carefully(backup: Backup, steps: Iterator[SweepOutcome]) -> Iterator[SweepOutcome]:
    """What ``steps`` say, or that the database refused them: the other rows go on."""
    try:
        yield from steps
    except DatabaseError as error:
        logger.exception("The sweep could not change backup %s.", backup.uuid)
        yield _fault(backup, error)


def _outcome(action: SweepAction, backup: Backup, detail: str = "") -> SweepOutcome:
    return SweepOutcome(action, str(backup.uuid), backup.disk, detail)


def _fault(backup: Backup, error: object) -> SweepOutcome:
    return _outcome(SweepAction.ERROR, backup, _why(error))


def _why(error: object) -> str:
    if isinstance(error, BackupsRemoteError):
        return str(error)
    return f"{type(error).__name__}, see the log"


def _aware(moment: dt.datetime) -> dt.datetime:
    # Without USE_TZ, rows speak the default time zone's time, whichever one is active.
    if timezone.is_naive(moment):
        return timezone.make_aware(moment, timezone.get_default_timezone())
    return moment
