"""``manage.py list_backups``: the backups of one server or of all, newest first."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Final, cast

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from backups_remote.management.arguments import find_server
from backups_remote.management.messages import database_failed
from backups_remote.management.output import lead_nowhere
from backups_remote.models import Backup

if TYPE_CHECKING:
    from argparse import ArgumentParser

#: Rows that are read at once.
_CHUNK: Final = 1000
_COLUMNS: Final = "{:36}  {:9}  {:>16}  {:16}  {:6}  {:24}  {}"


class Command(BaseCommand):
    """Lists backups."""

    help = "Lists the backups of a server, or of all servers, newest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("server", metavar="SERVER", nargs="?", help="The server's UUID.")
        parser.add_argument(
            "--state",
            choices=[state.value for state in Backup.State],
            help="Only backups in this state.",
        )
        parser.add_argument(
            "--limit", type=int, metavar="N", help="The N newest only (default: all)."
        )

    def handle(
        self, *, server: str | None, state: str | None, limit: int | None, **_options: Any
    ) -> None:
        """Print a line for each backup.

        Raises:
            CommandError: there is no such server.

        """
        if limit is not None and limit < 1:
            raise CommandError("--limit: at least one is required.")
        try:
            backups = Backup.objects.select_related("server").order_by("-created_at", "-id")
            if server is not None:
                backups = backups.filter(server=find_server(server))
            if state is not None:
                backups = backups.in_state(Backup.State(state))
            columns = ("BACKUP", "STATE", "BYTES", "CREATED (UTC)", "LOCKED", "SERVER", "NAME")
            self.stdout.write(_COLUMNS.format(*columns).rstrip())
            for backup in backups.defer("reported_etags")[:limit].iterator(chunk_size=_CHUNK):
                self.stdout.write(_line(backup))
            self.stdout.flush()
        except DatabaseError as error:
            raise database_failed(error) from None
        except BrokenPipeError:
            # Its reader has seen enough: "| head".
            lead_nowhere(cast("IO[str]", self.stdout))


def _line(backup: Backup) -> str:
    return _COLUMNS.format(
        str(backup.uuid),
        backup.state.value,
        f"{backup.size:,}" if backup.size else "",
        f"{backup.created_at:%Y-%m-%d %H:%M}",
        "yes" if backup.is_locked else "",
        _printable(backup.server.name)[:24],
        _printable(backup.name),
    ).rstrip()


def _printable(text: str) -> str:
    """``text`` without characters that would move a terminal's cursor or forge a line."""
    return "".join(character if character.isprintable() else " " for character in text)
