"""A node that streams its archive asks where to put the next parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backups_remote.conf import app_settings
from backups_remote.exceptions import BackupConflict
from backups_remote.lifecycle.lookup import make_current
from backups_remote.lifecycle.retry import Overtaken, decide_until_settled
from backups_remote.lifecycle.transactions import refuse_open_transaction
from backups_remote.lifecycle.upload import backend_taking_parts, begin_upload, renew_upload
from backups_remote.storage.parts import allowed_part_size, plan_next_parts

if TYPE_CHECKING:
    from backups_remote.models import Backup
    from backups_remote.storage import StorageBackend
    from backups_remote.types import UploadTicket


def request_parts(backup: Backup, from_part: int) -> UploadTicket:
    """URLs for the next parts of an archive whose size is not known before its report.

    They are those of at most 50 parts, from number ``from_part`` (1 … ``MAX_PARTS``) on, and
    always of one multipart upload, which the first call begins. Its part size is fixed then:
    ``MAX_PART_SIZE``. All that ``request_upload`` promises holds here too.

    Only part 1 begins an upload, also in place of one that the store has lost. A node that asks
    for a later part has sent the earlier ones already: it gets no URLs of an upload that does not
    hold them. An upload of an announced size is never replaced: the node has fallen back to it,
    and this call may be an earlier one that comes late.

    Raises:
        AlreadyCompleted: the backup is completed or has failed, not for silence alone.
        BackupLimitReached: it had failed for silence, and its place is taken.
        BackupConflict: its success is reported already, or it has an upload of an announced size,
            or the upload that holds the parts before ``from_part`` is gone.
        UploadsNotSupported: the backup's disk takes no presigned uploads.
        StorageUnavailable: the store could not be asked; nothing is changed.
        BackupNotFound: it was deleted meanwhile.
        ValueError: an upload has no part ``from_part``.
        RuntimeError: a transaction is open.

    """
    refuse_open_transaction("request_parts")  # safeguard: parts-outside-transaction
    make_current(backup)
    seen = backup.upload_id
    return decide_until_settled(backup, lambda: _ask(backup, from_part, seen))


def _ask(backup: Backup, from_part: int, seen: str) -> UploadTicket | Overtaken:
    """URLs of the streamed upload that there is, or of a new one.

    ``seen`` is the upload that the row named when the node called.
    """
    backend = backend_taking_parts(backup)
    if backup.upload_id and backup.upload_size is not None:  # safeguard: stream-own-upload
        raise BackupConflict("An upload of an announced size is under way.")
    is_open = _has_streamed_upload(backup, backend)
    # safeguard: later-parts-same-upload
    if from_part > 1 and not (is_open and backup.upload_id == seen):
        raise BackupConflict("The upload of the earlier parts is gone.")
    # safeguard: stream-part-size-kept
    kept = backup.part_size if is_open else None
    plan = plan_next_parts(
        from_part,
        part_size=kept or allowed_part_size(app_settings.max_part_size),
        max_parts=app_settings.max_parts,
    )
    # safeguard: stream-same-upload
    return (renew_upload if is_open else begin_upload)(backup, backend, plan)


def _has_streamed_upload(backup: Backup, backend: StorageBackend) -> bool:
    """Whether the row names an upload that the store still has."""
    if not backup.upload_id:
        return False
    # safeguard: lost-stream-replaced
    return backend.upload_exists(backup.object_key, backup.upload_id)
