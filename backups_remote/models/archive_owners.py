"""Rows that own an archive or an upload, which a plain ``delete()`` would leave behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db.models import Q

from backups_remote.exceptions import BackupConflict
from backups_remote.models.states import COMPLETED, REPORTED, STATES, BackupState

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from backups_remote.models.backups import Backup

#: Something of the backup is in a store or on its node, and nothing would find it without the row.
OWNS_ARCHIVE: Final = ~Q(upload_id="") | REPORTED | COMPLETED | STATES[BackupState.DELETING]
#: How many rows an error names.
_NAMED: Final = 3


def refuse_owners(backups: QuerySet[Backup]) -> None:
    """Make sure that no row goes whose archive nothing would find any more.

    Raises:
        BackupConflict: some of ``backups`` own one.

    """
    found = list(backups.order_by().filter(OWNS_ARCHIVE).only("uuid")[: _NAMED + 1])
    if not found:
        return
    named = ", ".join(str(backup.uuid) for backup in found[:_NAMED])
    more = " and others" if len(found) > _NAMED else ""
    raise BackupConflict(
        f"The row of {named}{more} owns an archive or an upload. Delete ended backups with "
        "lifecycle.delete_backup(), which deletes the archive too; end others before with "
        "lifecycle.expire()."
    )
