"""What the rest of a project may want to hear of.

Each is sent once, after the change is committed, by whoever brought it about: a request, a
command, the admin. Receivers that raise are logged and hold nothing up.
"""

from django.dispatch import Signal

#: ``backup``: its archive is proven whole.
backup_completed = Signal()
#: ``backup``: it ended without an archive.
backup_failed = Signal()
#: ``backup``, ``successful``: its node finished restoring it, one way or the other.
restore_reported = Signal()
