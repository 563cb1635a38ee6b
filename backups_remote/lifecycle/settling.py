"""Bringing a reported backup to its end: have the store put it together, then prove it.

The halves are apart on purpose. ``put_together`` and ``prove`` speak with the store and leave the
database alone, so that they may run in any thread; ``settle`` and ``conclude`` move the row.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from backups_remote.exceptions import (
    BackupsRemoteError,
    ReportRefused,
    StorageError,
    StorageUnavailable,
    UploadRejected,
)
from backups_remote.lifecycle.announcing import announce_end
from backups_remote.storage import bare_etag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from backups_remote.models import Backup
    from backups_remote.storage import StorageBackend
    from backups_remote.types import StoredObject, StoredPart

#: How long whoever settles a backup has it to itself. A store may take far longer than a time-out
#: says: the clock of that one starts again with every byte, and stores send blanks meanwhile.
CLAIM: Final = dt.timedelta(minutes=10)


def claim_end() -> dt.datetime:
    """When a claim taken now is over."""
    return timezone.now() + CLAIM


def prove(
    backup: Backup,
    backend: StorageBackend,
    *,
    part_etags: Sequence[str] = (),
    completed_etag: str = "",
) -> StoredObject | None:
    """The object in the store, if it is this very upload of ``backup``, whole; else None.

    The announced size and the upload's random mark prove it. Where the store keeps no metadata,
    the size and the ETag that these parts give, or that the completion answered, do.

    Raises:
        StorageUnavailable: the store could not be asked.

    """
    found = backend.stat(backup.object_key)
    if found is None or found.size != backup.upload_size:
        return None
    if found.mark is not None:
        return found if backup.upload_mark and found.mark == backup.upload_mark else None
    known = {completed_etag, backend.etag_of(part_etags) or ""} - {""}
    return found if found.etag in known else None


def pick_parts(
    backup: Backup, listed: Iterable[StoredPart], said: Mapping[int, str] | None = None
) -> list[StoredPart]:
    """One part a number, in order, where a store lists every try at a part that was sent again.

    The one whose bare ETag the node ``said``, else the newest of the right length.
    """
    size, part_size = backup.upload_size or 0, backup.part_size or 1

    def merit(part: StoredPart) -> tuple[bool, bool, dt.datetime]:
        as_said = said is not None and said.get(part.number) == bare_etag(part.etag)
        fits = part.size == min(part_size, size - (part.number - 1) * part_size)
        return as_said, fits, part.uploaded_at

    best: dict[int, StoredPart] = {}
    for part in listed:
        other = best.get(part.number)
        if other is None or merit(part) > merit(other):
            best[part.number] = part
    return [best[number] for number in sorted(best)]


def put_together(backup: Backup, backend: StorageBackend, *, look_first: bool) -> StoredObject:
    """Complete a reported backup's upload, once, and prove the object whatever came back.

    ``look_first`` is for a completion that may have been sent before.

    Raises:
        UploadRejected: the parts are not what the store holds, and no whole object is there.
        UploadNotFound: neither the upload nor a whole object is there.
        StorageUnavailable: nothing is clear; look again later.

    """
    etags: list[str] = backup.reported_etags or []
    if look_first:
        proof = prove(backup, backend, part_etags=etags)
        if proof is not None:
            return proof
    completed_etag = ""
    problem: StorageError | None = None
    try:
        completed_etag = backend.complete_upload(backup.object_key, backup.upload_id, etags)
    except StorageError as error:
        # A lost answer, an error that came too late, a rejection of what another call has done
        # already: only the object itself tells.
        problem = error
    proof = prove(backup, backend, part_etags=etags, completed_etag=completed_etag)
    if proof is not None:
        return proof
    raise problem or StorageUnavailable("The store shows no whole object after its completion.")


def settle(backup: Backup, backend: StorageBackend, *, look_first: bool) -> bool:
    """Settle a reported backup that the caller has claimed; False where another one ended it.

    Raises:
        ReportRefused: the store refused the parts; the backup waits for the right report.
        StorageUnavailable: not clear yet; the report is kept and the claim given back.

    """
    try:
        proof = put_together(backup, backend, look_first=look_first)
    except StorageError as error:
        raise conclude_without_proof(backup, error) from error
    return conclude(backup, proof)


def conclude(backup: Backup, proof: StoredObject) -> bool:
    """Record that a reported backup is whole."""
    moved = backup.complete_uploaded(proof)
    if moved:
        announce_end(backup)
    return moved


def conclude_without_proof(backup: Backup, problem: StorageError) -> BackupsRemoteError:
    """Record that settling did not end it, and say in a caller's terms why."""
    if isinstance(problem, UploadRejected):
        backup.take_back_report()
        return ReportRefused(f"{problem} The parts are not what the store holds.")
    backup.release()
    return problem if isinstance(problem, StorageUnavailable) else StorageUnavailable(str(problem))
