"""Deletes backups from the admin: after a confirmation, through the lifecycle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import DELETION
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from backups_remote import lifecycle
from backups_remote.admin import actions, feedback
from backups_remote.admin.base import SafeModelAdmin, calls_lifecycle
from backups_remote.admin.selection import selected
from backups_remote.lifecycle.rules.deletion import has_its_disk
from backups_remote.models import Backup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from backups_remote.admin.actions import ActionResult


class DeletionAdmin(SafeModelAdmin[Backup]):
    """The page that deletes a backup, and the action that deletes the selected ones."""

    delete_confirmation_template = "admin/backups_remote/backup/delete_confirmation.html"

    @calls_lifecycle
    def delete_view(
        self,
        request: HttpRequest,
        object_id: str,
        extra_context: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> HttpResponse:
        backup = self.get_object(request, unquote(object_id))
        if not self.has_delete_permission(request, backup):
            raise PermissionDenied
        if backup is None:
            return feedback.backup_is_gone(self, request)
        if request.method != "POST":
            return self._confirm_deletion(request, [backup])
        if self._delete(request, [backup]).done:
            return feedback.to_list(self)
        return feedback.to_page(self, object_id)

    def delete_model(self, request: HttpRequest, obj: Backup) -> None:  # noqa: ARG002
        lifecycle.delete_backup(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Backup]) -> None:
        for backup in queryset:
            self.delete_model(request, backup)

    @admin.action(permissions=["delete"], description=gettext_lazy("Delete selected backups"))
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[Backup]
    ) -> HttpResponse | None:
        """Replaces Django's action of this name."""
        backups = selected(self, request, queryset)
        if not backups:
            return None
        if "post" not in request.POST:
            return self._confirm_deletion(request, backups, by_action=True)
        self._delete(request, backups)
        return None

    def _delete(self, request: HttpRequest, backups: Sequence[Backup]) -> ActionResult:
        keys = {backup.uuid: backup.pk for backup in backups}
        result = actions.delete(backups)
        for backup in result.done:
            # Deleting the row has unset it; the log refers to it.
            backup.pk = keys[backup.uuid]
        # A row that is still there waits for the report of its node.
        waiting = Backup.objects.filter(pk__in=[backup.pk for backup in result.done]).count()
        messages = []
        if count := len(result.done) - waiting:
            messages.append(
                ngettext("%d backup was deleted.", "%d backups were deleted.", count) % count
            )
        if waiting:
            messages.append(
                ngettext(
                    "%d backup is being deleted by its node.",
                    "%d backups are being deleted by their nodes.",
                    waiting,
                )
                % waiting
            )
        message = " ".join(messages)
        feedback.report(self, request, result, message=message, note="", flag=DELETION)
        return result

    def _confirm_deletion(
        self, request: HttpRequest, backups: Sequence[Backup], *, by_action: bool = False
    ) -> HttpResponse:
        rows = feedback.rows(backups, actions.why_not_deleted)
        return feedback.confirm(
            self,
            request,
            None if by_action else backups[0],
            self.delete_confirmation_template,
            title=_("Delete backups"),
            rows=rows,
            unconfigured=not all(map(has_its_disk, backups)),
            deletable=sum(not row["refusal"] for row in rows),
            staying=any(actions.stays_on_node(backup) for backup in backups),
            action="delete_selected" if by_action else "",
            action_checkbox_name=ACTION_CHECKBOX_NAME,
        )
