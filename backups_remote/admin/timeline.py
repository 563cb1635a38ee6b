"""The timeline on a backup's page: what happened to it, by whom and why, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from backups_remote.actors import ActorKind
from backups_remote.admin import times
from backups_remote.models import BackupEvent, EventKind

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable

    from django.contrib.admin import AdminSite, ModelAdmin
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from backups_remote.models import Backup

#: How many of a backup's newest events are read, and can be chosen from.
READ: Final = 1_000
#: How many of those are shown.
SHOWN: Final = 200

#: Parameters of the query string.
_KIND: Final = "kind"
_ACTOR: Final = "actor"


class _Look(NamedTuple):
    symbol: str
    tone: str


_UNKNOWN: Final = _Look("•", "plain")
# Beside the word and the colour, so that the kind can be told by either alone.
_LOOKS: Final[dict[str, _Look]] = {
    EventKind.CREATED: _Look("+", "plain"),
    EventKind.UPLOAD_STARTED: _Look("↑", "busy"),
    EventKind.UPLOAD_REPLACED: _Look("↻", "busy"),
    EventKind.REPORTED: _Look("◐", "busy"),
    EventKind.REPORT_REFUSED: _Look("!", "bad"),
    EventKind.REPORT_TAKEN_BACK: _Look("←", "warning"),
    EventKind.RECOVERY_STARTED: _Look("◑", "busy"),
    EventKind.COMPLETED: _Look("✓", "good"),
    EventKind.RECOVERED: _Look("✓", "good"),
    EventKind.FAILED: _Look("✕", "bad"),
    EventKind.UPLOAD_ABORTED: _Look("■", "plain"),
    EventKind.LOCKED: _Look("◆", "plain"),
    EventKind.UNLOCKED: _Look("◇", "plain"),
    EventKind.COPY_ACCEPTED: _Look("=", "plain"),
    EventKind.DOWNLOAD_LINK_ISSUED: _Look("↓", "plain"),
    EventKind.RESTORE_STARTED: _Look("↺", "busy"),
    EventKind.RESTORE_COMPLETED: _Look("✓", "good"),
    EventKind.RESTORE_FAILED: _Look("✕", "bad"),
    EventKind.RESTORE_CANCELLED: _Look("-", "warning"),
    EventKind.DELETION_STARTED: _Look("…", "warning"),
    EventKind.DELETION_REFUSED: _Look("!", "warning"),
    EventKind.DELETED: _Look("✕", "warning"),
    EventKind.FORGOTTEN: _Look("✕", "warning"),
}

#: The sweep names itself after its command, which says nothing more.
_SWEEPS_OWN_NAME: Final = "expire_stale_uploads"


@dataclass(frozen=True)
class Choice:
    """One value of a filter."""

    value: str
    label: str
    is_selected: bool


@dataclass(frozen=True)
class Entry:
    """One event, as it is shown."""

    time: SafeString
    ago: str
    badge: SafeString
    who: str
    detail: SafeString | str


@dataclass(frozen=True)
class Timeline:
    """The template's context."""

    entries: list[Entry]
    kinds: list[Choice]
    actors: list[Choice]
    #: The rest of the query string, which the filters keep.
    others: list[tuple[str, str]]
    is_cut: bool
    #: The list of all events of the backup; empty if the admin has no such list.
    all_url: str

    @property
    def is_filtered(self) -> bool:
        """Whether only events of one kind or one actor are shown."""
        return any(choice.is_selected for choice in (*self.kinds, *self.actors))

    @property
    def is_filterable(self) -> bool:
        """Whether a filter would leave anything out."""
        return len(self.kinds) > 1 or len(self.actors) > 1


def timeline(model_admin: ModelAdmin[Any], request: HttpRequest, backup: Backup) -> Timeline | None:
    """The timeline of ``backup``; None if the user may not see events.

    It is filtered by the parameters ``kind`` and ``actor`` of the query string, if they are those
    of an event that was read: of the backup's ``READ`` newest.
    """
    if not request.user.has_perm("backups_remote.view_backupevent"):
        return None
    read = list(BackupEvent.objects.filter(backup_uuid=backup.uuid).order_by("-pk")[: READ + 1])
    events = read[:READ]
    kinds = _choices(events, _kind_of, _word_for, request.GET.get(_KIND))
    actors = _choices(events, _actor_of, who, request.GET.get(_ACTOR))
    kind, actor = _selected(kinds), _selected(actors)
    wanted = [
        event
        for event in events
        if kind in {"", _kind_of(event)} and actor in {"", _actor_of(event)}
    ]
    filters = {"kind": kind, "actor": actor.partition(":")[0]}
    return Timeline(
        entries=[_entry(event) for event in wanted[:SHOWN]],
        kinds=kinds,
        actors=actors,
        others=[
            (name, value)
            for name, values in request.GET.lists()
            if name not in {_KIND, _ACTOR}
            for value in values
        ],
        is_cut=len(read) > READ or len(wanted) > SHOWN,
        all_url=events_url(
            model_admin.admin_site,
            q=str(backup.uuid),
            **{name: value for name, value in filters.items() if value},
        ),
    )


def events_url(site: AdminSite, **query: str) -> str:
    """The address of the list of events; empty if ``site`` has none.

    ``query`` may have ``q``, a search, and the filters ``kind``, ``actor``, ``since``, ``server``
    (a UUID) and ``node`` (a name).
    """
    if not site.is_registered(BackupEvent):
        return ""
    page = reverse(f"{site.name}:backups_remote_backupevent_changelist")
    return f"{page}?{urlencode(query)}"


def badge(event: BackupEvent) -> SafeString:
    """The kind of an event as word, symbol and colour."""
    look = _LOOKS.get(event.kind, _UNKNOWN)
    return format_html(
        '<span class="backup-event" data-tone="{}"><span aria-hidden="true">{}</span> {}</span>',
        look.tone,
        look.symbol,
        _word_for(event),
    )


def who(event: BackupEvent) -> str:
    """Who made the change, such as "by the node fra-1"."""
    kind, name = event.actor, event.actor_name
    if kind == ActorKind.NODE:
        return _("by the node %(name)s") % {"name": name} if name else _("by a node")
    if kind == ActorKind.USER:
        return _("by the user %(name)s") % {"name": name} if name else _("by a user")
    if kind == ActorKind.COMMAND:
        return _("by the command %(name)s") % {"name": name} if name else _("by a command")
    if kind == ActorKind.SWEEP:
        is_other = name not in {"", _SWEEPS_OWN_NAME}
        return _("by the sweep %(name)s") % {"name": name} if is_other else _("by the sweep")
    if kind == ActorKind.CODE and not name:
        return _("by code of the project")
    return _("by %(name)s, in code of the project") % {"name": name or kind}


def moment(at: dt.datetime) -> SafeString:
    """A local date and time; the tooltip has the seconds and the offset from UTC."""
    local = timezone.localtime(at) if timezone.is_aware(at) else at
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(timespec="seconds"),
        local.isoformat(" ", "seconds"),
        formats.date_format(local, "DATETIME_FORMAT"),
    )


def detail(event: BackupEvent) -> SafeString | str:
    """What the event says in words: in English, which is marked on pages in another language."""
    language = (get_language() or "en").partition("-")[0]
    if language == "en" or not event.detail:
        return event.detail
    return format_html('<span lang="en" dir="ltr">{}</span>', event.detail)


def _entry(event: BackupEvent) -> Entry:
    return Entry(
        time=moment(event.at),
        ago=times.ago(event.at),
        badge=badge(event),
        who=who(event),
        detail=detail(event),
    )


def _word_for(event: BackupEvent) -> str:
    # get_kind_display() translates the words for all kinds each time.
    return str(EventKind(event.kind).label) if event.kind in _LOOKS else event.kind


def _kind_of(event: BackupEvent) -> str:
    return event.kind


def _actor_of(event: BackupEvent) -> str:
    name = event.actor_name
    if event.actor == ActorKind.SWEEP and name == _SWEEPS_OWN_NAME:
        name = ""
    return f"{event.actor}:{name}" if name else event.actor


def _choices(
    events: Iterable[BackupEvent],
    value_of: Callable[[BackupEvent], str],
    label_of: Callable[[BackupEvent], str],
    wanted: str | None,
) -> list[Choice]:
    """What ``events`` can be filtered by, each value once, in the order of their labels."""
    labels = {value: label_of(event) for value, event in {value_of(e): e for e in events}.items()}
    return [
        Choice(value, label, value == wanted)
        for value, label in sorted(labels.items(), key=lambda choice: choice[1])
    ]


def _selected(choices: Iterable[Choice]) -> str:
    return next((choice.value for choice in choices if choice.is_selected), "")
