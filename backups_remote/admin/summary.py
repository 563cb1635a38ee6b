"""The summary above the list of backups: what ``lifecycle.totals`` counts, laid out for a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext_lazy

from backups_remote.admin import columns, times
from backups_remote.admin.chart import chart_of, filtered, grouped
from backups_remote.admin.filters import WithoutBackupFilter
from backups_remote.conf import app_settings
from backups_remote.lifecycle.totals import Bounded, Totals
from backups_remote.models import Backup, Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.contrib.admin import ModelAdmin
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from backups_remote.admin.chart import Chart
    from backups_remote.lifecycle.totals import Ended, Overdue
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
class Summary:
    """What the template shows. ``note`` says when the counts were made, if not just now."""

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
        chart=None if ended is None else chart_of(ended),
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
            filtered(state=state.value),
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
            count=grouped(total.backups),
            size=filesizeformat(total.size),
            url=filtered(disk=total.disk, state=Backup.State.COMPLETED.value),
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


def _bounded(count: Bounded) -> str:
    number = grouped(count.number)
    return _("%(count)s+") % {"count": number} if count.is_cut else number
