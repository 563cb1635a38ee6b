"""The admin of events: a list that is as fast with ten million of them as with ten. Read-only.

There is no index but those that the timeline and the sweep need, because each makes every report
slower. So rows are read by their keys, newest first; the events of one backup by the index of its
uuid. Any other search or filter looks at the ``READ`` newest events only, and the page says so.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from backups_remote.actors import LONGEST_NAME, ActorKind
from backups_remote.admin import timeline, times
from backups_remote.admin.base import SafeModelAdmin
from backups_remote.admin.changelist import BoundedList, BoundedPaginator
from backups_remote.admin.search import parsed_uuid
from backups_remote.models import Backup, BackupEvent, EventKind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from django.contrib.admin import AdminSite, ModelAdmin
    from django.contrib.admin.filters import ListFilter
    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

#: How many of the newest events are searched and filtered.
READ: Final = 50_000
#: A search with this many words is treated as nonsense: databases limit a condition's depth.
_TOO_MANY_WORDS: Final = 20


class EventFilter(admin.SimpleListFilter):
    """A filter is the values it offers and how it narrows the list to one of them."""

    def offered(self) -> Iterable[tuple[str, Any]]:
        """Each value in the query string, with its label."""
        raise NotImplementedError

    def narrow(self, events: QuerySet[BackupEvent], value: str) -> QuerySet[BackupEvent]:
        """The events to which ``value`` applies."""
        raise NotImplementedError

    def value(self) -> str | None:
        """The chosen value. An empty one is none: forms send those."""
        return super().value() or None

    def lookups(
        self,
        request: HttpRequest,  # noqa: ARG002
        model_admin: ModelAdmin[Any],  # noqa: ARG002
    ) -> Iterable[tuple[str, Any]]:
        return self.offered()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        value = self.value()
        if value is None:
            return queryset
        if value not in dict(self.lookup_choices):
            raise IncorrectLookupParameters(value)
        return self.narrow(queryset, value)


class KindFilter(EventFilter):
    """By what happened."""

    title = _("kind")
    parameter_name = "kind"

    def offered(self) -> Iterable[tuple[str, Any]]:
        return EventKind.choices

    def narrow(self, events: QuerySet[BackupEvent], value: str) -> QuerySet[BackupEvent]:
        return events.filter(kind=value)


class ActorFilter(EventFilter):
    """By the kind of the actor; a search finds them by name."""

    title = _("actor")
    parameter_name = "actor"

    def offered(self) -> Iterable[tuple[str, Any]]:
        return ActorKind.choices

    def narrow(self, events: QuerySet[BackupEvent], value: str) -> QuerySet[BackupEvent]:
        return events.filter(actor=value)


class TimeFilter(EventFilter):
    """By how recently it happened."""

    title = _("time")
    parameter_name = "since"

    _spans: ClassVar = {
        "hour": (dt.timedelta(hours=1), _("The last hour")),
        "day": (dt.timedelta(days=1), _("The last 24 hours")),
        "week": (dt.timedelta(days=7), _("The last 7 days")),
    }

    def offered(self) -> Iterable[tuple[str, Any]]:
        return [(value, label) for value, (_span, label) in self._spans.items()]

    def narrow(self, events: QuerySet[BackupEvent], value: str) -> QuerySet[BackupEvent]:
        # Not along the index on times: all events may be of this week, and would be sorted.
        moments = events.alias(moment=Coalesce("at", "at"))
        return moments.filter(moment__gte=timezone.now() - self._spans[value][0])


class ServerFilter(EventFilter):
    """By the uuid of the server. It is offered on the server's page, and shown while it is used."""

    title = _("server")
    parameter_name = "server"

    def offered(self) -> Iterable[tuple[str, Any]]:
        value = self.value()
        return [(value, value)] if value else []

    def narrow(self, events: QuerySet[BackupEvent], value: str) -> QuerySet[BackupEvent]:
        uuid = parsed_uuid(value)
        if uuid is None:
            raise IncorrectLookupParameters(value)
        return events.filter(server_uuid=uuid)


class NodeFilter(EventFilter):
    """By the name of the node. It is offered on the node's page, and shown while it is used."""

    title = _("node")
    parameter_name = "node"

    def offered(self) -> Iterable[tuple[str, Any]]:
        value = self.value()
        return [(value, value)] if value else []

    def narrow(self, events: QuerySet[BackupEvent], value: str) -> QuerySet[BackupEvent]:
        return events.filter(node_name=value)


_FILTERS: Final = (KindFilter, ActorFilter, TimeFilter, ServerFilter, NodeFilter)


class EventList(BoundedList):
    """The list of events, newest first."""

    #: How many events a filter or a search has looked at; None if those were all there are.
    newest_read: int | None = None

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:  # noqa: ARG002
        """By key, not by time: the clocks of two panels may differ."""
        return ["-pk"]

    def get_filters(
        self, request: HttpRequest
    ) -> tuple[list[ListFilter], bool, dict[str, bool | str], bool, bool]:
        """Take the filters that are offered; any other look-up would read the whole table."""
        unknown = self.get_filters_params().keys() - {each.parameter_name for each in _FILTERS}
        if unknown:
            raise IncorrectLookupParameters(unknown)
        return super().get_filters(request)

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: list[str | None] | None = None
    ) -> QuerySet[Any]:
        """Filter and search, among all events of one backup or among the newest of all."""
        events = super().get_queryset(request, exclude_parameters)
        among = self.root_queryset
        words = self.query.split()
        uuid = parsed_uuid(self.query.strip())
        if uuid is not None and among.filter(backup_uuid=uuid).exists():
            among, events = (rows.filter(backup_uuid=uuid) for rows in (among, events))
            words = []
        elif uuid is not None:
            events = events.filter(server_uuid=uuid)
        elif len(words) > _TOO_MANY_WORDS:
            raise IncorrectLookupParameters(self.query)
        else:
            events = events.filter(*map(_has_word, words))
        if words or self.has_active_filters:
            keys = among.order_by("-pk").values_list("pk", flat=True)
            last_unread = keys[READ : READ + 1].first()
            if last_unread is not None:
                self.newest_read = READ
                events = events.filter(pk__gt=last_unread)
        return events

    def get_results(self, request: HttpRequest) -> None:
        """Read the page, and in one query the backups that its events are about."""
        super().get_results(request)
        events = list(self.result_list)
        find_backups(events, self.model_admin.admin_site, request)
        self.result_list = events


def find_backups(events: Iterable[BackupEvent], site: AdminSite, request: HttpRequest) -> None:
    """Set ``event.row`` to the event's backup: None if it is gone, or not for this user to see."""
    backups: dict[UUID | None, Backup] = {}
    if site.is_registered(Backup) and site.get_model_admin(Backup).has_view_permission(request):
        uuids = {event.backup_uuid for event in events if event.backup_uuid is not None}
        backups = {
            backup.uuid: backup
            for backup in Backup.objects.filter(uuid__in=uuids).only("uuid", "name").order_by()
        }
    for event in events:
        event.row = backups.get(event.backup_uuid)  # type: ignore[attr-defined]


@admin.register(BackupEvent)
class EventAdmin(SafeModelAdmin[BackupEvent]):
    """Events are looked at and nothing else, whatever the permissions."""

    changelist_class = EventList
    paginator = BoundedPaginator
    list_display = ("moment", "what", "backup", "server_name", "node_name", "who", "in_words")
    list_filter = _FILTERS
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    # Shows the search field; EventList searches.
    search_fields = ("backup_uuid", "server_uuid", "server_name", "node_name", "actor_name")
    search_help_text = _(
        "The UUID of a backup or a server, or part of the name of a server, a node or who did it."
    )
    actions = None
    fields = (
        *("moment", "what", "who", "in_words"),
        *("backup", "backup_uuid", "server_name", "server_uuid", "node_name"),
    )
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Never: the app writes events itself."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Never: the sweep deletes what is old."""
        return False

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[BackupEvent],
        search_term: str,  # noqa: ARG002
    ) -> tuple[QuerySet[BackupEvent], bool]:
        """Leave it to ``EventList``, which knows whether there is a filter, too."""
        return queryset, False

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> BackupEvent | None:
        event = super().get_object(request, object_id, from_field)
        if event is not None:
            find_backups([event], self.admin_site, request)
        return event

    @admin.display(description=_("at"))
    def moment(self, event: BackupEvent) -> SafeString:
        return format_html(
            '{} <span class="backup-quiet">{}</span>',
            timeline.moment(event.at),
            times.ago(event.at),
        )

    @admin.display(description=_("kind"))
    def what(self, event: BackupEvent) -> SafeString:
        return timeline.badge(event)

    @admin.display(description=_("backup"))
    def backup(self, event: BackupEvent) -> SafeString | None:
        """The backup, linked to its page; if that is gone, its uuid, linked to its events."""
        if event.backup_uuid is None:
            return None
        row: Backup | None = event.row  # type: ignore[attr-defined]
        if row is None:
            url = timeline.events_url(self.admin_site, q=str(event.backup_uuid))
            label = format_html('<code translate="no">{}…</code>', event.backup_uuid.hex[:8])
            return _link_to_backup(url, event.backup_uuid, label)
        page = reverse(f"{self.admin_site.name}:backups_remote_backup_change", args=[row.pk])
        return _link_to_backup(page, event.backup_uuid, row)

    @admin.display(description=_("actor"))
    def who(self, event: BackupEvent) -> str:
        return timeline.who(event)

    @admin.display(description=_("detail"))
    def in_words(self, event: BackupEvent) -> SafeString | str:
        return timeline.detail(event)


def _link_to_backup(url: str, uuid: UUID, label: object) -> SafeString:
    return format_html(
        '<a class="backup-event-backup" href="{}" title="{}">{}</a>', url, uuid, label
    )


def _has_word(word: str) -> Q:
    if len(word) > LONGEST_NAME:
        return Q(pk__in=())
    return (
        Q(server_name__icontains=word)
        | Q(node_name__icontains=word)
        | Q(actor_name__icontains=word)
    )
