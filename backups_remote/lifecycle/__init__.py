"""What may happen to a backup: the verbs of this package, and its public Python API.

Every verb works one way: guarded transition → commit → store call → guarded transition. Call them
outside of a transaction; whatever must survive a crash is committed before the store is called.
"""

from backups_remote.lifecycle.accept import accept_copies
from backups_remote.lifecycle.create import start_backup
from backups_remote.lifecycle.daemon_calls import back_up, download_link_for_user, restore
from backups_remote.lifecycle.delete import delete_backup, forget_backup
from backups_remote.lifecycle.deletion_report import record_deletion
from backups_remote.lifecycle.event_history import history
from backups_remote.lifecycle.heard import node_heard
from backups_remote.lifecycle.lock import lock_backup, unlock_backup
from backups_remote.lifecycle.lookup import find_backup_made_by, find_backup_restorable_on
from backups_remote.lifecycle.progress import upload_progress
from backups_remote.lifecycle.report import record_refusal, record_report
from backups_remote.lifecycle.restart import node_restarted
from backups_remote.lifecycle.restores import (
    cancel_restore,
    download_link,
    record_restore,
    start_restore,
)
from backups_remote.lifecycle.rotate import rotate_backups
from backups_remote.lifecycle.stream import request_parts
from backups_remote.lifecycle.sweep import DEFAULT_WORKERS, count_stale, expire, sweep
from backups_remote.lifecycle.upload import request_upload

__all__ = [
    "DEFAULT_WORKERS",
    "accept_copies",
    "back_up",
    "cancel_restore",
    "count_stale",
    "delete_backup",
    "download_link",
    "download_link_for_user",
    "expire",
    "find_backup_made_by",
    "find_backup_restorable_on",
    "forget_backup",
    "history",
    "lock_backup",
    "node_heard",
    "node_restarted",
    "record_deletion",
    "record_refusal",
    "record_report",
    "record_restore",
    "request_parts",
    "request_upload",
    "restore",
    "rotate_backups",
    "start_backup",
    "start_restore",
    "sweep",
    "unlock_backup",
    "upload_progress",
]
