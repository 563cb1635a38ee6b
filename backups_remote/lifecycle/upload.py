"""A node asks where to put its archive."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any

from backups_remote.conf import app_settings, issued_size
from backups_remote.exceptions import (
    AlreadyCompleted,
    BackupConflict,
    StorageError,
    UploadsNotSupported,
)
from backups_remote.lifecycle.limit import refuse_above_limit
from backups_remote.lifecycle.lookup import make_current
from backups_remote.lifecycle.retry import OVERTAKEN, Overtaken, decide_until_settled
from backups_remote.lifecycle.rules.age import has_completion_under_way
from backups_remote.lifecycle.transactions import locked_server, refuse_open_transaction
from backups_remote.models import Backup
from backups_remote.storage import ceil_div, get_backend, plan_parts
from backups_remote.types import PartPlan, UploadTicket

if TYPE_CHECKING:
    from backups_remote.storage import StorageBackend

logger = logging.getLogger(__name__)


def request_upload(backup: Backup, size: int) -> UploadTicket:
    """URLs for an archive of ``size`` bytes: one multipart upload, however often it is asked for.

    The same size again gets fresh URLs of the same upload, unless the store has lost it; another
    size gets a new upload in place of the old one. Of several callers at once each may begin an
    upload in the store: the first to write its own to the row wins, the others abort theirs. An
    upload whose caller dies in between is an orphan, which the sweep removes.

    The URLs are signed before the row is written, so that no answer names an upload that was
    ended during the signing.

    Raises:
        AlreadyCompleted: the backup is completed or has failed, not for silence alone.
        BackupLimitReached: it had failed for silence, and its place is taken.
        BackupConflict: its success is reported already, or was, and its completion may still be
            under way: its object would replace that of a new upload.
        UploadsNotSupported: the backup's disk takes no presigned uploads.
        StorageUnavailable: the store could not be asked; nothing is changed.
        BackupNotFound: it was deleted meanwhile.
        ValueError: no part plan fits ``size``.
        RuntimeError: a transaction is open.

    """
    refuse_open_transaction("request_upload")  # safeguard: request-outside-transaction
    make_current(backup)
    return decide_until_settled(backup, lambda: _ask(backup, size))


def _ask(backup: Backup, size: int) -> UploadTicket | Overtaken:
    """URLs of the upload that there is, or of a new one."""
    backend = backend_taking_parts(backup)
    # safeguard: same-size-same-upload
    return _renew(backup, backend, size) or _begin(backup, backend, size)


def backend_taking_parts(backup: Backup) -> StorageBackend:
    """The backend of a backup for which URLs may be issued.

    A node that archives for hours gives no sign of life before it asks for them. A backup that was
    failed for that alone is opened again.

    Raises:
        AlreadyCompleted: the backup is completed or has failed.
        BackupConflict: its success is reported already.
        UploadsNotSupported: its disk takes no presigned uploads.
        DiskNotConfigured: there is no such disk.

    """
    state = backup.state
    if state is Backup.State.REPORTED:
        raise BackupConflict("The backup is reported and being completed.")
    # safeguard: silent-failure-opened-again
    if state is Backup.State.FAILED and not _failed_in_silence(backup):
        raise AlreadyCompleted("The backup has failed already.")
    if state in {Backup.State.COMPLETED, Backup.State.DELETING}:
        raise AlreadyCompleted
    backend = get_backend(backup.disk)
    if not backend.presigned_uploads:
        raise UploadsNotSupported
    return backend


def _failed_in_silence(backup: Backup) -> bool:
    return backup.failed_in_silence and not backup.upload_id and backup.refused_at is None


def _renew(backup: Backup, backend: StorageBackend, size: int) -> UploadTicket | Overtaken | None:
    """Fresh URLs of the upload that there is; None if a new one is needed."""
    # safeguard: other-size-new-upload
    if not backup.upload_id or backup.upload_size != size or not backup.part_size:
        return None
    # safeguard: lost-upload-replaced
    if not backend.upload_exists(backup.object_key, backup.upload_id):
        # Lost by the store (a lifecycle rule, an operator): URLs for it would never work.
        return None
    # The part size that it was started with: the setting may have changed since.
    # safeguard: part-size-kept
    plan = PartPlan(size, backup.part_size, ceil_div(size, backup.part_size))
    return renew_upload(backup, backend, plan)


def _begin(backup: Backup, backend: StorageBackend, size: int) -> UploadTicket | Overtaken:
    plan = plan_parts(
        size, max_part_size=app_settings.max_part_size, max_parts=app_settings.max_parts
    )
    return begin_upload(backup, backend, plan)


def renew_upload(
    backup: Backup, backend: StorageBackend, plan: PartPlan
) -> UploadTicket | Overtaken:
    """URLs of the upload on the row, for the parts of ``plan``: a sign of life."""
    ticket = _ticket(backend, backup.object_key, backup.upload_id, plan)
    return ticket if backup.touch_upload() else OVERTAKEN  # safeguard: repeat-touches-upload


def begin_upload(
    backup: Backup, backend: StorageBackend, plan: PartPlan
) -> UploadTicket | Overtaken:
    """URLs of a new upload, for the parts of ``plan``, in place of the one on the row."""
    # safeguard: late-object-replaces-nothing
    if backup.upload_id and has_completion_under_way(backup):
        raise BackupConflict("An earlier completion of this backup may still be under way.")
    replaced_id, replaced_key = backup.upload_id, backup.object_key
    key = backend.object_key(backup.server_uuid, backup.uuid)
    mark = secrets.token_urlsafe(24)
    upload_id = backend.create_upload(key, mark)
    try:
        ticket = _ticket(backend, key, upload_id, plan)  # safeguard: urls-signed-before-write
        is_started = _start(
            backup,
            upload_id=upload_id,
            mark=mark,
            key=key,
            size=plan.size,
            part_size=plan.part_size,
        )
    except Exception:
        # Nothing can be signed, the limit is reached, or the database takes no changes: a node
        # asks again and again, and no row would name this upload.
        _abort(backend, key, upload_id)  # safeguard: unwritten-upload-aborted
        raise
    if not is_started:
        _abort(backend, key, upload_id)  # safeguard: losing-upload-aborted
        return OVERTAKEN
    if replaced_id:
        _abort(backend, replaced_key, replaced_id)  # safeguard: replaced-upload-aborted
    return ticket


def _start(backup: Backup, **upload: Any) -> bool:
    if backup.state is not Backup.State.FAILED:
        return backup.start_upload(**upload)
    with locked_server(backup.server_id) as server:
        # It counts towards the limit again.
        refuse_above_limit(server, rotating=backup.rotation_due)  # safeguard: opened-backup-counted
        return backup.start_upload(**upload)


def _abort(backend: StorageBackend, key: str, upload_id: str) -> None:
    try:
        backend.abort_upload(key, upload_id)
    except StorageError as error:  # safeguard: failed-abort-tolerated
        # No row names this upload: the sweep will find it as an orphan.
        logger.warning("An upload of %s could not be aborted yet: %s", key, error)


def _ticket(backend: StorageBackend, key: str, upload_id: str, plan: PartPlan) -> UploadTicket:
    lifespan = app_settings.url_lifespan(issued_size(plan.size, plan.part_size))
    urls = backend.presign_parts(key, upload_id, plan.count, lifespan, first=plan.first)
    return UploadTicket(urls=urls, part_size=plan.part_size)
