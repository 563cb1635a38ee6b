"""Erasing the archive of a backup whose deletion is decided: in its store, or on its node.

A store may refuse for good: an object under a retention period or a legal hold, a key without the
right. That is the one way back from a deletion, and ``take_back`` is where it begins. It is taken
only once no call that erases can be under way any more: ``begin`` notes each of them on the row
before it is sent.
"""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from backups_remote.daemon import Deletion, get_daemon, is_callable
from backups_remote.exceptions import StorageRefused, StorageTimeout
from backups_remote.lifecycle.rules.age import as_on_a_row
from backups_remote.lifecycle.rules.ownership import can_have_object, why_foreign

if TYPE_CHECKING:
    from backups_remote.models import Backup
    from backups_remote.storage import StorageBackend
    from backups_remote.types import StoredObject

logger = logging.getLogger(__name__)

#: For how long a call that erases may be under way once it was noted, if no answer is heard.
_CALLS_LAST: Final = dt.timedelta(minutes=10)
#: For how long it may be sent. A process that was frozen longer than that sends none.
_SENT_WITHIN: Final = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Erasure:
    """What came of the removal of an archive."""

    #: The object that was left under the backup's key because it is not the backup's.
    left: StoredObject | None = None
    #: The node's daemon deletes it in the background, and its report will end the deletion.
    is_under_way: bool = False
    #: Why the store refused for good, in words; empty if it did not.
    refusal: str = ""
    #: The backup's own object, seen whole after that.
    kept: StoredObject | None = None


def begin(backup: Backup) -> bool:
    """Note that calls which erase are about to be sent; False if a concurrent writer won."""
    return backup.begin_erasing(timezone.now() + _CALLS_LAST)


def erase(backup: Backup, backend: StorageBackend) -> Erasure:
    """Remove the archive of a backup in DELETING; what is gone already counts as removed.

    An object that is not the backup's own is left, logged and returned. ``begin`` comes first.
    Leaves the database alone, unless a node's daemon is called.

    Raises:
        StorageUnavailable: the store could not be asked.
        DaemonError: the node's daemon did not delete the archive.

    """
    if not backend.presigned_uploads:
        return _erase_on_node(backup)
    if not backup.object_key:
        return Erasure()
    try:
        return _erase_in_store(backup, backend)
    except StorageRefused as error:
        return _look_after_refusal(backup, backend, str(error))


def take_back(backup: Backup, erasure: Erasure) -> bool:
    """Take back a deletion that the store refused, if the archive was seen whole; note why.

    False while another call that erases may be under way: the sweep tries again. The same
    goes for a failed backup, of which there is nothing to keep.
    """
    kept, reason = erasure.kept, erasure.refusal
    retained_until = None if kept is None else kept.retained_until
    # safeguard: retained-until-as-on-a-row
    until = None if retained_until is None else as_on_a_row(retained_until)
    is_back = kept is not None and backup.take_back_deletion(reason, until)
    if is_back:
        logger.warning("The archive of backup %s was not deleted. %s", backup.uuid, reason)
    else:
        backup.note_refused_deletion(reason, until)
    return is_back


def _erase_in_store(backup: Backup, backend: StorageBackend) -> Erasure:
    key, version_id = backup.object_key, backup.version_id
    if backup.upload_id:
        _abort(backup, backend)  # safeguard: deletion-aborts-upload
    # A version with this name is overwritten by the next object (Amazon S3, its manual).
    if version_id in {"", "null"}:
        found = _find(backup, backend)
        if found is None:
            # A deletion would leave a delete marker in a versioned bucket.
            return Erasure()  # safeguard: no-delete-without-object
        foreign = why_foreign(backup, found)
        if foreign:  # safeguard: foreign-object-kept
            logger.warning("The object under %s was not deleted. %s", key, foreign)
            return Erasure(left=found)
        version_id = found.version_id
    if backup.quiet_until is None or _has_no_time_left(backup.quiet_until):
        raise StorageTimeout("The deletion was held up for minutes, and was not sent.")
    # The version that proved the backup is its own, whatever else lies under its key.
    # safeguard: deletion-removes-version
    backend.delete(key, version_id=version_id)
    return Erasure()


def _abort(backup: Backup, backend: StorageBackend) -> None:
    try:
        backend.abort_upload(backup.object_key, backup.upload_id)
    except StorageRefused as error:
        # The upload of a whole archive is finished: there is nothing to abort.
        if not backup.size:  # safeguard: refused-abort-of-failed-backup
            raise
        logger.warning("The upload of backup %s was not aborted. %s", backup.uuid, error)


def _has_no_time_left(quiet_until: dt.datetime) -> bool:
    # safeguard: late-deletion-not-sent
    return timezone.now() > quiet_until - _CALLS_LAST + _SENT_WITHIN


def _find(backup: Backup, backend: StorageBackend) -> StoredObject | None:
    try:
        return backend.stat(backup.object_key, version_id=backup.version_id)
    except StorageRefused:
        # Without s3:ListBucket, that is the answer where there is no object.
        if can_have_object(backup):  # safeguard: refused-look-proves-nothing
            raise
        return None


def _look_after_refusal(backup: Backup, backend: StorageBackend, reason: str) -> Erasure:
    """See whether the archive is whole, once the refusal was heard."""
    if not backup.size:
        return Erasure(refusal=reason)
    found = backend.stat(backup.object_key, version_id=backup.version_id)
    if found is None:
        return Erasure()  # it was erased by another call
    if why_foreign(backup, found):
        return Erasure(left=found)
    if found.is_held:
        reason = f"{reason} It is under a legal hold."
    if found.retained_until is not None:
        until = found.retained_until.astimezone(dt.UTC)
        reason = f"{reason} It is retained until {until:%Y-%m-%d %H:%M} UTC."
    return Erasure(refusal=reason, kept=found)


def _erase_on_node(backup: Backup) -> Erasure:
    if not is_callable(backup.node):
        return Erasure()
    deletion = get_daemon(backup.node).delete_backup(backup)
    return Erasure(is_under_way=deletion is Deletion.UNDER_WAY)
