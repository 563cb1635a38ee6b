"""``manage.py backup SERVER``: have the server's node make a backup."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError
from django.db import DatabaseError

from backups_remote import lifecycle
from backups_remote.actors import ActorKind, acting_as
from backups_remote.exceptions import (
    BackupNotFound,
    BackupsRemoteError,
    DaemonError,
    StorageError,
)
from backups_remote.lifecycle.lookup import reload
from backups_remote.management.arguments import find_server
from backups_remote.management.messages import database_failed
from backups_remote.management.output import WorkCommand
from backups_remote.management.progress import ProgressLine
from backups_remote.models import Backup
from backups_remote.storage import get_backend

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from backups_remote.models import Server

#: Seconds between two looks at the row, and at the parts in the store.
_POLL: Final = 1.0
_PARTS_EVERY: Final = 5.0


class Command(WorkCommand):
    """Starts a backup."""

    help = "Has the node of a server make a backup. Needs the setting DAEMON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("server", metavar="SERVER", help="The server's UUID.")
        parser.add_argument("--name", default="", help="A name for the backup.")
        parser.add_argument(
            "--ignore",
            action="append",
            default=[],
            metavar="PATTERN",
            help="Leave out files that match, such as 'logs/*'. May be given several times.",
        )
        parser.add_argument("--disk", metavar="ALIAS", help="The disk to keep it on.")
        parser.add_argument(
            "--lock", action="store_true", help="Protect it from deletion and rotation."
        )
        parser.add_argument(
            "--rotate",
            action="store_true",
            help=(
                "At the server's limit, begin one more, and delete the oldest backups that are "
                "over the limit: those of earlier runs now, and with --wait again when the new "
                "one is verified. One that cannot be deleted is named, and stops nothing."
            ),
        )
        parser.add_argument(
            "--wait",
            action="store_true",
            help="Wait for the end. The exit status is 0 only if the backup was completed.",
        )

    @acting_as(ActorKind.COMMAND, "backup")
    def handle(
        self,
        *,
        server: str,
        name: str,
        ignore: list[str],
        disk: str | None,
        lock: bool,
        rotate: bool,
        wait: bool,
        **_options: Any,
    ) -> None:
        """Print the new backup's UUID.

        Raises:
            CommandError: the daemon refused, was not reached or did not answer, or with
                ``--wait`` the backup failed.

        """
        try:
            found = find_server(server)
            if rotate:
                self._rotate(found)
            try:
                backup = lifecycle.back_up(
                    found,
                    name=name,
                    ignored_files=ignore,
                    disk=disk,
                    is_locked=lock,
                    rotating=rotate,
                )
            except DaemonError as error:
                named = f" The backup is {error.backup_uuid}." if error.backup_uuid else ""
                raise CommandError(f"{error}{named}") from None
            self.stdout.write(str(backup.uuid))
            if wait:
                self._wait(backup)
                if rotate:
                    self._rotate(found)
        except BackupsRemoteError as error:
            raise CommandError(str(error)) from None
        except DatabaseError as error:
            raise database_failed(error) from None

    def _rotate(self, server: Server) -> None:
        """Say what was rotated out. One that cannot be deleted does not stop the new backup."""
        try:
            deleted = lifecycle.rotate_backups(server)
        except (StorageError, DaemonError) as error:
            deleted = [*error.deleted]
            self.stderr.write(self.style.WARNING(f"Not all were rotated out: {error}"))
        for uuid in deleted:
            self.stdout.write(f"rotated out: {uuid}")

    def _wait(self, backup: Backup) -> None:
        progress = _Parts(self, backup)
        try:
            while backup.completed_at is None:
                time.sleep(_POLL)
                reload(backup)
                progress.show()
        except BackupNotFound:
            raise CommandError(f"The backup {backup.uuid} was deleted meanwhile.") from None
        finally:
            progress.clear()
        if backup.state is not Backup.State.COMPLETED:
            why = f": {backup.failure}" if backup.failure else ""
            raise CommandError(f"The backup {backup.uuid} {backup.state}{why}.")
        self.stdout.write(f"completed: {backup.size:,} bytes")


class _Parts:
    """Draws how many parts have arrived, where standard error is a terminal."""

    def __init__(self, command: Command, backup: Backup) -> None:
        self._stream = command.stderr
        self._backup = backup
        self._line = ProgressLine(command.stderr, 0)
        self._asked_at = float("-inf")

    def show(self) -> None:
        backup, now = self._backup, time.monotonic()
        is_uploading = backup.state is Backup.State.UPLOADING
        if not self._stream.isatty() or not is_uploading or now - self._asked_at < _PARTS_EVERY:
            return
        self._asked_at = now
        try:
            parts = get_backend(backup.disk).list_parts(backup.object_key, backup.upload_id)
        except StorageError:
            return  # completed just now, or the store does not answer: the row will tell
        planned = -(-(backup.upload_size or 0) // (backup.part_size or 1))
        self._line = ProgressLine(self._stream, planned)
        self._line.show(len({part.number for part in parts}))

    def clear(self) -> None:
        self._line.clear()
