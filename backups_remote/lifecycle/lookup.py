"""Look-ups as a node may make them: a backup that is not its own does not exist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import router
from django.db.models import F

from backups_remote.database import retrying
from backups_remote.exceptions import BackupNotFound
from backups_remote.models import Backup
from backups_remote.sql import Lookup

if TYPE_CHECKING:
    from backups_remote.models import Node

#: A UUID as daemons write one.
CANONICAL_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII | re.IGNORECASE)

#: What the verbs need of a row. The rest, most of all the ETags of a report, is loaded when asked.
_NEEDED = (
    "uuid",
    "server",
    "node",
    "disk",
    "checksum",
    "size",
    "upload_id",
    "upload_size",
    "part_size",
    "upload_mark",
    "upload_started_at",
    "object_key",
    "reported_at",
    "claimed_until",
    "claimed_by",
    "quiet_until",
    "completion_sent_at",
    "refused_at",
    "failed_in_silence",
    "is_successful",
    "is_recovered",
    "is_locked",
    "was_locked",
    "created_at",
    "completed_at",
    "deletion_started_at",
)
#: What an event tells of the server.
_OF_SERVER = {"known_server_uuid": F("server__uuid"), "known_server_name": F("server__name")}
#: Marks an instance that a look-up has just read.
_LOOKED_UP = "_looked_up"
_made_by = Lookup(  # safeguard: report-node-owner
    Backup,
    lambda node, uuid: (
        Backup.objects.filter(node=node).filter(uuid=uuid).annotate(**_OF_SERVER).only(*_NEEDED)
    ),
    ("node", "uuid"),
)
_restorable_on = Lookup(  # safeguard: restore-node-owner
    Backup,
    lambda node, uuid: (
        Backup.objects.filter(server__node=node)
        .filter(uuid=uuid)
        .annotate(**_OF_SERVER)
        .only("uuid", "server")
    ),
    ("node", "uuid"),
)


def find_backup_made_by(node: Node, backup_id: str) -> Backup:
    """The backup that ``node`` makes or made.

    Raises:
        BackupNotFound: no such backup, another node's, or not a UUID at all.

    """
    backup = _find(_made_by, node, backup_id)
    backup.known_node_name = node.name
    return backup


def find_backup_restorable_on(node: Node, backup_id: str) -> Backup:
    """The backup whose server is on ``node`` now.

    Raises:
        BackupNotFound: no such backup, its server is elsewhere, or not a UUID at all.

    """
    backup = _find(_restorable_on, node, backup_id)
    backup.known_server_node_name = node.name
    return backup


def reload(backup: Backup) -> None:
    """Read ``backup`` again, after a concurrent writer won.

    The ETags of a report, of which there may be 10,000, are left out until they are asked for.

    Raises:
        BackupNotFound: it was deleted meanwhile.

    """
    backup.__dict__.pop("reported_etags", None)
    deferred = backup.get_deferred_fields()
    columns = (field.attname for field in Backup._meta.concrete_fields)  # noqa: SLF001
    loaded = [column for column in columns if column not in deferred]
    alias = router.db_for_write(Backup, instance=backup)
    try:
        retrying(alias, lambda: backup.refresh_from_db(using=alias, fields=loaded))
    except Backup.DoesNotExist:
        raise BackupNotFound from None


def make_current(backup: Backup) -> None:
    """Reload an instance that a caller passes to a verb: it may be old, or a replica's.

    One that was looked up here for this very call is left as it is, once.

    Raises:
        BackupNotFound: it was deleted meanwhile.

    """
    if not backup.__dict__.pop(_LOOKED_UP, False):
        reload(backup)  # safeguard: passed-instance-reloaded


def _find(lookup: Lookup[Backup], node: Node, backup_id: str) -> Backup:
    if not CANONICAL_UUID.fullmatch(backup_id):
        raise BackupNotFound
    backup = lookup.first(node.pk, UUID(backup_id))
    if backup is None:
        raise BackupNotFound
    backup.__dict__[_LOOKED_UP] = True
    return backup
