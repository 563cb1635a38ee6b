"""The part of a sweep that makes up for rotations that did not happen."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from django.db import router

from backups_remote.models import Backup, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backups_remote.lifecycle.sweep.dry_run import Effects
    from backups_remote.lifecycle.sweep.staleness import Staleness
    from backups_remote.types import SweepOutcome

#: How long a due rotation is left to the host project, whose receiver of ``backup_completed`` may
#: have put it into a queue.
_GRACE: Final = dt.timedelta(hours=1)


def sweep_rotations(staleness: Staleness, effects: Effects) -> Iterator[SweepOutcome]:
    """Rotate the backups of servers where that is due, and no earlier rotation did it all.

    A rotation leaves out what is being restored, and does not happen where the host project's
    receiver fails, or the panel dies before it runs.
    """
    grace = min(_GRACE, staleness.shortest_limit)
    # safeguard: due-rotation-left-to-project
    due = Backup.objects.using(router.db_for_write(Backup)).rotation_due_since(
        staleness.now - grace
    )
    servers = Server.objects.using(router.db_for_write(Server)).order_by("pk")
    for server in list(servers.filter(pk__in=due.order_by().values("server"))):
        yield from effects.rotate(server)  # safeguard: due-rotation-swept
