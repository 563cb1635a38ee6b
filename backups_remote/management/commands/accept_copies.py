"""``manage.py accept_copies DISK``: after a bucket was copied, refer backups to the copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError
from django.db import DatabaseError, router

from backups_remote import lifecycle
from backups_remote.actors import ActorKind, acting_as
from backups_remote.exceptions import DiskNotConfigured
from backups_remote.management.messages import database_failed, first_of
from backups_remote.management.output import WorkCommand
from backups_remote.management.progress import ProgressLine
from backups_remote.models import Backup
from backups_remote.sql import keys_of
from backups_remote.storage import get_backend

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from array import array
    from collections.abc import Iterator

    from backups_remote.types import CopyOutcome

#: How many backups are checked between two updates of the progress line.
_BATCH: Final = 128


class Command(WorkCommand):
    """Accepts the copies in a bucket."""

    help = (
        "After a bucket was copied: has each completed backup on DISK refer to the copy under its "
        "key, if that copy has the backup's size and mark."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "disk", metavar="DISK", help="The alias of STORAGES for the copied bucket."
        )
        parser.add_argument("--dry-run", action="store_true", help="Change nothing.")

    @acting_as(ActorKind.COMMAND, "accept_copies")
    def handle(self, *, disk: str, dry_run: bool, **_options: Any) -> None:
        """Print a line per copy.

        Raises:
            CommandError: some copies were not accepted; the message names them.

        """
        would = "would be " if dry_run else ""
        accepted = 0
        refused: list[str] = []
        keys = self._keys(disk)
        progress = ProgressLine(self.stderr, len(keys))
        for done, outcomes in self._in_batches(disk, keys, dry_run=dry_run):
            for copy in outcomes:
                progress.clear()
                line = f"{copy.backup} on {disk}"
                if copy.is_accepted:
                    accepted += 1
                    self.stdout.write(f"{would}accepted: {line}")
                else:
                    refused.append(copy.backup)
                    self.stderr.write(self.style.ERROR(f"not accepted: {line}: {copy.problem}"))
            progress.show(done)
        progress.clear()
        self.stdout.write(
            f"{accepted} {would}accepted, {len(refused)} not accepted, "
            f"{len(keys) - accepted - len(refused)} unchanged."
        )
        if refused:
            raise CommandError(f"{len(refused)} could not be accepted: {first_of(refused)}")

    def _keys(self, disk: str) -> array[int]:
        """The primary keys of the backups to check, eight bytes each."""
        try:
            is_store = get_backend(disk).presigned_uploads
        except DiskNotConfigured as error:
            raise CommandError(f"DISK: {error}") from error
        if not is_store:
            raise CommandError(f"DISK: archives on {disk!r} are not in a store.")
        backups = Backup.objects.using(router.db_for_write(Backup)).filter(disk=disk).completed()
        try:
            return keys_of(backups.order_by("pk"))
        except DatabaseError as error:
            raise database_failed(error) from error

    def _in_batches(
        self, disk: str, keys: array[int], *, dry_run: bool
    ) -> Iterator[tuple[int, list[CopyOutcome]]]:
        """The outcomes of each batch, with the number of backups checked so far."""
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            backups = Backup.objects.filter(pk__in=batch)
            try:
                outcomes = lifecycle.accept_copies(disk, among=backups, dry_run=dry_run)
            except DatabaseError as error:
                raise database_failed(error) from error
            yield start + len(batch), outcomes
