"""A node's daemon has restarted, and forgotten what it was doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import router
from django.utils import timezone

from backups_remote.lifecycle.restores import end_as_failed
from backups_remote.models import RESTORING, Node, Server

if TYPE_CHECKING:
    from backups_remote.models import Backup

_RESTARTED: Final = "the node's daemon restarted"


def node_restarted(node: Node) -> list[tuple[Server, Backup | None]]:
    """End what the node's daemon was doing, which it never reports after a restart.

    Restores onto the node's servers end as failed. Backups that it was making are not waited for
    any longer: the next sweep looks at what the store holds of them, completes those that are
    whole, and fails the others. What begins later is not concerned.

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
    return list(end_as_failed(servers.filter(status=RESTORING, node=node), _RESTARTED))
