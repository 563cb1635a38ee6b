"""The operator's pages: thin, over the same verbs that everybody else calls.

Nothing here changes a backup but through ``backups_remote.lifecycle``; only its name is edited.
The pages stay quick with a million backups: see ``listing`` for what that takes.
"""

from backups_remote.admin.backups import BackupAdmin
from backups_remote.admin.nodes import NodeAdmin
from backups_remote.admin.servers import ServerAdmin

__all__ = ["BackupAdmin", "NodeAdmin", "ServerAdmin"]
