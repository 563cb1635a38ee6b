"""Creating a backup, to be made by a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db import router

from backups_remote.database import in_order
from backups_remote.lifecycle.announce import announce_creation
from backups_remote.lifecycle.limit import refuse_above_limit
from backups_remote.lifecycle.rules.text import refuse_unstorable
from backups_remote.lifecycle.transactions import locked_server, refuse_open_transaction
from backups_remote.models import Backup, Node
from backups_remote.storage import get_backend

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backups_remote.models import Server

_LONGEST_NAME: Final = Backup._meta.get_field("name").max_length  # noqa: SLF001


def start_backup(
    server: Server,
    *,
    name: str = "",
    ignored_files: Iterable[str] = (),
    disk: str | None = None,
    is_locked: bool = False,
    rotating: bool = False,
) -> Backup:
    """Create a pending backup of ``server``, to be made by the node it is on now.

    Tell the daemon about it only after this is committed: its first call can arrive at once.
    ``ignored_files`` are patterns, such as ``["logs/*"]``. ``disk`` defaults to that of the server,
    of its node, or the setting ``DEFAULT_DISK``. With ``rotating``, a server at its limit may begin
    one more if rotation would make room for it: not now, but once the new one is verified, when
    ``rotate_backups`` is called. If that does not happen, the sweep does it.

    Raises:
        BackupLimitReached: the server's whole backups and those under way reach its limit.
        DiskNotConfigured: there is no such disk.
        RuntimeError: a transaction is open, whose end the daemon would not wait for.
        InvalidValue: ``name`` is too long, or a text has characters that no database stores.
        ServerNotFound: the server is gone.
        TypeError: ``ignored_files`` is not a list of patterns.

    """
    refuse_open_transaction("start_backup")  # safeguard: start-outside-transaction
    patterns = _patterns(ignored_files)
    refuse_unstorable("name", name, longest=_LONGEST_NAME)
    fields = {"name": name, "ignored_files": patterns, "is_locked": is_locked}
    return in_order(
        router.db_for_write(Backup),
        lambda: _create(server, disk=disk, rotating=rotating, **fields),
    )


def _create(server: Server, *, disk: str | None, rotating: bool, **fields: Any) -> Backup:
    database = router.db_for_write(Backup)
    # Under the server's lock: two at once are counted one after the other.
    with locked_server(server.pk):
        server.refresh_from_db(using=database, fields=["node", "disk", "backup_limit"])
        # From the primary too: what the node's row says may have been changed just now.
        server.node = Node.objects.using(database).get(pk=server.node_id)
        disk = disk or server.disk_for_backups
        get_backend(disk)
        refuse_above_limit(server, rotating=rotating)
        backup = Backup.objects.using(database).create(
            server=server, node_id=server.node_id, disk=disk, rotation_due=rotating, **fields
        )
        announce_creation(backup)
    return backup


def _patterns(ignored_files: Iterable[str]) -> list[str]:
    if isinstance(ignored_files, str):
        # As an iterable, it would give one pattern per letter.
        raise TypeError("ignored_files: a list of patterns is needed, not one string.")
    patterns = list(ignored_files)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError("ignored_files: every pattern must be a string.")
    for pattern in patterns:
        refuse_unstorable("ignored_files", pattern)
    return patterns
