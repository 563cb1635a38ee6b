"""How many backups a server may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import router

from backups_remote.exceptions import BackupLimitReached
from backups_remote.lifecycle.rotate import count_giving_way
from backups_remote.models import Backup

if TYPE_CHECKING:
    from backups_remote.models import Server


def refuse_above_limit(server: Server, *, rotating: bool) -> None:
    """Make sure that ``server``, whose row is locked, may have one more backup.

    With ``rotating``, those that rotation would delete for it are not counted.

    Raises:
        BackupLimitReached: its whole backups and those under way reach its limit.

    """
    if server.backup_limit is None:
        return
    # safeguard: limit-from-primary
    backups = Backup.objects.using(router.db_for_write(Backup)).filter(server=server)
    spare = count_giving_way(server, server.backup_limit) if rotating else 0
    if backups.counted().count() + 1 - spare > server.backup_limit:
        raise BackupLimitReached
