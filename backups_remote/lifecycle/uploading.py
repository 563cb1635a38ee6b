"""A node asks where to put its archive."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Final

from backups_remote.conf import app_settings
from backups_remote.exceptions import (
    AlreadyCompleted,
    BackupConflict,
    StorageError,
    TryAgain,
    UploadsNotSupported,
)
from backups_remote.lifecycle.finding import look_again
from backups_remote.models import Backup
from backups_remote.storage import ceil_div, get_backend, plan_parts
from backups_remote.types import PartPlan, UploadTicket

if TYPE_CHECKING:
    from backups_remote.storage import StorageBackend

logger = logging.getLogger(__name__)

#: How often a caller that is overtaken by others looks again.
_ROUNDS: Final = 8


def request_upload(backup: Backup, size: int) -> UploadTicket:
    """URLs for an archive of ``size`` bytes: one multipart upload, however often it is asked for.

    The same size again gets fresh URLs of the same upload, another size a new upload in place of
    the old one. Callers at once each begin an upload in the store; the first to note its own on
    the row wins, the others throw theirs away. An upload whose caller dies in between is an
    orphan, which the sweep removes.

    Raises:
        AlreadyCompleted: the backup is completed or has failed.
        BackupConflict: its success is reported already.
        UploadsNotSupported: the backup's disk takes no presigned uploads.
        StorageUnavailable: the store could not be asked; nothing is changed.
        BackupNotFound: it was deleted meanwhile.
        ValueError: no part plan fits ``size``.

    """
    for _ in range(_ROUNDS):
        _refuse_if_over(backup)
        backend = get_backend(backup.disk)
        if not backend.presigned_uploads:
            raise UploadsNotSupported
        if backup.upload_id and backup.upload_size == size and backup.part_size:
            # The part size that it was started with: the setting may have changed since.
            plan = PartPlan(size, backup.part_size, ceil_div(size, backup.part_size))
            won = backup.touch_upload()
        else:
            plan = plan_parts(
                size, max_part_size=app_settings.max_part_size, max_parts=app_settings.max_parts
            )
            won = _begin(backup, backend, plan)
        if won:
            return _ticket(backup, backend, plan)
        look_again(backup)
    raise TryAgain


def _refuse_if_over(backup: Backup) -> None:
    state = backup.state
    if state is Backup.State.REPORTED:
        raise BackupConflict("The backup is reported and being completed.")
    if state is Backup.State.FAILED:
        raise AlreadyCompleted("The backup has failed already.")
    if state in {Backup.State.COMPLETED, Backup.State.DELETING}:
        raise AlreadyCompleted


def _begin(backup: Backup, backend: StorageBackend, plan: PartPlan) -> bool:
    replaced = backup.upload_id, backup.object_key
    key = backend.object_key(backup.server_uuid, backup.uuid)
    mark = secrets.token_urlsafe(24)
    upload_id = backend.create_upload(key, mark)
    won = backup.start_upload(
        upload_id=upload_id, mark=mark, key=key, size=plan.size, part_size=plan.part_size
    )
    if not won:
        _throw_away(backend, key, upload_id)
    elif replaced[0]:
        _throw_away(backend, replaced[1], replaced[0])
    return won


def _throw_away(backend: StorageBackend, key: str, upload_id: str) -> None:
    try:
        backend.abort_upload(key, upload_id)
    except StorageError as error:
        # No row names this upload: the sweep will find it as an orphan.
        logger.warning("An upload of %s could not be aborted yet: %s", key, error)


def _ticket(backup: Backup, backend: StorageBackend, plan: PartPlan) -> UploadTicket:
    urls = backend.presign_parts(
        backup.object_key, backup.upload_id, plan.count, app_settings.url_lifespan(plan.size)
    )
    return UploadTicket(urls=urls, part_size=plan.part_size)
