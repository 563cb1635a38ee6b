"""The admin's pages.

A backup is changed through ``backups_remote.lifecycle`` only; its name alone is edited directly.
The pages stay fast with a million backups: see ``changelist``, ``search`` and ``filters``; and with
ten million events: see ``events``.
"""

from backups_remote.admin.backups import BackupAdmin
from backups_remote.admin.events import EventAdmin
from backups_remote.admin.nodes import NodeAdmin
from backups_remote.admin.servers import ServerAdmin

__all__ = ["BackupAdmin", "EventAdmin", "NodeAdmin", "ServerAdmin"]
