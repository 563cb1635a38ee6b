"""Searches backups without reading a million rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db.models import Q

from backups_remote.admin.changelist import LISTED
from backups_remote.models import Backup, Node, Server

if TYPE_CHECKING:
    from django.db.models import QuerySet

#: How many of the newest backups are searched by name: no index helps with part of a name.
READ_FOR_NAMES: Final = 50_000

#: Up to so many servers or nodes, their keys are passed as a list, which databases plan better for
#: than a subquery.
_LISTED_KEYS: Final = 1_000


def search(backups: QuerySet[Backup], phrase: str) -> QuerySet[Backup]:
    """The backups that match ``phrase``, no more than fit the list.

    A UUID, with or without dashes, matches the backup's own, its server's and its node's.

    Anything else matches, among the ``READ_FOR_NAMES`` newest backups, those with every word in
    their own, their server's or their node's name; and, unless these fill the list, all backups
    of servers and nodes whose name contains the phrase.
    """
    phrase = phrase.strip()
    uuid = parsed_uuid(phrase)
    if uuid is not None:
        return backups.filter(_with_uuid(uuid))
    recent = backups.filter(_is_recent(), *(_has_word(word) for word in phrase.split()))
    found = _first_keys(recent)
    if len(found) <= LISTED or not _is_newest_first(backups):
        found |= _first_keys(backups.filter(server__in=_named(Server, phrase)))
        found |= _first_keys(backups.filter(node__in=_named(Node, phrase)))
    return backups.filter(pk__in=found)


def _first_keys(backups: QuerySet[Backup]) -> set[int]:
    return set(backups.values_list("pk", flat=True)[: LISTED + 1])


def _is_newest_first(backups: QuerySet[Backup]) -> bool:
    return backups.query.order_by[:1] == ("-created_at",)


def _named(model: type[Node | Server], phrase: str) -> QuerySet[Any] | list[int]:
    keys = model.objects.filter(name__icontains=phrase).order_by().values_list("pk", flat=True)
    some = list(keys[: _LISTED_KEYS + 1])
    return some if len(some) <= _LISTED_KEYS else keys


def parsed_uuid(phrase: str) -> UUID | None:
    """The UUID that ``phrase`` is, with or without dashes; None if it is none."""
    try:
        return UUID(phrase)
    except ValueError:
        return None


def _with_uuid(uuid: UUID) -> Q:
    condition = Q(uuid=uuid)
    # Looked up separately: an OR across tables would read all their rows.
    server = Server.objects.filter(uuid=uuid).values_list("pk", flat=True).first()
    if server is not None:
        condition |= Q(server=server)
    node = Node.objects.filter(uuid=uuid).values_list("pk", flat=True).first()
    if node is not None:
        condition |= Q(node=node)
    return condition


def _is_recent() -> Q:
    newest = Backup.objects.order_by("-created_at", "-pk").values_list("created_at", flat=True)
    oldest = newest[READ_FOR_NAMES : READ_FOR_NAMES + 1].first()
    return Q() if oldest is None else Q(created_at__gt=oldest)


def _has_word(word: str) -> Q:
    return (
        Q(name__icontains=word)
        | Q(server__in=Server.objects.filter(name__icontains=word))
        | Q(node__in=Node.objects.filter(name__icontains=word))
    )
