"""Filters whose choices are known without asking the table of backups."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, cast

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from backups_remote.models import Backup, Node
from backups_remote.storage import configured_disks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.admin import ModelAdmin
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from backups_remote.models import BackupQuerySet


class StateFilter(SimpleListFilter):
    """By state, which no column holds."""

    title = _("state")
    parameter_name = "state"

    def lookups(
        self,
        request: HttpRequest,  # noqa: ARG002
        model_admin: ModelAdmin[Any],  # noqa: ARG002
    ) -> Iterable[tuple[str, str]]:
        """Every state."""
        return [(state.value, str(state.label)) for state in Backup.State]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        """The backups in that state."""
        value = self.value()
        if value is None:
            return queryset
        try:
            state = Backup.State(value)
        except ValueError as error:
            raise IncorrectLookupParameters(error) from error
        backups = cast("BackupQuerySet", queryset).in_state(state)
        if state is Backup.State.DELETING:
            # True of them all: without statistics, SQLite takes their index for a range only.
            soon = timezone.now() + dt.timedelta(days=1)
            return backups.filter(deletion_started_at__lte=soon)
        return backups


class DiskFilter(SimpleListFilter):
    """By disk, of those that are configured."""

    title = _("disk")
    parameter_name = "disk"

    def lookups(
        self,
        request: HttpRequest,  # noqa: ARG002
        model_admin: ModelAdmin[Any],  # noqa: ARG002
    ) -> Iterable[tuple[str, str]]:
        """The configured disks, and the one asked for: it may not be configured any more."""
        asked = self.value()
        disks = dict.fromkeys([*configured_disks(), *([asked] if asked else [])])
        return [(disk, disk) for disk in disks]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        """The backups on that disk."""
        disk = self.value()
        return queryset if disk is None else queryset.filter(disk=disk)


class NodeFilter(SimpleListFilter):
    """By the node that makes the backup."""

    title = _("node")
    parameter_name = "node"

    def lookups(
        self,
        request: HttpRequest,  # noqa: ARG002
        model_admin: ModelAdmin[Any],  # noqa: ARG002
    ) -> Iterable[tuple[str, str]]:
        """Every node."""
        return [(str(pk), name) for pk, name in Node.objects.values_list("pk", "name")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        """The backups that it makes."""
        node = self.value()
        if node is None:
            return queryset
        if node not in {value for value, _name in self.lookup_choices}:
            raise IncorrectLookupParameters(node)
        return queryset.filter(node=int(node))
