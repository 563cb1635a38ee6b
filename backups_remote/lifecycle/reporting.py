"""A node reports that a backup is finished, or that it failed."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from backups_remote.conf import app_settings
from backups_remote.exceptions import (
    AlreadyCompleted,
    BackupConflict,
    ReportRefused,
    SettlementInProgress,
    StorageError,
    UploadNotFound,
)
from backups_remote.lifecycle.announcing import announce_end
from backups_remote.lifecycle.finding import look_again
from backups_remote.lifecycle.settling import claim_end, pick_parts, prove, settle
from backups_remote.models import Backup
from backups_remote.storage import bare_etag, ceil_div, get_backend

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from backups_remote.storage import StorageBackend
    from backups_remote.types import Report, StoredPart

logger = logging.getLogger(__name__)

#: How often a report that is overtaken by others looks again.
_ROUNDS: Final = 8
#: How long a repeated report waits for the first one's outcome, in seconds. Short: it keeps a
#: worker busy, and a node that is told to try again does.
PATIENCE: Final = 5.0
#: How many part numbers an error names.
_SHOWN: Final = 10
_PAUSES: Final = (0.02, 0.05, 0.1, 0.25)


def record_report(backup: Backup, report: Report) -> None:
    """Take a node's word about ``backup``, as far as its store bears it out.

    A success on a store is recorded first, then completed there, then proven. Whatever dies in
    between, a repeated report or the sweep goes on from what is recorded.

    Raises:
        AlreadyCompleted: it was completed when this report arrived.
        ReportRefused: the report does not match what the store holds; nothing is changed.
        SettlementInProgress: an earlier report is still being settled.
        BackupNotFound: it was deleted meanwhile.
        StorageUnavailable: the store gave no clear answer; a repeat goes on from here.

    """
    if backup.state is Backup.State.COMPLETED and not _is_replay(backup, report):
        raise AlreadyCompleted
    for _ in range(_ROUNDS):
        if backup.state is Backup.State.COMPLETED:
            # Not so when this report arrived, or a replay: the first one's answer holds.
            if backup.reports_the_same(report):
                return
            raise AlreadyCompleted
        if _take(backup, report):
            return
        look_again(backup)
    raise SettlementInProgress


def abort_upload(backup: Backup) -> bool:
    """Throw a failed backup's upload away; if the store cannot now, the sweep tries again."""
    if not backup.upload_id:
        return True
    try:
        get_backend(backup.disk).abort_upload(backup.object_key, backup.upload_id)
    except StorageError as error:
        logger.warning("The upload of backup %s could not be aborted yet: %s", backup.uuid, error)
        return False
    backup.forget_upload()
    return True


def _is_replay(backup: Backup, report: Report) -> bool:
    if backup.completed_at is None or not backup.reports_the_same(report):
        return False
    return timezone.now() - backup.completed_at < app_settings.report_replay_window


def _take(backup: Backup, report: Report) -> bool:
    """One try at what the row's state calls for; False where somebody else was faster."""
    state = backup.state
    if state is Backup.State.DELETING:
        raise BackupConflict("The backup is being deleted.")
    if not report.successful:
        return _take_failure(backup)
    backend = get_backend(backup.disk)
    if not backend.presigned_uploads:
        return _take_word(backup, report)
    if state is Backup.State.PENDING:
        raise ReportRefused("No upload URLs were asked for: there is nothing in the store.")
    if state is Backup.State.UPLOADING:
        return _take_success(backup, report, backend)
    if state is Backup.State.REPORTED:
        return _join(backup, report, backend)
    return _revive(backup, report, backend)


def _take_failure(backup: Backup) -> bool:
    if backup.state is Backup.State.REPORTED:
        # A recorded success is settled by the store, never by a word against it.
        raise SettlementInProgress
    if backup.state is Backup.State.FAILED:
        return True
    if not backup.fail():
        return False
    abort_upload(backup)
    announce_end(backup)
    return True


def _take_word(backup: Backup, report: Report) -> bool:
    moved = backup.complete_on_node(report)
    if moved:
        announce_end(backup)
    return moved


def _take_success(backup: Backup, report: Report, backend: StorageBackend) -> bool:
    try:
        parts = backend.list_parts(backup.object_key, backup.upload_id)
    except UploadNotFound:
        parts = []
    if not parts:
        return _take_finished(backup, report, backend)
    said = {part.number: bare_etag(part.etag) for part in report.parts}
    parts = pick_parts(backup, parts, said)
    problem = next(_differences(backup, report, parts, said), None)
    if problem is not None:
        return _refuse_unless_overtaken(backup, problem)
    recorded = backup.record_success(
        checksum=report.checksum,
        size=report.size,
        etags=[part.etag for part in parts],
        claimed_until=claim_end(),
    )
    return recorded and settle(backup, backend, look_first=False)


def _take_finished(backup: Backup, report: Report, backend: StorageBackend) -> bool:
    """No parts are left: the upload was completed without our knowing, or holds nothing."""
    proof = None
    if report.size == backup.upload_size:
        proof = prove(backup, backend, part_etags=[part.etag for part in report.parts])
    if proof is None:
        return _refuse_unless_overtaken(backup, "The store holds no part of this upload.")
    moved = backup.complete_proven(proof, checksum=report.checksum)
    if moved:
        announce_end(backup)
    return moved


def _join(backup: Backup, report: Report, backend: StorageBackend) -> bool:
    """Wait for whoever settles this backup, or settle it where nobody does any more."""
    if not backup.reports_the_same(report) and not (
        backup.is_recovered and backup.adopt_checksum(report)
    ):
        raise SettlementInProgress
    give_up = time.monotonic() + PATIENCE
    pauses = iter(_PAUSES)
    while not backup.claim(claim_end()):
        if time.monotonic() > give_up:
            raise SettlementInProgress
        time.sleep(next(pauses, _PAUSES[-1]))
        look_again(backup)
        if backup.state is not Backup.State.REPORTED:
            return False
    return settle(backup, backend, look_first=True)


def _revive(backup: Backup, report: Report, backend: StorageBackend) -> bool:
    """A failed upload is a success only if the whole object is there."""
    if report.size == backup.upload_size:
        proof = prove(backup, backend, part_etags=[part.etag for part in report.parts])
        if proof is not None and backup.complete_proven(proof, checksum=report.checksum):
            announce_end(backup)
            return True
    return _refuse_unless_overtaken(backup, "The backup has failed, its upload was thrown away.")


def _refuse_unless_overtaken(backup: Backup, problem: str) -> bool:
    """Refuse, unless the store looks so because another report has changed it meanwhile."""
    seen = backup.state, backup.upload_id
    look_again(backup)
    if (backup.state, backup.upload_id) != seen:
        return False
    raise ReportRefused(problem)


def _differences(
    backup: Backup, report: Report, parts: Sequence[StoredPart], said: Mapping[int, str]
) -> Iterator[str]:
    """What differs between the report, the announcement and the store."""
    stored_size = sum(part.size for part in parts)
    expected = ceil_div(backup.upload_size or 0, backup.part_size or 1)
    numbers = [part.number for part in parts]
    if numbers != list(range(1, expected + 1)):
        yield f"parts: {expected} were announced, the store holds {_in_words(numbers)}."
    if report.size != backup.upload_size:
        yield f"size: {report.size} is reported, {backup.upload_size} was announced."
    if report.size != stored_size:
        yield f"size: {report.size} is reported, the store holds {stored_size}."
    if not report.parts:
        return
    if len(report.parts) != len(parts):
        yield f"parts: {len(report.parts)} are reported, the store holds {len(parts)}."
    for part in parts:
        if part.number not in said:
            yield f"parts: part {part.number} is in the store and not in the report."
        elif said[part.number] not in {"", bare_etag(part.etag)}:
            yield f"parts: the etag of part {part.number} is not the store's."


def _in_words(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_SHOWN])
    return f"{len(numbers)} ({shown}{', …' if len(numbers) > _SHOWN else ''})"
