"""Look-ups as a node may make them: a backup that is not its own does not exist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

from backups_remote.exceptions import BackupNotFound
from backups_remote.models import Backup

if TYPE_CHECKING:
    from backups_remote.models import BackupQuerySet, Node

_CANONICAL = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def find_backup_made_by(node: Node, backup_id: str) -> Backup:
    """The backup that ``node`` makes or made, with its server.

    Raises:
        BackupNotFound: no such backup, another node's, or not a UUID at all.

    """
    return _find(Backup.objects.made_by(node), backup_id)


def find_backup_restorable_on(node: Node, backup_id: str) -> Backup:
    """The backup whose server is on ``node`` now, with that server.

    Raises:
        BackupNotFound: no such backup, its server is elsewhere, or not a UUID at all.

    """
    return _find(Backup.objects.restorable_on(node), backup_id)


def _find(backups: BackupQuerySet, backup_id: str) -> Backup:
    if not _CANONICAL.fullmatch(backup_id):
        raise BackupNotFound
    backup = backups.select_related("server").filter(uuid=UUID(backup_id)).order_by().first()
    if backup is None:
        raise BackupNotFound
    return backup
