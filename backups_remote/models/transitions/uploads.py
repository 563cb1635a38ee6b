"""The transitions of an upload that is not reported yet."""

from __future__ import annotations

from typing import Any, Final

from django.utils import timezone

from backups_remote.models.changes import BackupChanges
from backups_remote.models.events import EventKind, Note
from backups_remote.models.states import (
    FAILED,
    FAILED_IN_SILENCE,
    UNREPORTED,
    UPLOADING,
    BackupState,
)
from backups_remote.sql import Guard

# What a row must be for a transition to take place.
_IF_UNREPORTED: Final = Guard(UNREPORTED)
_IF_UPLOADING: Final = Guard(UPLOADING)
_IF_FAILED: Final = Guard(FAILED)
_IF_FAILED_IN_SILENCE: Final = Guard(FAILED_IN_SILENCE)
_OPEN_AGAIN: Final = {"completed_at": None, "failure": "", "failed_in_silence": False}


class UploadTransitions(BackupChanges):
    """An upload begins, shows a sign of life, and is forgotten."""

    class Meta:
        abstract = True

    def start_upload(
        self, *, upload_id: str, mark: str, key: str, size: int | None, part_size: int
    ) -> bool:
        """PENDING or UPLOADING → UPLOADING, replacing the very upload that this instance saw.

        Also from FAILED, if it failed for silence alone. ``size`` is None where the archive is
        streamed: its report gives the size.
        """
        is_first = not self.upload_id
        kind = EventKind.UPLOAD_STARTED if is_first else EventKind.UPLOAD_REPLACED
        what = "a stream" if size is None else f"{size:,} bytes"
        detail = f"{what} in parts of {part_size:,} bytes"
        guard, reopened = _IF_UNREPORTED, {}  # safeguard: states-start-upload
        # safeguard: upload-replaced-once
        same: dict[str, Any] = {"upload_id": self.upload_id}
        if self.state is BackupState.FAILED:
            # safeguard: states-open-again
            guard, reopened = _IF_FAILED_IN_SILENCE, {**_OPEN_AGAIN, **self._lock_again}
            same |= {"was_locked": self.was_locked}
            detail += "; it had failed in silence"
        return self._move(
            guard,
            same,
            Note(kind, detail),
            upload_id=upload_id,
            upload_mark=mark,
            object_key=key,
            upload_size=size,
            part_size=part_size,
            upload_started_at=timezone.now(),
            completion_sent_at=None,
            **reopened,
        )

    def touch_upload(self) -> bool:
        """UPLOADING → UPLOADING: URLs are issued again, which is a sign of life."""
        same = {"upload_id": self.upload_id}
        # safeguard: states-touch-upload
        return self._move(_IF_UPLOADING, same, upload_started_at=timezone.now())

    def forget_upload(self) -> bool:
        """Note that a failed backup's upload is gone from the store."""
        note = Note(EventKind.UPLOAD_ABORTED)
        # safeguard: states-forget-upload
        return self._move(_IF_FAILED, {"upload_id": self.upload_id}, note, upload_id="")
