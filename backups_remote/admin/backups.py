"""Backups: looked at, named, and handled by the lifecycle's verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from backups_remote import lifecycle
from backups_remote.admin import acting, display
from backups_remote.admin.base import (
    BackupModelAdmin,
    outside_of_transactions,
    save_changed_fields,
)
from backups_remote.admin.filters import DiskFilter, NodeFilter, StateFilter
from backups_remote.admin.listing import BackupList, BoundedPaginator
from backups_remote.admin.searching import READ_FOR_NAMES, search
from backups_remote.models import Backup
from backups_remote.storage import ceil_div

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.contrib.admin.views.main import ChangeList
    from django.db.models import QuerySet
    from django.forms import ModelForm
    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString


@admin.register(Backup)
class BackupAdmin(BackupModelAdmin):
    """The list, a backup's page, and what can be done to backups."""

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
    # Has the search field shown; get_search_results() does the searching.
    search_fields = ("uuid", "name", "server__name", "node__name")
    search_help_text = format_lazy(
        gettext_lazy(
            "A UUID, or part of the name of a server, a node or one of the newest {count} backups."
        ),
        count=f"{READ_FOR_NAMES:,}",
    )
    actions = ("lock", "unlock", "expire", "delete_selected")
    change_list_template = "admin/backups_remote/backup/change_list.html"
    delete_confirmation_template = "admin/backups_remote/backup/delete_confirmation.html"
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
            {"fields": ("reported_at", "completed_at", "deletion_started_at", "updated_at")},
        ),
        (
            gettext_lazy("In the store"),
            {"classes": ("collapse",), "fields": ("object_key", "version_id", "upload_id")},
        ),
    )

    class Media:
        css: ClassVar = {"all": ("backups_remote/admin.css",)}

    # What is shown

    @admin.display(description=gettext_lazy("name"))
    def name_or_uuid(self, backup: Backup) -> str:
        """The name, or the uuid of a backup that has none."""
        return str(backup)

    @admin.display(description=gettext_lazy("state"))
    def state(self, backup: Backup) -> SafeString:
        """The badge."""
        return display.state_badge(backup)

    @admin.display(description=gettext_lazy("server"))
    def server_name(self, backup: Backup) -> str:
        """The server's name."""
        return backup.server.name

    @admin.display(description=gettext_lazy("node"))
    def node_name(self, backup: Backup) -> str:
        """The name of the node that makes it."""
        return backup.node.name

    @admin.display(description=gettext_lazy("size"))
    def archive(self, backup: Backup) -> SafeString | str | None:
        """The size for people."""
        return display.archive_size(backup)

    @admin.display(description=gettext_lazy("age"), ordering="created_at")
    def age(self, backup: Backup) -> SafeString:
        """How long ago it was wished for."""
        return display.age(backup.created_at)

    @admin.display(description=gettext_lazy("lock"), empty_value="")
    def lock_mark(self, backup: Backup) -> SafeString | None:
        """A mark on locked backups only."""
        return display.lock_mark(backup)

    @admin.display(description=gettext_lazy("size"))
    def archive_size(self, backup: Backup) -> str:
        """The archive's size, to the byte."""
        return display.exact_size(backup.size or None) or self.get_empty_value_display()

    @admin.display(description=gettext_lazy("announced size"))
    def announced_size(self, backup: Backup) -> str:
        """The size that its node announced, to the byte."""
        return display.exact_size(backup.upload_size) or self.get_empty_value_display()

    @admin.display(description=gettext_lazy("parts"))
    def parts(self, backup: Backup) -> str:
        """How many parts of which size."""
        if backup.upload_size is None or not backup.part_size:
            return self.get_empty_value_display()
        return _("%(count)d of up to %(size)s") % {
            "count": ceil_div(backup.upload_size, backup.part_size),
            "size": display.exact_size(backup.part_size),
        }

    @admin.display(description=gettext_lazy("ignored files"))
    def ignored(self, backup: Backup) -> SafeString:
        """One pattern a line."""
        return display.lines(backup.ignored_files) or self.get_empty_value_display()

    # Who may do what

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Backups are wished for by the panel, which also tells the daemon."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Backup | None = None) -> list[str]:
        """Everything but the name."""
        fields = flatten_fieldsets(self.get_fieldsets(request, obj))
        return [field for field in fields if field != "name"]

    # How rows are read and saved

    def get_queryset(self, request: HttpRequest) -> QuerySet[Backup]:
        """Leave a report's ETags, of which there may be ten thousand, where they are."""
        rows = super().get_queryset(request)
        return rows.prefetch_related("server", "node").defer("reported_etags")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002
        """The list that stays quick."""
        return BackupList

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[Backup],
        search_term: str,
    ) -> tuple[QuerySet[Backup], bool]:
        """Search as ``searching`` says; no row is found twice."""
        return (search(queryset, search_term) if search_term.strip() else queryset), False

    def save_model(
        self,
        request: HttpRequest,  # noqa: ARG002
        obj: Backup,
        form: ModelForm[Backup],
        change: bool,
    ) -> None:
        """Save the name alone."""
        save_changed_fields(obj, form, change=change)

    # The pages that call the lifecycle

    @outside_of_transactions
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list and its actions."""
        return super().changelist_view(request, extra_context)

    @outside_of_transactions
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask, then have the lifecycle delete it."""
        backup = self.get_object(request, unquote(object_id))
        if not self.has_delete_permission(request, backup):
            raise PermissionDenied
        if backup is None:
            said = _("This backup does not exist; it may have been deleted.")
            self.message_user(request, said, messages.WARNING)
            return self._to_list()
        if request.method != "POST":
            return self._ask_before_deleting(request, [backup], extra_context)
        if self._delete(request, [backup]).done:
            return self._to_list()
        page = reverse(f"{self.admin_site.name}:backups_remote_backup_change", args=[object_id])
        return HttpResponseRedirect(page)

    def delete_model(self, request: HttpRequest, obj: Backup) -> None:  # noqa: ARG002
        """Delete through the lifecycle, whoever calls this."""
        lifecycle.delete_backup(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Backup]) -> None:
        """Delete through the lifecycle, whoever calls this."""
        for backup in queryset:
            self.delete_model(request, backup)

    # What can be done

    @admin.action(permissions=["change"], description=gettext_lazy("Lock selected backups"))
    def lock(self, request: HttpRequest, queryset: QuerySet[Backup]) -> None:
        """Protect them from deletion."""
        tally = acting.lock(self._chosen(request, queryset))
        count = len(tally.done)
        said = ngettext("%d backup was locked.", "%d backups were locked.", count) % count
        self._conclude(request, tally, said=said, note=_("Locked."))

    @admin.action(permissions=["change"], description=gettext_lazy("Unlock selected backups"))
    def unlock(self, request: HttpRequest, queryset: QuerySet[Backup]) -> None:
        """Let them be deleted again."""
        tally = acting.unlock(self._chosen(request, queryset))
        count = len(tally.done)
        said = ngettext("%d backup was unlocked.", "%d backups were unlocked.", count) % count
        self._conclude(request, tally, said=said, note=_("Unlocked."))

    @admin.action(
        permissions=["change"],
        description=gettext_lazy("Expire selected backups now"),
    )
    def expire(self, request: HttpRequest, queryset: QuerySet[Backup]) -> None:
        """Bring them to their end now: complete what is whole, abort the rest."""
        tally = acting.expire(self._chosen(request, queryset))
        count = len(tally.done)
        said = ngettext("%(count)d backup: %(what)s.", "%(count)d backups: %(what)s.", count) % {
            "count": count,
            "what": tally.in_words(),
        }
        self._conclude(request, tally, said=said, note=_("Expired."))

    @admin.action(permissions=["delete"], description=gettext_lazy("Delete selected backups"))
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[Backup]
    ) -> HttpResponse | None:
        """Ask, then have the lifecycle delete them; in place of Django's action of this name."""
        backups = self._chosen(request, queryset)
        if not backups:
            return None
        if "post" not in request.POST:
            return self._ask_before_deleting(request, backups, {"by_action": True})
        self._delete(request, backups)
        return None

    def _to_list(self) -> HttpResponse:
        page = reverse(f"{self.admin_site.name}:backups_remote_backup_changelist")
        return HttpResponseRedirect(page)

    def _chosen(self, request: HttpRequest, queryset: QuerySet[Backup]) -> Sequence[Backup]:
        """The backups to act on; none if they are more than one request should take."""
        backups = list(queryset[: acting.AT_ONCE + 1])
        if len(backups) <= acting.AT_ONCE:
            return backups
        said = _("Nothing was done: no more than %d backups can be selected at once.")
        self.message_user(request, said % acting.AT_ONCE, messages.ERROR)
        return []

    def _delete(self, request: HttpRequest, backups: Sequence[Backup]) -> acting.Tally:
        keys = {backup.uuid: backup.pk for backup in backups}
        tally = acting.delete(backups)
        for backup in tally.done:
            # Gone with the row; the log refers to it.
            backup.pk = keys[backup.uuid]
        count = len(tally.done)
        said = ngettext("%d backup was deleted.", "%d backups were deleted.", count) % count
        self._conclude(request, tally, said=said, note="", flag=DELETION)
        return tally

    def _conclude(
        self,
        request: HttpRequest,
        tally: acting.Tally,
        *,
        said: str,
        note: str,
        flag: int = CHANGE,
    ) -> None:
        """Log what was done, and say it along with what was not."""
        if tally.done:
            LogEntry.objects.log_actions(cast("int", request.user.pk), tally.done, flag, note)
            self.message_user(request, said, messages.SUCCESS)
        for complaint in tally.complaints():
            self.message_user(request, complaint, messages.WARNING)

    def _ask_before_deleting(
        self,
        request: HttpRequest,
        backups: Sequence[Backup],
        extra_context: dict[str, Any] | None,
    ) -> HttpResponse:
        rows = [
            {
                "backup": backup,
                "badge": display.state_badge(backup),
                "size": display.archive_size(backup),
                "refusal": acting.why_not_deletable(backup),
                "stays_on_node": acting.stays_on_node(backup),
            }
            for backup in backups
        ]
        context = {
            **self.admin_site.each_context(request),
            "title": _("Delete backups"),
            "opts": self.opts,
            "media": self.media,
            "rows": rows,
            "deletable": sum(not row["refusal"] for row in rows),
            "staying": any(row["stays_on_node"] for row in rows),
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.delete_confirmation_template, context)
