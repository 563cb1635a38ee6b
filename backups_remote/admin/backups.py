"""The admin of backups: the list, a backup's page, and its actions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.utils.formats import number_format
from django.utils.functional import lazy
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy

from backups_remote.admin import buttons
from backups_remote.admin.base import PageAdmin, calls_lifecycle
from backups_remote.admin.changelist import BackupList, BoundedPaginator
from backups_remote.admin.columns import BackupColumns
from backups_remote.admin.deletion import DeletionAdmin
from backups_remote.admin.filters import DiskFilter, NodeFilter, StateFilter
from backups_remote.admin.forget import ForgetAdmin
from backups_remote.admin.progress import ProgressAdmin
from backups_remote.admin.search import READ_FOR_NAMES, search
from backups_remote.admin.summary import may_see_all, summary
from backups_remote.admin.timeline import timeline
from backups_remote.admin.verbs import VerbsAdmin
from backups_remote.models import Backup

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse


#: A number as the user's language writes it.
_in_groups = lazy(partial(number_format, force_grouping=True), str)


@admin.register(Backup)
class BackupAdmin(
    BackupColumns, VerbsAdmin, DeletionAdmin, ForgetAdmin, ProgressAdmin, PageAdmin[Backup]
):
    """Only a backup's name can be edited. Everything else goes through the lifecycle."""

    changelist_class = BackupList
    list_display = (
        "name_or_uuid",
        "state",
        "server_name",
        "node_name",
        "disk",
        "archive",
        "age",
        "lock_mark",
    )
    list_display_links = ("name_or_uuid",)
    list_filter = (StateFilter, DiskFilter, NodeFilter, "is_locked", "is_recovered")
    sortable_by = ("age",)
    date_hierarchy = "created_at"
    ordering = ("-created_at", "-pk")
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    # Shows the search field; get_search_results() searches.
    search_fields = ("uuid", "name", "server__name", "node__name")
    search_help_text = format_lazy(
        gettext_lazy(
            "A UUID, or part of the name of a server, a node or one of the newest {count} backups."
        ),
        count=_in_groups(READ_FOR_NAMES),
    )
    actions = ("lock", "unlock", "expire", "delete_selected")
    change_list_template = "admin/backups_remote/backup/change_list.html"
    change_form_template = "admin/backups_remote/backup/change_form.html"
    fieldsets = (
        (None, {"fields": ("name", "state", "server", "node", "uuid")}),
        (
            gettext_lazy("Archive"),
            {
                "fields": (
                    "disk",
                    "archive_size",
                    "checksum",
                    "is_locked",
                    "is_recovered",
                    "ignored",
                )
            },
        ),
        (
            gettext_lazy("Upload"),
            {"fields": ("created_at", "upload_started_at", "announced_size", "parts")},
        ),
        (
            gettext_lazy("Report and end"),
            {
                "fields": (
                    "reported_at",
                    "refused_at",
                    "refusal",
                    "failure",
                    "completed_at",
                    "deletion_started_at",
                    "deletion_refused_at",
                    "deletion_refusal",
                    "retained_until",
                    "updated_at",
                )
            },
        ),
        (
            gettext_lazy("In the store"),
            {
                "classes": ("collapse",),
                "fields": ("object_key", "object_etag", "version_id", "upload_id"),
            },
        ),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Never: a backup is started from its server's page."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Backup | None = None) -> list[str]:
        fields = flatten_fieldsets(self.get_fieldsets(request, obj))
        return [field for field in fields if field != "name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Backup]:
        # A report can have ten thousand ETags, which no page shows.
        rows = super().get_queryset(request)
        return rows.prefetch_related("server", "node").defer("reported_etags")

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[Backup],
        search_term: str,
    ) -> tuple[QuerySet[Backup], bool]:
        """Search as ``search`` does. No row is found twice."""
        return (search(queryset, search_term) if search_term.strip() else queryset), False

    def page_context(self, request: HttpRequest, backup: Backup) -> dict[str, Any]:
        return {
            "buttons": list(buttons.offered(self, request, backup)),
            **self.progress_context(request, backup),
            "timeline": timeline(self, request, backup),
        }

    @calls_lifecycle
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {
            "has_summary": may_see_all(self, request),
            # Counted only where it is shown.
            "summary": partial(summary, self, request),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})
