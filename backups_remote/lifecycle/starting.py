"""The wish for a backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import router, transaction
from django.utils import timezone

from backups_remote.conf import app_settings
from backups_remote.exceptions import BackupLimitReached
from backups_remote.lifecycle.keeping import is_erasable
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
    begin one more if it has a whole, unlocked backup in a store that can give way: not now, but
    once the new one is proven whole, when ``rotate_backups`` is called.

    Raises:
        BackupLimitReached: the server's whole backups and those under way reach its limit.
        DiskNotConfigured: there is no such disk.
        RuntimeError: a transaction is open, whose end the daemon would not wait for.

    """
    disk = disk or app_settings.default_disk
    get_backend(disk)
    database = router.db_for_write(Backup)
    with transaction.atomic(using=database, durable=True):
        # An UPDATE locks the server's row on every database, SELECT … FOR UPDATE does not: two
        # wishes at once are counted one after the other.
        Server.objects.using(database).filter(pk=server.pk).update(updated_at=timezone.now())
        server.refresh_from_db(using=database, fields=["node", "backup_limit"])
        if server.backup_limit is not None:
            backups = Backup.objects.using(database).filter(server=server)
            disks = backups.rotatable().values_list("disk", flat=True) if rotating else ()
            spare = 1 if any(is_erasable(disk) for disk in set(disks)) else 0
            if backups.counted().count() >= server.backup_limit + spare:
                raise BackupLimitReached
        return Backup.objects.using(database).create(
            server=server,
            node_id=server.node_id,
            name=name,
            ignored_files=list(ignored_files),
            disk=disk,
            is_locked=is_locked,
        )
