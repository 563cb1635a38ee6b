"""A node's daemon has restarted, and forgotten what it was doing."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from django.db import router
from django.db.models import F, Q
from django.utils import timezone

from backups_remote.lifecycle.restores import end_as_failed
from backups_remote.models import RESTORING, Node, Server

if TYPE_CHECKING:
    from backups_remote.models import Backup

_RESTARTED: Final = "the node's daemon restarted"
#: How long a call to a daemon may be under way. The process that made an older one has died.
_LONGEST_CALL: Final = dt.timedelta(minutes=10)


def node_restarted(node: Node) -> list[tuple[Server, Backup | None]]:
    """End what the node's daemon was doing, which it never reports after a restart.

    Restores onto the node's servers end as failed, but for those that ``lifecycle.restore`` is
    calling the daemon for: it may accept them after its restart. Backups that it was making are
    not waited for any longer: the next sweep looks at what the store holds of them, completes
    those that are whole, and fails the others. What begins later is not concerned.

    Returns:
        Each server whose restore was ended, with the backup where that is known.

    """
    now = timezone.now()
    alias = router.db_for_write(Node, instance=node)
    # First: if the process dies here, the daemon calls again, and no backup is waited for.
    Node.objects.using(alias).filter(pk=node.pk).update(restarted_at=now, updated_at=now)
    node.restarted_at = now
    servers = Server.objects.using(router.db_for_write(Server))
    # safeguard: restart-of-own-servers
    restoring = servers.filter(status=RESTORING, node=node)
    # safeguard: called-restore-kept
    return list(end_as_failed(restoring.exclude(_is_being_called(now)), _RESTARTED))


def _is_being_called(now: dt.datetime) -> Q:
    """Whether the daemon has not answered yet to the call for a server's restore.

    A panel of an older version leaves the column as it is when it ends a restore and begins
    another: it counts only for the restore that it was written with.
    """
    return Q(
        restore_calling_since=F("restore_started_at"),
        restore_calling_since__gt=now - _LONGEST_CALL,
    )
