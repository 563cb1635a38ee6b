"""How a backup's row is changed, or deleted, together with the event that tells of it."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.db import models, router, transaction
from django.utils import timezone

from backups_remote.database import retrying
from backups_remote.models.backup_fields import BackupFields
from backups_remote.models.events import record
from backups_remote.sql import update_if

if TYPE_CHECKING:
    from backups_remote.models.events import Note
    from backups_remote.sql import Guard

#: Columns of a row without a claim, and of one about which no report was refused.
UNCLAIMED: Final = {"claimed_until": None, "claimed_by": "", "quiet_until": None}
NOT_REFUSED: Final = {"refused_at": None, "refusal": ""}


class BackupChanges(BackupFields):
    """The guarded UPDATE and the guarded DELETE that all transitions are made of."""

    class Meta:
        abstract = True

    def _move(
        self,
        guard: Guard,
        same: dict[str, Any] | None = None,
        note: Note | None = None,
        /,
        **changes: Any,
    ) -> bool:
        """Change the row if it meets ``guard`` and the fields in ``same`` still have these values.

        ``note`` becomes an event, committed together with the change.
        """
        changes["updated_at"] = timezone.now()
        alias = router.db_for_write(type(self), instance=self)

        def move() -> bool:
            return update_if(self, guard, same=same or {}, changes=changes)

        def move_and_tell(note: Note) -> bool:
            with transaction.atomic(using=alias):  # safeguard: event-with-change
                moved = move()
                if moved:  # safeguard: event-of-change-only
                    record(alias, note, self.subject)
            return moved

        # safeguard: move-reconnects
        moved = retrying(alias, move if note is None else partial(move_and_tell, note))
        if moved:
            for name, value in changes.items():
                setattr(self, name, value)
        return moved

    def _note(self, note: Note) -> None:
        """Write an event without changing the row."""
        alias = router.db_for_write(type(self), instance=self)

        def tell() -> None:
            with transaction.atomic(using=alias):
                record(alias, note, self.subject)

        retrying(alias, tell)

    def _remove(self, guard: Guard, note: Note) -> bool:
        """Delete the row if it meets ``guard``; its event is committed together with that."""
        alias = router.db_for_write(type(self), instance=self)
        pk = self.pk

        def remove() -> bool:
            # Django clears it with the row, which is back if the transaction was rolled back.
            self.pk = pk  # safeguard: removal-from-its-beginning
            with transaction.atomic(using=alias):  # safeguard: event-with-removal
                # Locks the row: of several that remove it, one does.
                removed = self._move(guard)  # safeguard: removed-once
                if removed:
                    record(alias, note, self.subject)
                    models.Model.delete(self)
            return removed

        return retrying(alias, remove)

    @property
    def _claimed(self) -> dict[str, Any]:
        """The upload and the claim that the claim holder has seen."""
        return {"upload_id": self.upload_id, "claimed_by": self.claimed_by}

    @property
    def _lock_again(self) -> dict[str, bool]:
        """A failed backup shows unlocked; what an operator locked before is locked again."""
        # safeguard: lock-restored
        return {"is_locked": self.was_locked, "was_locked": False}


def new_holder() -> str:
    """A unique name for a claim."""
    return secrets.token_hex(16)
