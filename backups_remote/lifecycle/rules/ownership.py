"""Whether an object in the store is the backup's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backups_remote.models import Backup
    from backups_remote.types import StoredObject


def can_have_object(backup: Backup) -> bool:
    """Whether the panel ever sent a completion of ``backup``: its object may be in the store."""
    return bool(
        backup.size or backup.object_etag or backup.reported_at or backup.completion_sent_at
    )


def why_foreign(backup: Backup, found: StoredObject) -> str:
    """Why the object under a backup's key is not the backup's own; empty if it is.

    A completed backup is known by the ETag that proved it, or, where its row has none (it was
    completed before ETags were kept), by size and mark. A failed one proved nothing: only the
    mark of its upload tells that an object which appeared later is its own.
    """
    if backup.object_etag or backup.size:
        if found.size != backup.size:  # safeguard: other-size-foreign
            return f"The archive has {found.size} bytes instead of {backup.size}."
        # safeguard: other-etag-foreign
        if backup.object_etag and found.etag != backup.object_etag:
            return "The object in the store is not this backup's: its ETag is another."
        if found.mark not in {None, backup.upload_mark}:  # safeguard: other-mark-foreign
            return "The object in the store is not this backup's: its mark is another."
        return ""
    if backup.upload_mark and found.mark == backup.upload_mark:  # safeguard: failed-backup-mark
        return ""
    return "The object in the store does not carry this backup's mark."
