"""Finding backups by what an operator has at hand, without reading a million rows for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db.models import Q

from backups_remote.admin.listing import LISTED
from backups_remote.models import Backup, Node, Server

if TYPE_CHECKING:
    from django.db.models import QuerySet

#: How many of the newest backups are read for a name: no index helps to find a part of one.
READ_FOR_NAMES: Final = 50_000


#: How many servers are named one by one to the database, which plans better for it.
_NAMED_ONE_BY_ONE: Final = 1_000


def search(backups: QuerySet[Backup], phrase: str) -> QuerySet[Backup]:
    """The backups that ``phrase`` means, no more of them than are listed.

    A uuid, dashed or not: the backup's own, its server's or its node's, by their indexes.

    Anything else: among the ``READ_FOR_NAMES`` newest backups, those of which every word occurs
    in their own, their server's or their node's name; and all backups of the servers and nodes
    whose name contains the phrase, however old, unless the newest fill the list already.
    """
    phrase = phrase.strip()
    uuid = _whole_uuid(phrase)
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
    some = list(keys[: _NAMED_ONE_BY_ONE + 1])
    return some if len(some) <= _NAMED_ONE_BY_ONE else keys


def _whole_uuid(phrase: str) -> UUID | None:
    try:
        return UUID(phrase)
    except ValueError:
        return None


def _with_uuid(uuid: UUID) -> Q:
    condition = Q(uuid=uuid)
    # Looked up first: an OR over tables would have to read them all.
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
