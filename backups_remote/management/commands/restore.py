"""``manage.py restore BACKUP``: have the node of its server restore a backup."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError
from django.db import DatabaseError, router

from backups_remote import lifecycle
from backups_remote.actors import ActorKind, acting_as
from backups_remote.database import retrying
from backups_remote.exceptions import BackupsRemoteError
from backups_remote.management.arguments import find_backup
from backups_remote.management.messages import database_failed
from backups_remote.management.output import WorkCommand
from backups_remote.management.progress import ElapsedLine
from backups_remote.models import BackupEvent, EventKind

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from backups_remote.models import Backup

#: Seconds between two looks at the events.
_POLL: Final = 1.0
_ENDS: Final = (
    EventKind.RESTORE_COMPLETED,
    EventKind.RESTORE_FAILED,
    EventKind.RESTORE_CANCELLED,
)


class Command(WorkCommand):
    """Starts a restore."""

    help = "Has the node of a backup's server restore it. Needs the setting DAEMON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("backup", metavar="BACKUP", help="The backup's UUID.")
        parser.add_argument(
            "--truncate",
            action="store_true",
            help="Delete the server's files before the archive is fetched.",
        )
        parser.add_argument(
            "--wait",
            action="store_true",
            help="Wait for the end. The exit status is 0 only if the restore succeeded.",
        )

    @acting_as(ActorKind.COMMAND, "restore")
    def handle(self, *, backup: str, truncate: bool, wait: bool, **_options: Any) -> None:
        """Say that the restore is under way.

        Raises:
            CommandError: it cannot be restored, or the daemon refused, was not reached or did
                not answer, or with ``--wait`` the restore failed.

        """
        try:
            found = find_backup(backup)
            lifecycle.restore(found, truncate=truncate)
            self.stdout.write(f"restoring {found.uuid} onto {found.server.uuid}")
            if wait:
                self._wait(found)
        except BackupsRemoteError as error:
            raise CommandError(str(error)) from None
        except DatabaseError as error:
            raise database_failed(error) from None

    def _wait(self, backup: Backup) -> None:
        alias = router.db_for_write(BackupEvent)  # a replica may not have the end yet
        events = BackupEvent.objects.using(alias).of_backup(backup.uuid)
        starts = events.filter(kind=EventKind.RESTORE_STARTED)
        began = retrying(alias, lambda: starts.latest("pk"))
        ends = events.filter(pk__gt=began.pk, kind__in=_ENDS)
        line = ElapsedLine(self.stderr, "restoring for")
        try:
            while (end := retrying(alias, ends.first)) is None:
                time.sleep(_POLL)
                line.show()
        finally:
            line.clear()
        if end.kind != EventKind.RESTORE_COMPLETED:
            raise CommandError(f"The restore failed: {end.detail or 'it was cancelled'}.")
        self.stdout.write("restored")
