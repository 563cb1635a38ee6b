"""The admin of servers, with the number of backups that count towards their limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import Count
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy

from backups_remote.admin.back_up import BackUpAdmin
from backups_remote.admin.base import SafeChangeList
from backups_remote.admin.filters import WithoutBackupFilter
from backups_remote.admin.forms import disk_field
from backups_remote.admin.protected import protected_by
from backups_remote.admin.reasons import translated
from backups_remote.exceptions import StatusChanged
from backups_remote.models import Backup, Server

if TYPE_CHECKING:
    from django.db.models import Field, QuerySet
    from django.forms import Field as FormField
    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString


class ServerList(SafeChangeList):
    """Counts the backups of a page's servers in one query."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        servers = list(self.result_list)
        backups = Backup.objects.filter(server__in=servers).counted().order_by()
        counts = dict(backups.values_list("server").annotate(Count("pk")))
        for server in servers:
            server.counted_backups = counts.get(server.pk, 0)
        self.result_list = servers


@admin.register(Server)
class ServerAdmin(BackUpAdmin):
    """Name, node, status and limit."""

    changelist_class = ServerList
    list_display = ("name", "node_name", "status", "disk", "backups", "backup_limit")
    list_filter = (WithoutBackupFilter,)
    search_fields = ("name", "uuid")
    sortable_by = ("name", "backup_limit")
    show_full_result_count = False
    autocomplete_fields = ("node",)
    fields = ("name", "uuid", "node", "disk", "status", "backup_limit", "created_at", "updated_at")
    readonly_fields = ("created_at", "updated_at")

    @admin.display(description=gettext_lazy("node"))
    def node_name(self, server: Server) -> str:
        return server.node.name

    @admin.display(description=gettext_lazy("backups"))
    def backups(self, server: Server) -> SafeString:
        """The number of backups that count towards the limit, linked to all backups."""
        count: int = server.counted_backups  # type: ignore[attr-defined]
        if not self.admin_site.is_registered(Backup):
            return format_html("{}", count)
        page = reverse(f"{self.admin_site.name}:backups_remote_backup_changelist")
        return format_html('<a href="{}?server__id__exact={}">{}</a>', page, server.pk, count)

    def get_readonly_fields(self, request: HttpRequest, obj: Server | None = None) -> list[str]:
        """The uuid cannot be changed: archives are stored under it."""
        fields = [*super().get_readonly_fields(request, obj)]
        return fields if obj is None else ["uuid", *fields]

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> FormField | None:
        if db_field.name == "disk":
            return disk_field(db_field, gettext_lazy("that of its node"))
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Server]:
        return super().get_queryset(request).prefetch_related("node")

    def change_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the row anew if its status changed while the form was filled in."""
        try:
            return super().change_view(request, *args, **kwargs)
        except StatusChanged as error:
            self.message_user(request, translated(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name a few of the backups that prevent the deletion, not all."""
        return protected_by(Backup.objects.filter(server__in=objs)) or super().get_deleted_objects(
            objs, request
        )
