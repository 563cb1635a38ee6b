"""A node reports that it deleted an archive from its own disk, or could not."""

from __future__ import annotations

import logging
from typing import Final

from backups_remote.lifecycle.delete import remove
from backups_remote.models import Backup
from backups_remote.storage import get_backend

logger = logging.getLogger(__name__)

_KEPT: Final = "The node reported that it could not delete the archive."


def record_deletion(backup: Backup, *, successful: bool) -> bool:
    """Record what became of the archive of a backup in DELETING on its node's own disk.

    If it is gone, so is the row; if not, the row says so, and the sweep tries again. A report
    about a backup in another state, or in a store, where the panel deletes, changes nothing:
    daemons repeat reports.

    Returns:
        Whether the row was deleted.

    Raises:
        DiskNotConfigured: its disk is not configured; nothing is changed.

    """
    # safeguard: deletion-report-of-own-disk
    if backup.state is not Backup.State.DELETING or get_backend(backup.disk).presigned_uploads:
        return False
    if not successful:  # safeguard: failed-deletion-kept
        backup.note_refused_deletion(_KEPT, None)
        logger.warning("The node could not delete the archive of backup %s yet.", backup.uuid)
        return False
    return remove(backup, None)
