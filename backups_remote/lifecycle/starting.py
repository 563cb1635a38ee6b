"""The wish for a backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone

from backups_remote.conf import app_settings
from backups_remote.exceptions import BackupLimitReached
from backups_remote.models import Backup, Server
from backups_remote.storage import get_backend

if TYPE_CHECKING:
    from collections.abc import Iterable


def start_backup(
    server: Server,
    *,
    name: str = "",
    ignored_files: Iterable[str] = (),
    disk: str | None = None,
    is_locked: bool = False,
    rotating: bool = False,
) -> Backup:
    """Record a new, pending backup of ``server``, to be made by the node it is on now.

    Tell the daemon about it only after this is committed: its first call can arrive at once.
    ``disk`` defaults to the setting ``DEFAULT_DISK``. With ``rotating``, a server at its limit may
    begin one more if it has a whole, unlocked backup that can give way: not now, but once the new
    one is proven whole, when ``rotate_backups`` is called.

    Raises:
        BackupLimitReached: the server's whole backups and those under way reach its limit.
        DiskNotConfigured: there is no such disk.

    """
    disk = disk or app_settings.default_disk
    get_backend(disk)
    with transaction.atomic():
        # An UPDATE locks the server's row on every database, SELECT … FOR UPDATE does not: two
        # wishes at once are counted one after the other.
        Server.objects.filter(pk=server.pk).update(updated_at=timezone.now())
        server.refresh_from_db(fields=["node", "backup_limit"])
        if server.backup_limit is not None:
            backups = Backup.objects.filter(server=server)
            spare = 1 if rotating and backups.rotatable().exists() else 0
            if backups.counted().count() >= server.backup_limit + spare:
                raise BackupLimitReached
        return Backup.objects.create(
            server=server,
            node_id=server.node_id,
            name=name,
            ignored_files=list(ignored_files),
            disk=disk,
            is_locked=is_locked,
        )
