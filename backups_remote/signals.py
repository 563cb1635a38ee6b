"""Signals for the rest of the project.

Each is sent on commit, by the process that made the change: a request, a command, the admin. It is
sent at most once: if the process dies between commit and signal, it is never sent. Receivers that
raise are logged and do not stop others.
"""

from django.dispatch import Signal

#: ``backup``: ``start_backup`` created it.
backup_created = Signal()
#: ``backup``: its archive is complete.
backup_completed = Signal()
#: ``backup``: it failed, and has no archive.
backup_failed = Signal()
#: ``backup``, ``forgotten``: its row is gone, so that ``backup.pk`` is None; ``forgotten`` is True
#: if its archive was left where it is.
backup_deleted = Signal()
#: ``backup``: its server shows that it is being restored.
restore_started = Signal()
#: ``backup``, ``successful``: its node reported the end of a restore. False as well if the restore
#: was taken back, if a restart of the daemon ended it, or if no end was reported within
#: ``RESTORE_TIMEOUT``.
restore_reported = Signal()
