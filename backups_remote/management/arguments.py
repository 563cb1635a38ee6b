"""Arguments that several commands take."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from django.core.management.base import CommandError

from backups_remote.models import Backup, Server

if TYPE_CHECKING:
    from django.db.models import Model


def find_server(text: str) -> Server:
    """The server with this UUID.

    Raises:
        CommandError: there is none, or it is no UUID.

    """
    found = Server.objects.filter(uuid=_uuid(text, Server)).select_related("node").first()
    if found is None:
        raise CommandError(f"SERVER: there is no server {text}.")
    return found


def find_backup(text: str) -> Backup:
    """The backup with this UUID.

    Raises:
        CommandError: there is none, or it is no UUID.

    """
    backups = Backup.objects.filter(uuid=_uuid(text, Backup))
    found = backups.select_related("server", "node").first()
    if found is None:
        raise CommandError(f"BACKUP: there is no backup {text}.")
    return found


def _uuid(text: str, model: type[Model]) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        name = model.__name__.upper()
        raise CommandError(f"{name}: {text!r} is not a UUID.") from None
