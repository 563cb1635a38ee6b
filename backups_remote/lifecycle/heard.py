"""A node's daemon has called: when it was heard last."""

from __future__ import annotations

import datetime as dt
from typing import Final

from django.db import router
from django.utils import timezone

from backups_remote.models import Node

#: A call is not noted again within this time: a busy node calls many times a second.
NOTED_EVERY: Final = dt.timedelta(minutes=1)
#: A moment that lies further ahead comes from a clock that was wrong, and is replaced.
_CLOCKS_DIFFER_BY: Final = dt.timedelta(days=1)


def node_heard(node: Node) -> None:
    """Note that the daemon of ``node`` has called, at most once a minute."""
    now = timezone.now()
    if node.heard_at is not None and -_CLOCKS_DIFFER_BY < now - node.heard_at < NOTED_EVERY:
        return
    nodes = Node.objects.using(router.db_for_write(Node, instance=node))
    nodes.filter(pk=node.pk).update(heard_at=now)
    node.heard_at = now
