"""How much of an upload has arrived in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backups_remote.exceptions import UploadNotFound
from backups_remote.lifecycle.complete import pick_parts
from backups_remote.lifecycle.transactions import refuse_open_transaction
from backups_remote.models import Backup
from backups_remote.storage import ceil_div, get_backend
from backups_remote.types import UploadProgress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backups_remote.types import StoredPart


def upload_progress(backup: Backup) -> UploadProgress | None:
    """What the store holds of the upload of ``backup``; None while there is no upload to look at.

    Costs one call to the store for each thousand parts that have arrived.

    Raises:
        StorageUnavailable: the store could not be asked.
        RuntimeError: a transaction is open.

    """
    refuse_open_transaction("upload_progress")
    if backup.state is not Backup.State.UPLOADING:
        return None
    backend = get_backend(backup.disk)
    if not backend.presigned_uploads:
        return None
    try:
        listed = backend.list_parts(backup.object_key, backup.upload_id)
    except UploadNotFound:
        return None  # completed or aborted since the row was read
    return _progress(backup, pick_parts(backup, listed))


def _progress(backup: Backup, parts: Sequence[StoredPart]) -> UploadProgress:
    size, part_size = backup.upload_size, backup.part_size
    return UploadProgress(
        parts=len(parts),
        expected_parts=ceil_div(size, part_size) if size and part_size else None,
        size=sum(part.size for part in parts),
        expected_size=size,
        last_part_at=max((part.uploaded_at for part in parts), default=None),
    )
