"""Finding backups by what an operator has at hand, without reading a million rows for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from django.db.models import Q

from backups_remote.admin.listing import LISTED
from backups_remote.models import Backup, Node, Server

if TYPE_CHECKING:
    from django.db.models import QuerySet

#: How many of the newest backups are read for a name: no index helps to find a part of one.
READ_FOR_NAMES: Final = 50_000


def search(backups: QuerySet[Backup], phrase: str) -> QuerySet[Backup]:
    """The backups that ``phrase`` means.

    A uuid, dashed or not: the backup's own, its server's or its node's, by their indexes.

    Anything else: all backups of the servers and nodes whose name contains the phrase, and among
    the ``READ_FOR_NAMES`` newest backups those of which every word occurs in their own, their
    server's or their node's name. Each of the three is asked for as many rows as are listed, in
    the list's order, so that the planner may walk the index until it has them.
    """
    uuid = _whole_uuid(phrase)
    if uuid is not None:
        return backups.filter(_with_uuid(uuid))
    phrase = phrase.strip()
    found: set[int] = set()
    for part in (
        backups.filter(server__in=Server.objects.filter(name__icontains=phrase)),
        backups.filter(node__in=Node.objects.filter(name__icontains=phrase)),
        backups.filter(_is_recent(), *(_word(word) for word in phrase.split())),
    ):
        found.update(part.values_list("pk", flat=True)[: LISTED + 1])
    return backups.filter(pk__in=found)


def _whole_uuid(phrase: str) -> UUID | None:
    try:
        return UUID(phrase.strip())
    except ValueError:
        return None


def _with_uuid(uuid: UUID) -> Q:
    condition = Q(uuid=uuid)
    # Looked up first: an OR over tables would have to read them all.
    for field, model in (("server", Server), ("node", Node)):
        pk = model._default_manager.filter(uuid=uuid).values_list("pk", flat=True).first()  # noqa: SLF001
        if pk is not None:
            condition |= Q(**{field: pk})
    return condition


def _is_recent() -> Q:
    newest = Backup.objects.order_by("-created_at", "-pk").values_list("created_at", flat=True)
    oldest = newest[READ_FOR_NAMES : READ_FOR_NAMES + 1].first()
    return Q() if oldest is None else Q(created_at__gt=oldest)


def _word(word: str) -> Q:
    return (
        Q(name__icontains=word)
        | Q(server__in=Server.objects.filter(name__icontains=word))
        | Q(node__in=Node.objects.filter(name__icontains=word))
    )
