"""Finding backups by what an operator has at hand, without reading a million rows for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db.models import BigIntegerField, ExpressionWrapper, F, Q

from backups_remote.admin.listing import LISTED
from backups_remote.models import Backup, Node, Server

if TYPE_CHECKING:
    from django.db.models import QuerySet

#: How many of the newest backups are read for a name: no index helps to find a part of one.
READ_FOR_NAMES: Final = 50_000


#: Of how many servers the backups are gathered through the key of their server. Those of more are
#: met soon enough on the way from the newest backup down.
_GATHERED: Final = 100


def search(backups: QuerySet[Backup], phrase: str) -> QuerySet[Backup]:
    """The backups that ``phrase`` means.

    A uuid, dashed or not: the backup's own, its server's or its node's, by their indexes.

    Anything else: all backups of the servers and nodes whose name contains the phrase, and among
    the ``READ_FOR_NAMES`` newest backups those of which every word occurs in their own, their
    server's or their node's name. Each of the three is asked for as many rows as are listed.
    """
    phrase = phrase.strip()
    uuid = _whole_uuid(phrase)
    if uuid is not None:
        return backups.filter(_with_uuid(uuid))
    found: set[int] = set()
    for rows in (
        _of_servers(backups, phrase),
        _of_nodes(backups, phrase),
        backups.filter(_is_recent(), *(_has_word(word) for word in phrase.split())),
    ):
        found.update(rows.values_list("pk", flat=True)[: LISTED + 1])
    return backups.filter(pk__in=found)


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


def _of_servers(backups: QuerySet[Backup], phrase: str) -> QuerySet[Backup]:
    servers = Server.objects.filter(name__icontains=phrase).order_by().values_list("pk", flat=True)
    few = list(servers[: _GATHERED + 1])
    if len(few) <= _GATHERED:
        return backups.filter(server__in=few)
    return _met_on_the_way(backups, "server_id", servers)


def _of_nodes(backups: QuerySet[Backup], phrase: str) -> QuerySet[Backup]:
    nodes = list(Node.objects.filter(name__icontains=phrase).values_list("pk", flat=True))
    return _met_on_the_way(backups, "node_id", nodes)


def _met_on_the_way(
    backups: QuerySet[Backup], column: str, keys: QuerySet[Any] | list[int]
) -> QuerySet[Backup]:
    """Backups with one of ``keys``, found by walking the list's own order.

    A sum is no column: the planner cannot gather a great part of the table through the column's
    index only to sort it and throw nearly all of it away.
    """
    walked = ExpressionWrapper(F(column) + 0, output_field=BigIntegerField())
    return backups.alias(walked=walked).filter(walked__in=keys)


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
