"""A node reports that a backup is finished, or that it failed."""

from __future__ import annotations

import enum
import logging
import time
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from backups_remote.conf import app_settings
from backups_remote.exceptions import (
    AlreadyCompleted,
    BackupConflict,
    ReportRefused,
    SettlementInProgress,
    StorageError,
    UploadNotFound,
)
from backups_remote.lifecycle.announce import announce_end
from backups_remote.lifecycle.compare import compare_with_object, compare_with_parts
from backups_remote.lifecycle.complete import (
    Recorded,
    complete_and_verify,
    error_of,
    find_verified_object,
    look_for_object,
    pick_parts,
    record_attempt,
    record_completion,
)
from backups_remote.lifecycle.lease import (
    call_with_lease,
    give_back_connection,
    is_pooled,
    lease_end,
)
from backups_remote.lifecycle.lookup import make_current, reload
from backups_remote.lifecycle.retry import OVERTAKEN, Overtaken, decide_until_settled
from backups_remote.lifecycle.rules.age import is_older_than, may_still_appear
from backups_remote.lifecycle.rules.ownership import why_foreign
from backups_remote.lifecycle.transactions import refuse_open_transaction
from backups_remote.models import Backup
from backups_remote.storage import bare_etag, get_backend

if TYPE_CHECKING:
    from backups_remote.storage import StorageBackend
    from backups_remote.types import Report

logger = logging.getLogger(__name__)

#: How long a report waits for the claim on its backup before the node is told to try again, in
#: seconds. A daemon tries for about 30 seconds in all, and every second here costs it a try; but
#: one try must come after the lease of a dead claim holder has ended (see ``lease``).
PATIENCE: Final = 5.0
#: Seconds until a waiting report looks for the object itself, and between two looks.
_FIRST_LOOK: Final = 0.25
_LOOK_EVERY: Final = 1.0
_PAUSES: Final = (0.02, 0.05, 0.1, 0.25)


class Processed(enum.Enum):
    """What became of a report that was not refused."""

    #: The backup's row says what the report says.
    ACCEPTED = enum.auto()


ACCEPTED: Final = Processed.ACCEPTED
Step: TypeAlias = Literal[Processed.ACCEPTED] | Overtaken


def record_report(backup: Backup, report: Report) -> None:
    """Process a node's report about ``backup`` and verify it against the store.

    A success on a store is recorded first, then completed there, then verified. If the panel dies
    in between, a repeated report or the sweep continues from what is recorded.

    Raises:
        AlreadyCompleted: it was completed when this report arrived.
        ReportRefused: the report does not match what the store holds. The reason is remembered
            on the row; nothing else is changed.
        SettlementInProgress: an earlier report is still being processed.
        BackupNotFound: it was deleted meanwhile.
        StorageUnavailable: the store gave no clear answer; a repeat continues from here.
        RuntimeError: a transaction is open.

    """
    refuse_open_transaction("record_report")  # safeguard: report-outside-transaction
    make_current(backup)
    # safeguard: completed-report-refused
    if backup.state is Backup.State.COMPLETED and not _is_replay(backup, report):
        raise AlreadyCompleted
    try:
        decide_until_settled(
            backup, lambda: _process(backup, report), exhausted=SettlementInProgress
        )
    except ReportRefused as refusal:
        backup.refuse_report(str(refusal))  # safeguard: refusal-recorded
        raise


def record_refusal(backup: Backup, reason: str) -> None:
    """Remember on the row why a report could not be read and was answered with a 4xx.

    That answer is final for a daemon: the backup is judged after a short grace, as after a report
    that does not match. Nothing else is changed, and nothing of a backup that is completed.
    ``reason`` may quote what the node sent: characters that cannot be printed are escaped.
    """
    printable = "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in reason
    )
    backup.refuse_report(printable)


def _is_replay(backup: Backup, report: Report) -> bool:
    """Whether a completed backup's report is repeated within ``REPORT_REPLAY_WINDOW``."""
    if backup.completed_at is None or not backup.reports_the_same(report):
        return False
    return not is_older_than(backup.completed_at, app_settings.report_replay_window)


def _process(backup: Backup, report: Report) -> Step:
    """Do what the row's state calls for."""
    state = backup.state
    if state is Backup.State.COMPLETED:
        return _repeat(backup, report)
    if state is Backup.State.DELETING:  # safeguard: deleting-backup-takes-no-report
        raise BackupConflict("The backup is being deleted.")
    if not report.successful:
        return _process_failure(backup, report)
    backend = get_backend(backup.disk)  # safeguard: report-uses-row-disk
    if not backend.presigned_uploads:
        return _trust(backup, report)
    if state is Backup.State.PENDING:
        raise ReportRefused("No upload URLs were asked for: there is nothing in the store.")
    if state is Backup.State.UPLOADING:
        return _process_success(backup, report, backend)
    if state is Backup.State.REPORTED:
        return _join(backup, report, backend)
    missing = "The backup has failed, its upload was thrown away."
    return _accept_object(backup, report, backend, missing)


def _repeat(backup: Backup, report: Report) -> Step:
    """The backup was completed after this report arrived, or the report is a replay."""
    if backup.reports_the_same(report):
        return ACCEPTED
    # safeguard: recovery-overtakes-report
    if report.successful and backup.is_recovered and not backup.checksum:
        return _vouch(backup, report)
    raise AlreadyCompleted


def _vouch(backup: Backup, report: Report) -> Step:
    """Accept the report of a backup that was recovered while it was compared with the parts."""
    backend = get_backend(backup.disk)
    found = backend.stat(backup.object_key, version_id=backup.version_id)
    if found is None or why_foreign(backup, found):
        raise AlreadyCompleted
    # safeguard: recovered-object-matches-report
    problem = compare_with_object(backup, report, found, backend)
    if problem:
        return _refuse_unless_overtaken(backup, problem)
    return ACCEPTED if backup.adopt_checksum(report) else OVERTAKEN


def _process_failure(backup: Backup, report: Report) -> Step:
    if backup.state is Backup.State.REPORTED:
        # The store decides about a recorded success, not a later report of a failure.
        raise SettlementInProgress
    reason = report.reason or "the node reported failure"
    if backup.state is Backup.State.FAILED:  # safeguard: failure-repeatable
        if backup.failed_in_silence:
            backup.confirm_failure(reason)  # safeguard: told-failure-is-final
        return ACCEPTED
    if not backup.fail(reason):
        return OVERTAKEN
    _abort_upload(backup)
    announce_end(backup)  # safeguard: failure-signal
    return ACCEPTED


def _abort_upload(backup: Backup) -> None:
    """Abort a failed backup's upload; the sweep does what cannot be done now."""
    if not backup.upload_id or may_still_appear(backup):  # safeguard: failure-waits-for-object
        return
    try:
        # safeguard: failure-aborts-upload
        get_backend(backup.disk).abort_upload(backup.object_key, backup.upload_id)
    except StorageError as error:  # safeguard: failure-recorded-without-abort
        logger.warning("The upload of backup %s could not be aborted yet: %s", backup.uuid, error)
        return
    backup.forget_upload()


def _trust(backup: Backup, report: Report) -> Step:
    """Accept a success on the node's own disk: there is nothing to verify it against."""
    if not backup.complete_on_node(report):
        return OVERTAKEN
    announce_end(backup)
    return ACCEPTED


def _process_success(backup: Backup, report: Report, backend: StorageBackend) -> Step:
    try:
        listed = backend.list_parts(backup.object_key, backup.upload_id)
    except UploadNotFound:
        listed = []
    if not listed:
        # The upload was completed and its report's answer lost, or it never held a part.
        return _accept_object(backup, report, backend, "The store holds no part of this upload.")
    reported = {part.number: bare_etag(part.etag) for part in report.parts}
    # safeguard: report-one-try-per-part
    parts = pick_parts(backup, listed, reported, reported_size=report.size)
    problem = compare_with_parts(backup, report, parts)  # safeguard: report-matches-parts
    if problem:
        return _refuse_unless_overtaken(backup, problem)
    is_first = backup.completion_sent_at is None
    recorded = backup.record_success(  # safeguard: report-before-completion
        checksum=report.checksum,
        size=report.size,
        etags=[part.etag for part in parts],
        claimed_until=lease_end(),
    )
    return _complete(backup, backend, is_first=is_first) if recorded else OVERTAKEN


def _accept_object(backup: Backup, report: Report, backend: StorageBackend, missing: str) -> Step:
    """Complete a backup whose whole object is in the store already; else refuse the report."""
    # safeguard: reported-etags-in-order
    etags = [part.etag for part in sorted(report.parts, key=lambda part: part.number)]
    proof = find_verified_object(backup, backend, part_etags=etags)
    # safeguard: report-matches-object
    problem = missing if proof is None else compare_with_object(backup, report, proof, backend)
    if proof is None or problem:
        return _refuse_unless_overtaken(backup, problem)
    if not backup.complete_proven(proof, checksum=report.checksum):
        return OVERTAKEN
    announce_end(backup)  # safeguard: finished-object-report-signal
    return ACCEPTED


def _join(backup: Backup, report: Report, backend: StorageBackend) -> Step:
    """Wait for the holder of the claim on a reported backup, or complete it when the claim ends."""
    etags: list[str] = backup.reported_etags or []
    # safeguard: other-report-not-repeat
    if not backup.is_recovered and not backup.reports_the_same(report):
        raise SettlementInProgress
    # safeguard: repeat-matches-parts
    problem = compare_with_parts(backup, report, list(enumerate(etags, start=1)))
    if problem:
        return _refuse_unless_overtaken(backup, problem)
    if backup.is_recovered and not backup.adopt_checksum(report):  # safeguard: checksum-to-recovery
        return OVERTAKEN
    give_up = time.monotonic() + PATIENCE
    next_look = time.monotonic() + _FIRST_LOOK
    pauses = iter(_PAUSES)
    while not backup.claim(lease_end()):
        now = time.monotonic()
        if now >= min(next_look, give_up):
            # An object that proves the backup whole completes it, whatever claim there is.
            # safeguard: waiting-report-checks-object
            proof = look_for_object(backup, backend, part_etags=etags)
            if proof is not None:
                return _step_of(record_completion(backup, proof))
            next_look = time.monotonic() + _LOOK_EVERY
        if now >= give_up:
            raise SettlementInProgress
        if is_pooled():
            give_back_connection()
        time.sleep(next(pauses, _PAUSES[-1]))
        reload(backup)
        if backup.state is not Backup.State.REPORTED:
            return OVERTAKEN
    return _complete(backup, backend, is_first=False)  # safeguard: takeover-not-first


def _complete(backup: Backup, backend: StorageBackend, *, is_first: bool) -> Step:
    """Complete a reported backup that is claimed here, and say what came of it to the node.

    ``is_first`` says that no completion of this upload can have been sent before.
    """
    attempt = call_with_lease(  # safeguard: takeover-checks-object
        backup, lambda: complete_and_verify(backup, backend, look_first=not is_first)
    )
    recorded = record_attempt(backup, attempt, is_first=is_first)
    if recorded is Recorded.REFUSED:
        raise ReportRefused(f"{attempt.reason} The parts are not what the store holds.")
    if recorded is Recorded.KEPT:
        raise error_of(attempt)
    return _step_of(recorded)


def _step_of(recorded: Recorded) -> Step:
    return ACCEPTED if recorded is Recorded.COMPLETED else OVERTAKEN


def _refuse_unless_overtaken(backup: Backup, problem: str) -> Step:
    """Refuse the report, unless another one has changed what the store shows meanwhile."""
    seen = backup.state, backup.upload_id
    reload(backup)
    if (backup.state, backup.upload_id) != seen:  # safeguard: overtaken-report-reloaded
        return OVERTAKEN
    raise ReportRefused(problem)
