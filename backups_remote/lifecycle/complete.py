"""Completing a reported backup: have the store put the parts together, then verify the object.

The functions that call the store leave the database alone, so that they may run in any thread:
``find_verified_object`` and ``complete_and_verify``. Separate functions move the row.
"""

from __future__ import annotations

import datetime as dt
import enum
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from django.utils import timezone

from backups_remote.exceptions import (
    StorageError,
    StorageRefused,
    StorageTimeout,
    StorageUnavailable,
    UploadNotFound,
    UploadRejected,
)
from backups_remote.lifecycle.announce import announce_end
from backups_remote.lifecycle.rules.age import is_older_than
from backups_remote.lifecycle.rules.ownership import can_have_object
from backups_remote.storage import bare_etag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from backups_remote.models import Backup
    from backups_remote.storage import StorageBackend
    from backups_remote.types import StoredObject, StoredPart

#: For how long an upload is neither completed nor aborted after the store did not answer its
#: completion in time.
QUIET_PERIOD: Final = dt.timedelta(minutes=10)
#: Seconds before each look for the object after the store has rejected the parts: some stores
#: reject a completion while another one of the same upload is under way.
_LOOKS_AFTER_REJECTION: Final = (0.0, 0.5, 1.5)  # safeguard: rejection-rechecked


class Answer(enum.Enum):
    """What a store answered to an attempt, where no object proves the backup whole."""

    REJECTED = enum.auto()  #: the parts are not what the store holds
    UPLOAD_GONE = enum.auto()  #: it knows neither the upload nor a whole object
    TIMED_OUT = enum.auto()  #: nothing within the limit: it may still be at work
    UNCLEAR = enum.auto()  #: anything else


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at completing an upload: the object that proves it, or the answer and why."""

    proof: StoredObject | None = None
    answer: Answer = Answer.UNCLEAR
    #: For the node's log; empty with a proof.
    reason: str = ""


class Look(enum.Enum):
    """What a look for an object came to, where there is no answer."""

    #: The store refused, as it does without s3:ListBucket where there is no object.
    REFUSED = enum.auto()


class Recorded(enum.Enum):
    """What an attempt did to the backup's row."""

    COMPLETED = enum.auto()
    #: A concurrent writer moved the row first.
    OVERTAKEN = enum.auto()
    #: The report was taken back: the backup waits for another one.
    REFUSED = enum.auto()
    #: The report stays, and the claim is over: a repeat or the sweep tries again.
    KEPT = enum.auto()


def find_verified_object(
    backup: Backup,
    backend: StorageBackend,
    *,
    part_etags: Sequence[str] = (),
    completed_etag: str = "",
) -> StoredObject | None:
    """The object in the store, if it is this very upload of ``backup``, whole; else None.

    The announced size and the upload's random mark prove it. Where the store keeps no metadata,
    the size does together with the ETag that these parts give, or that the completion answered.

    Raises:
        StorageUnavailable: the store could not be asked.

    """
    if not backend.presigned_uploads or not backup.object_key:
        return None
    found = backend.stat(backup.object_key)  # safeguard: report-uses-row-key
    if found is None or found.size != backup.upload_size:  # safeguard: other-size-not-verified
        return None
    if found.mark is not None:
        # safeguard: mark-verifies-object
        return found if backup.upload_mark and found.mark == backup.upload_mark else None
    # safeguard: etag-verifies-object
    known = {completed_etag, backend.etag_of(part_etags) or ""} - {""}
    return found if found.etag in known else None  # safeguard: etag-without-metadata


def look_for_object(
    backup: Backup, backend: StorageBackend, *, part_etags: Sequence[str]
) -> StoredObject | None:
    """As ``find_verified_object``, for a caller that goes on without it where a look is refused.

    Raises:
        StorageUnavailable: the store could not be asked, for another reason.

    """
    try:
        return find_verified_object(backup, backend, part_etags=part_etags)
    except StorageRefused:
        return None  # safeguard: refused-look-stops-no-completion


def look_for_unsent(
    backup: Backup, backend: StorageBackend, *, part_etags: Sequence[str] = ()
) -> StoredObject | Literal[Look.REFUSED] | None:
    """As ``find_verified_object``, for a backup of which perhaps no completion was ever sent.

    Only the panel completes uploads: an open one has produced no object. If a look is refused and
    the upload is gone, there is probably no object, but nothing proves it.

    Raises:
        StorageUnavailable: the store could not be asked, or refused although a completion was sent.

    """
    try:
        return find_verified_object(backup, backend, part_etags=part_etags)
    except StorageRefused:
        if can_have_object(backup):  # safeguard: refused-look-is-no-proof
            raise
        is_open = backend.upload_exists(backup.object_key, backup.upload_id)
        return None if is_open else Look.REFUSED  # safeguard: refused-look-of-gone-upload


def pick_parts(
    backup: Backup,
    listed: Iterable[StoredPart],
    reported: Mapping[int, str] | None = None,
    *,
    reported_size: int = 0,
) -> list[StoredPart]:
    """One part for each number, in order: some stores list every try at a part sent again.

    The one whose bare ETag is the ``reported`` one, else the newest of the planned size. That
    follows from ``reported_size`` where none was announced.
    """
    size, part_size = backup.upload_size or reported_size, backup.part_size or 1

    def rank(part: StoredPart) -> tuple[bool, bool, dt.datetime]:
        # safeguard: reported-try-used
        is_reported = reported is not None and reported.get(part.number) == bare_etag(part.etag)
        has_planned_size = part.size == min(part_size, size - (part.number - 1) * part_size)
        return is_reported, has_planned_size, part.uploaded_at

    best: dict[int, StoredPart] = {}
    for part in listed:
        other = best.get(part.number)
        if other is None or rank(part) > rank(other):
            best[part.number] = part
    return [best[number] for number in sorted(best)]


def complete_and_verify(backup: Backup, backend: StorageBackend, *, look_first: bool) -> Attempt:
    """Have the store complete a reported upload, once, and look at the object whatever it answers.

    ``look_first`` is for a completion that may have been sent before.
    """
    etags: list[str] = backup.reported_etags or []
    try:
        if look_first:  # safeguard: earlier-completion-checked
            proof = look_for_object(backup, backend, part_etags=etags)
            if proof is not None:
                return Attempt(proof=proof)
    except StorageError as error:
        return Attempt(reason=str(error))
    answer, completed_etag = Answer.UNCLEAR, ""
    reason = "The store shows no whole object after its completion."
    try:
        completed_etag = backend.complete_upload(backup.object_key, backup.upload_id, etags)
    except StorageError as error:
        # A lost answer, an error that came too late, a rejection of what another call has done
        # already: only the object itself tells.
        answer, reason = _answer_of(error), str(error)  # safeguard: unclear-completion-verified
    try:
        for pause in _LOOKS_AFTER_REJECTION if answer is Answer.REJECTED else (0.0,):
            if pause:
                time.sleep(pause)
            proof = find_verified_object(  # safeguard: answered-completion-verified
                backup, backend, part_etags=etags, completed_etag=completed_etag
            )
            if proof is not None:
                return Attempt(proof=proof)
    except StorageError as error:
        # The store may still be at work; what else it answered proves nothing without a look.
        unseen = (
            answer if answer is Answer.TIMED_OUT else Answer.UNCLEAR
        )  # safeguard: timeout-kept-without-look
        return Attempt(answer=unseen, reason=str(error))
    return Attempt(answer=answer, reason=reason)


def record_attempt(backup: Backup, attempt: Attempt, *, is_first: bool) -> Recorded:
    """Move the row of a backup that is claimed by the caller as ``attempt`` says.

    ``is_first`` says that no completion of this upload can have been sent before.
    """
    if attempt.proof is not None:
        return record_completion(backup, attempt.proof)
    if attempt.answer is Answer.TIMED_OUT:  # safeguard: timeout-starts-quiet-period
        backup.release(quiet_until=timezone.now() + QUIET_PERIOD)
        return Recorded.KEPT
    # An earlier completion may still be under way, and have the parts of a later one rejected.
    # safeguard: takeover-rejection-inconclusive
    if attempt.answer is Answer.REJECTED and (is_first or _is_past_quiet_period(backup)):
        # safeguard: rejected-parts-release-report
        moved = backup.take_back_report(is_over=is_first)
        # safeguard: lost-claim-not-refused
        return Recorded.REFUSED if moved else Recorded.OVERTAKEN
    backup.release()  # safeguard: unclear-report-released
    return Recorded.KEPT


def record_completion(backup: Backup, proof: StoredObject) -> Recorded:
    """Record that a reported backup is whole, whatever claim there is on it."""
    if not backup.complete_uploaded(proof):
        return Recorded.OVERTAKEN
    announce_end(backup)  # safeguard: completion-signal
    return Recorded.COMPLETED


def _answer_of(error: StorageError) -> Answer:
    if isinstance(error, StorageTimeout):  # safeguard: answer-not-timeout
        return Answer.TIMED_OUT
    if isinstance(error, UploadRejected):
        return Answer.REJECTED
    if isinstance(error, UploadNotFound):
        return Answer.UPLOAD_GONE
    return Answer.UNCLEAR


def error_of(attempt: Attempt) -> StorageUnavailable:
    """What to raise where the report is kept: the caller is to try again."""
    kind = StorageTimeout if attempt.answer is Answer.TIMED_OUT else StorageUnavailable
    return kind(attempt.reason)


def _is_past_quiet_period(backup: Backup) -> bool:
    return backup.reported_at is None or is_older_than(backup.reported_at, QUIET_PERIOD)
