"""Filters of the lists of backups and servers. Their choices take no query of all backups."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final, cast

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from backups_remote.admin import times
from backups_remote.conf import app_settings
from backups_remote.lifecycle.totals import without_whole_backup
from backups_remote.models import Backup, Node
from backups_remote.storage import configured_disks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.admin import ModelAdmin
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from backups_remote.models import BackupQuerySet


class BackupFilter(SimpleListFilter):
    """A filter is its ``choices_to_offer`` and how it narrows the list to one of them."""

    def choices_to_offer(self) -> Iterable[tuple[str, str]]:
        """Each value in the query string, with its label."""
        raise NotImplementedError

    def narrow(self, backups: BackupQuerySet, value: str) -> BackupQuerySet:
        """The backups to which ``value`` applies."""
        raise NotImplementedError

    def lookups(
        self,
        request: HttpRequest,  # noqa: ARG002
        model_admin: ModelAdmin[Any],  # noqa: ARG002
    ) -> Iterable[tuple[str, str]]:
        return self.choices_to_offer()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        value = self.value()
        return queryset if value is None else self.narrow(cast("BackupQuerySet", queryset), value)


class StateFilter(BackupFilter):
    """By state, which follows from several columns."""

    title = _("state")
    parameter_name = "state"

    def choices_to_offer(self) -> Iterable[tuple[str, str]]:
        return [(state.value, str(state.label)) for state in Backup.State]

    def narrow(self, backups: BackupQuerySet, value: str) -> BackupQuerySet:
        try:
            state = Backup.State(value)
        except ValueError as error:
            raise IncorrectLookupParameters(error) from error
        backups = backups.in_state(state)
        if state is Backup.State.DELETING:
            # Always true: without statistics, SQLite uses the index of these rows for a range only.
            soon = timezone.now() + dt.timedelta(days=1)
            return backups.filter(deletion_started_at__lte=soon)
        return backups


class DiskFilter(BackupFilter):
    """By disk: the configured ones, and the selected one even if it is not configured."""

    title = _("disk")
    parameter_name = "disk"

    def choices_to_offer(self) -> Iterable[tuple[str, str]]:
        selected = self.value()
        disks = dict.fromkeys([*configured_disks(), *([selected] if selected else [])])
        return [(disk, disk) for disk in disks]

    def narrow(self, backups: BackupQuerySet, value: str) -> BackupQuerySet:
        return backups.filter(disk=value)


class NodeFilter(BackupFilter):
    """By the node that makes the backup."""

    title = _("node")
    parameter_name = "node"

    def choices_to_offer(self) -> Iterable[tuple[str, str]]:
        return [(str(pk), name) for pk, name in Node.objects.values_list("pk", "name")]

    def narrow(self, backups: BackupQuerySet, value: str) -> BackupQuerySet:
        if value not in {choice for choice, _name in self.lookup_choices}:
            raise IncorrectLookupParameters(value)
        return backups.filter(node=int(value))


class WithoutBackupFilter(SimpleListFilter):
    """Servers that want backups and have no whole one of the last so many hours or days."""

    title = _("last whole backup")
    parameter_name = "without_backup_for"

    _spans: Final = (dt.timedelta(hours=24), dt.timedelta(hours=48), dt.timedelta(days=7))
    _labels: Final = {
        "days": ngettext_lazy(
            "None in the last %(count)d day", "None in the last %(count)d days", "count"
        ),
        "hours": ngettext_lazy(
            "None in the last %(count)d hour", "None in the last %(count)d hours", "count"
        ),
        "minutes": ngettext_lazy(
            "None in the last %(count)d minute", "None in the last %(count)d minutes", "count"
        ),
    }

    @staticmethod
    def value_of(span: dt.timedelta) -> str:
        """What the query string says for ``span``: whole seconds."""
        return str(int(span.total_seconds()))

    def lookups(
        self,
        request: HttpRequest,  # noqa: ARG002
        model_admin: ModelAdmin[Any],  # noqa: ARG002
    ) -> Iterable[tuple[str, str]]:
        after = app_settings.backup_overdue_after
        spans = {*self._spans, *(() if after is None else (after,))}
        return [
            (self.value_of(span), times.in_whole_units(span, self._labels))
            for span in sorted(spans)
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        value = self.value()
        if value is None:
            return queryset
        if value not in {choice for choice, _label in self.lookup_choices}:
            raise IncorrectLookupParameters(value)
        return without_whole_backup(queryset, dt.timedelta(seconds=int(value)))
