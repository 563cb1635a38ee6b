"""The summary above the list of backups: what ``lifecycle.totals`` counts, laid out for a page.

The chart is in percent across and in pixels down, so that it fills any width and its texts keep
their size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, ngettext_lazy

from backups_remote.admin import columns, times
from backups_remote.admin.filters import WithoutBackupFilter
from backups_remote.conf import app_settings
from backups_remote.lifecycle.totals import Bounded, Totals
from backups_remote.models import Backup, Server

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from django.contrib.admin import ModelAdmin
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from backups_remote.lifecycle.totals import Day, Ended, Overdue
    from backups_remote.models import BackupState

_WITHOUT_BACKUP: Final = {
    "days": ngettext_lazy(
        "Servers without a whole backup in the last %(count)d day",
        "Servers without a whole backup in the last %(count)d days",
        "count",
    ),
    "hours": ngettext_lazy(
        "Servers without a whole backup in the last %(count)d hour",
        "Servers without a whole backup in the last %(count)d hours",
        "count",
    ),
    "minutes": ngettext_lazy(
        "Servers without a whole backup in the last %(count)d minute",
        "Servers without a whole backup in the last %(count)d minutes",
        "count",
    ),
}
#: The height of the bars, and that of the chart with its dates, in pixels.
PLOT: Final = 120
HEIGHT: Final = 144
#: Above the highest line, for its number.
_TOP: Final = 12
#: How much of a day's width its bar fills.
_FILLED: Final = 0.8
#: The least height of a bar: one failure among thousands is seen.
_LEAST: Final = 2
#: The numbers that the highest line may have, times a power of ten.
_ROUND: Final = (1, 2, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many backups are in a state, and the address of their list."""

    state: BackupState
    count: str
    url: str


@dataclass(frozen=True, slots=True)
class DiskRow:
    """The whole backups on a disk."""

    disk: str
    count: str
    size: str
    url: str


@dataclass(frozen=True, slots=True)
class Upload:
    """The oldest upload that has not ended."""

    backup: Backup
    url: str
    age: SafeString


@dataclass(frozen=True, slots=True)
class Link:
    """A text and where it leads."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class OverdueServers:
    """The servers without a recent backup. ``count`` is empty if it is not known yet.

    ``url`` is empty, and there are no ``servers``, for a user who may not see servers.
    """

    label: str
    count: str
    url: str
    servers: Sequence[Link]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a bar: its upper edge and its height, in pixels."""

    y: str
    height: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A day in the chart, and its row in the table."""

    slot_x: str
    slot_width: str
    x: str
    width: str
    completed: Piece | None
    failed: Piece | None
    title: str
    date: str
    completed_count: str
    failed_count: str
    url: str
    failed_url: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A text at the edge of the chart: a date below it, or a number beside one of its lines."""

    position: str
    text: str
    anchor: str = "end"
    is_minor: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars, lines and dates; ``label`` says in words what there is to see."""

    title: str
    label: str
    bars: Sequence[Bar]
    lines: Sequence[Mark]
    dates: Sequence[Mark]
    plot: str = str(PLOT)
    height: str = str(HEIGHT)
    date_y: str = str(HEIGHT - 6)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the template shows. ``note`` says when was counted, if that was not just now."""

    states: Sequence[StateCount]
    note: str
    disks: Sequence[DiskRow]
    upload: Upload | None
    overdue: OverdueServers | None
    chart: Chart | None


def may_see_all(model_admin: ModelAdmin[Any], request: HttpRequest) -> bool:
    """Whether ``get_queryset`` leaves this user all rows, so that their count may be shown."""
    return not model_admin.get_queryset(request).query.where


def summary(model_admin: ModelAdmin[Backup], request: HttpRequest) -> Summary:
    """The summary of all backups, for a user who may see them all."""
    totals = Totals()
    ended = totals.ended
    return Summary(
        states=_states(totals),
        note=_note(totals),
        disks=() if ended is None else _disks(ended),
        upload=_upload(totals, model_admin.admin_site.name),
        overdue=_overdue(totals, model_admin, request),
        chart=None if ended is None else _chart(ended),
    )


def _states(totals: Totals) -> list[StateCount]:
    counts = dict(totals.under_way.counts)
    if totals.ended is not None:
        counts[Backup.State.COMPLETED] = Bounded(totals.ended.completed)
        counts[Backup.State.FAILED] = Bounded(totals.ended.failed)
    return [
        StateCount(
            state,
            _bounded(counts[state]) if state in counts else "",
            _list(state=state.value),
        )
        for state in Backup.State
    ]


def _note(totals: Totals) -> str:
    if totals.ended is None:
        return _(
            "There are too many backups to count the completed and failed ones here: the next "
            "sweep will count them."
        )
    if not totals.is_large or totals.snapshot is None:
        return ""
    if totals.is_overdue_of_snapshot:
        text = _(
            "The sweep counted the completed and failed backups, and the servers without a whole "
            "one, %(ago)s."
        )
    else:
        text = _("The sweep counted the completed and failed backups %(ago)s.")
    return text % {"ago": times.ago(totals.snapshot.counted_at)}


def _disks(ended: Ended) -> list[DiskRow]:
    return [
        DiskRow(
            disk=total.disk,
            count=_number(total.backups),
            size=filesizeformat(total.size),
            url=_list(disk=total.disk, state=Backup.State.COMPLETED.value),
        )
        for total in ended.disks
    ]


def _upload(totals: Totals, site: str) -> Upload | None:
    backup = totals.under_way.oldest_upload
    if backup is None:
        return None
    return Upload(
        backup=backup,
        url=reverse(f"{site}:backups_remote_backup_change", args=[backup.pk]),
        age=columns.age(backup.created_at),
    )


def _overdue(
    totals: Totals, model_admin: ModelAdmin[Backup], request: HttpRequest
) -> OverdueServers | None:
    after = app_settings.backup_overdue_after
    if after is None:
        return None
    site = model_admin.admin_site
    found = totals.overdue
    label = times.in_whole_units(after, _WITHOUT_BACKUP)
    count = "" if found is None else _bounded(found.count)
    if not site.is_registered(Server):
        return OverdueServers(label, count, "", ())
    server_admin = site.get_model_admin(Server)
    if not may_see_all(server_admin, request):
        return None
    if not server_admin.has_view_permission(request):
        return OverdueServers(label, count, "", ())
    page = reverse(f"{site.name}:backups_remote_server_changelist")
    query = urlencode({WithoutBackupFilter.parameter_name: WithoutBackupFilter.value_of(after)})
    return OverdueServers(
        label, count, f"{page}?{query}", () if found is None else _named(found, site.name)
    )


def _named(overdue: Overdue, site: str) -> list[Link]:
    servers = Server.objects.filter(pk__in=overdue.servers).order_by("name", "pk")
    return [
        Link(name, reverse(f"{site}:backups_remote_server_change", args=[key]))
        for key, name in servers.values_list("pk", "name")
    ]


def _chart(ended: Ended) -> Chart | None:
    """The chart of the days; None if nothing was created in them."""
    days = ended.days
    highest = max(day.completed + day.failed for day in days)
    if not highest:
        return None
    top = _round(highest)
    label = _(
        "Bar chart of the backups that were created from %(first)s to %(last)s, a bar for each "
        "day. Completed: %(completed)s. Failed: %(failed)s."
    ) % {
        "first": _date(days[0].date),
        "last": _date(days[-1].date),
        "completed": _number(sum(day.completed for day in days)),
        "failed": _number(sum(day.failed for day in days)),
    }
    levels = (top, top // 2) if top % 2 == 0 else (top,)
    title = ngettext("The last %(count)d day", "The last %(count)d days", len(days))
    return Chart(
        title=title % {"count": len(days)},
        label=label,
        bars=[_bar(day, place, len(days), top) for place, day in enumerate(days)],
        lines=[Mark(_pixels(_height(level, top)), _number(level)) for level in (*levels, 0)],
        dates=_dates(days),
    )


def _bar(day: Day, place: int, days: int, top: int) -> Bar:
    slot = 100 / days
    width = slot * _FILLED
    completed = _height(day.completed, top)
    failed = _height(day.failed, top)
    date, counts = _date(day.date), (_number(day.completed), _number(day.failed))
    link = {
        "created_at__year": day.date.year,
        "created_at__month": day.date.month,
        "created_at__day": day.date.day,
    }
    return Bar(
        slot_x=_percent(place * slot),
        slot_width=_percent(slot),
        x=_percent(place * slot + (slot - width) / 2),
        width=_percent(width),
        completed=_piece(0, completed),
        failed=_piece(completed, failed),
        title=_("%(date)s. Completed: %(completed)s. Failed: %(failed)s.")
        % {"date": date, "completed": counts[0], "failed": counts[1]},
        date=date,
        completed_count=counts[0],
        failed_count=counts[1],
        url=_list(**link),
        failed_url=_list(**link, state=Backup.State.FAILED.value),
    )


def _dates(days: Sequence[Day]) -> list[Mark]:
    """The first date, the one in the middle and the last, and between them two minor ones."""
    last = len(days) - 1

    def between(quarter: int, *, is_minor: bool) -> Mark:
        place = round(last * quarter / 4)
        middle = _percent((place + 0.5) * 100 / len(days))
        return Mark(middle, _date(days[place].date), "middle", is_minor=is_minor)

    return [
        Mark("0", _date(days[0].date), "start"),
        between(1, is_minor=True),
        between(2, is_minor=False),
        between(3, is_minor=True),
        Mark("100%", _date(days[last].date), "end"),
    ]


def _height(count: int, top: int) -> float:
    """The height of ``count`` where ``top`` is as high as the highest line."""
    return max(count * (PLOT - _TOP) / top, _LEAST) if count else 0


def _piece(below: float, height: float) -> Piece | None:
    if not height:
        return None
    return Piece(y=_pixels(below + height), height=f"{height:.1f}")


def _pixels(height: float) -> str:
    """From the top, for what is ``height`` above the base line."""
    return f"{PLOT - height:.1f}"


def _percent(share: float) -> str:
    return f"{share:.3f}%"


def _round(highest: int) -> int:
    """The least round number that is no less."""
    magnitude = int(10 ** (len(str(highest)) - 1))
    return next(n * magnitude for n in _ROUND if n * magnitude >= highest)


def _list(**query: Any) -> str:
    """The list of backups, on its own page, filtered."""
    return f"?{urlencode(query)}"


def _date(date: dt.date) -> str:
    return formats.date_format(date, "MONTH_DAY_FORMAT")


def _number(number: int) -> str:
    return formats.number_format(number, force_grouping=True)


def _bounded(count: Bounded) -> str:
    number = _number(count.number)
    return _("%(count)s+") % {"count": number} if count.is_cut else number
