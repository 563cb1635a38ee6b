"""Servers, with how many backups count towards their limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy

from backups_remote.admin.base import ServerModelAdmin, save_changed_fields
from backups_remote.admin.protecting import protected_by
from backups_remote.models import Backup, Server

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.forms import ModelForm
    from django.http import HttpRequest
    from django.utils.safestring import SafeString


class ServerList(ChangeList):
    """The list, with the backups of its rows counted in one query."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page, then count."""
        super().get_results(request)
        servers = list(self.result_list)
        backups = Backup.objects.filter(server__in=servers).counted().order_by()
        counts = dict(backups.values_list("server").annotate(Count("pk")))
        for server in servers:
            server.counted_backups = counts.get(server.pk, 0)
        self.result_list = servers


@admin.register(Server)
class ServerAdmin(ServerModelAdmin):
    """Name, node, status and limit."""

    list_display = ("name", "node_name", "status", "backups", "backup_limit")
    search_fields = ("name", "uuid")
    sortable_by = ("name", "backup_limit")
    show_full_result_count = False
    autocomplete_fields = ("node",)
    fields = ("name", "uuid", "node", "status", "backup_limit", "created_at", "updated_at")
    readonly_fields = ("created_at", "updated_at")

    @admin.display(description=gettext_lazy("node"))
    def node_name(self, server: Server) -> str:
        """The name of the node that it is on."""
        return server.node.name

    @admin.display(description=gettext_lazy("backups"))
    def backups(self, server: Server) -> SafeString:
        """How many backups count towards the limit, linked to all of them."""
        page = reverse(f"{self.admin_site.name}:backups_remote_backup_changelist")
        count: int = server.counted_backups  # type: ignore[attr-defined]
        return format_html('<a href="{}?server__id__exact={}">{}</a>', page, server.pk, count)

    def get_readonly_fields(self, request: HttpRequest, obj: Server | None = None) -> list[str]:
        """The uuid is chosen once: archives are stored under it."""
        fields = [*super().get_readonly_fields(request, obj)]
        return fields if obj is None else ["uuid", *fields]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Server]:
        """With the nodes."""
        return super().get_queryset(request).prefetch_related("node")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002
        """The list that counts."""
        return ServerList

    def save_model(
        self,
        request: HttpRequest,  # noqa: ARG002
        obj: Server,
        form: ModelForm[Server],
        change: bool,
    ) -> None:
        """Save what was edited: a restore may have begun or ended meanwhile."""
        save_changed_fields(obj, form, change=change)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name a few of the backups that stand in the way, not all of them."""
        return protected_by(Backup.objects.filter(server__in=objs)) or super().get_deleted_objects(
            objs, request
        )
