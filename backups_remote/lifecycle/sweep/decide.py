"""What becomes of a silent backup: a pure function of its row and of what the store shows."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backups_remote.exceptions import UploadNotFound
from backups_remote.lifecycle.complete import Look, look_for_unsent, pick_parts
from backups_remote.lifecycle.rules.parts import planned_parts

if TYPE_CHECKING:
    import datetime as dt

    from backups_remote.lifecycle.sweep.staleness import Staleness
    from backups_remote.models import Backup
    from backups_remote.storage import StorageBackend
    from backups_remote.types import StoredObject


class Decision(enum.Enum):
    """What is to be done about a silent backup."""

    LEAVE = enum.auto()  #: parts still arrive
    COMPLETE = enum.auto()  #: its whole object is in the store
    RECOVER = enum.auto()  #: its parts are all there: have the store complete them
    FAIL = enum.auto()  #: there is nothing to save: fail it, abort its upload


@dataclass(frozen=True, slots=True)
class Finding:
    """What the store shows of a silent backup. Small: thousands of parts are not kept."""

    #: When the newest part arrived, be it one of those picked or an earlier try.
    newest: dt.datetime | None = None
    #: How many parts there are, several tries at one counted once.
    arrived: int = 0
    #: The ETags of the parts in order if they are all there with the planned sizes, else None.
    whole_etags: tuple[str, ...] | None = None
    proof: StoredObject | None = None
    #: The store refused to show whether there is an object, and the upload is gone.
    is_unseen: bool = False


def examine(backup: Backup, backend: StorageBackend, *, staleness: Staleness) -> Finding:
    """Ask the store. The object is looked for whatever the list of parts says.

    Some stores go on listing the parts of an upload that was completed.

    Raises:
        StorageUnavailable: the store could not be asked.

    """
    if not backend.presigned_uploads or not backup.upload_id:
        return Finding()
    try:
        listed = backend.list_parts(backup.object_key, backup.upload_id)
    except UploadNotFound:
        listed = []
    # safeguard: age-from-newest-part
    newest = max((part.uploaded_at for part in listed), default=None)
    if staleness.is_arriving(backup, newest):
        return Finding(newest=newest)  # safeguard: part-sign-of-life
    parts = pick_parts(backup, listed)  # safeguard: recovery-one-try-per-part
    etags = tuple(part.etag for part in parts)
    # safeguard: recovery-needs-all-parts
    is_whole = bool(parts) and [(p.number, p.size) for p in parts] == planned_parts(backup)
    found = look_for_unsent(backup, backend, part_etags=etags)
    return Finding(  # safeguard: finished-object-recovered
        newest=newest,
        arrived=len(parts),
        whole_etags=etags if is_whole else None,
        proof=None if found is Look.REFUSED else found,
        is_unseen=found is Look.REFUSED,
    )


def decide(backup: Backup, finding: Finding, staleness: Staleness, *, recover: bool) -> Decision:
    """What to do about a backup whose row has been silent for too long."""
    if finding.proof is not None:
        return Decision.COMPLETE
    if staleness.is_arriving(backup, finding.newest):
        return Decision.LEAVE
    if recover and finding.whole_etags is not None:  # safeguard: complete-upload-recovered
        return Decision.RECOVER
    return Decision.FAIL
