"""Node, Server, Backup and its events: what is remembered.

A backup's state is derived from its columns (``states``) and changes only through guarded
transitions (``transitions``).
"""

from backups_remote.models.backups import Backup
from backups_remote.models.events import BackupEvent, EventKind
from backups_remote.models.nodes import Node
from backups_remote.models.querysets import BackupQuerySet
from backups_remote.models.servers import RESTORING, Server
from backups_remote.models.states import BackupState, Filled
from backups_remote.models.totals import BackupTotals

__all__ = [
    "RESTORING",
    "Backup",
    "BackupEvent",
    "BackupQuerySet",
    "BackupState",
    "BackupTotals",
    "EventKind",
    "Filled",
    "Node",
    "Server",
]
