"""What may happen to a backup: the verbs of this package, and its public Python API.

Every verb works one way: guarded transition → commit → store call → guarded transition. Call them
outside of a transaction; whatever must survive a crash is committed before the store is called.
"""

from backups_remote.lifecycle.finding import find_backup_made_by, find_backup_restorable_on
from backups_remote.lifecycle.keeping import (
    delete_backup,
    lock_backup,
    rotate_backups,
    unlock_backup,
)
from backups_remote.lifecycle.reporting import record_report
from backups_remote.lifecycle.restoring import (
    cancel_restore,
    download_link,
    record_restore,
    start_restore,
)
from backups_remote.lifecycle.starting import start_backup
from backups_remote.lifecycle.sweeping import DEFAULT_WORKERS, count_stale, expire, sweep
from backups_remote.lifecycle.uploading import request_upload

__all__ = [
    "DEFAULT_WORKERS",
    "cancel_restore",
    "count_stale",
    "delete_backup",
    "download_link",
    "expire",
    "find_backup_made_by",
    "find_backup_restorable_on",
    "lock_backup",
    "record_report",
    "record_restore",
    "request_upload",
    "rotate_backups",
    "start_backup",
    "start_restore",
    "sweep",
    "unlock_backup",
]
