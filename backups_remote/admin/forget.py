"""Forgets a backup whose disk is not configured any more: deletes its row, not its archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.admin.models import DELETION
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.urls import path
from django.utils.translation import gettext as _

from backups_remote import lifecycle
from backups_remote.admin import actions, feedback
from backups_remote.admin.base import SafeModelAdmin, calls_lifecycle
from backups_remote.admin.forms import ForgetForm
from backups_remote.admin.reasons import translated
from backups_remote.exceptions import BackupNotFound, BackupsRemoteError
from backups_remote.models import Backup

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern


class ForgetAdmin(SafeModelAdmin[Backup]):
    """The page that forgets a backup."""

    def get_urls(self) -> list[URLPattern]:
        forget = path(
            "<path:object_id>/forget/",
            self.admin_site.admin_view(self.forget_view),
            name="backups_remote_backup_forget",
        )
        return [forget, *super().get_urls()]

    def has_forget_permission(self, request: HttpRequest) -> bool:
        """Whether the user may delete rows and leave their archives behind."""
        return request.user.has_perm("backups_remote.forget_backup")

    @calls_lifecycle
    def forget_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the backup's UUID, then delete its row."""
        backup = self.get_object(request, unquote(object_id))
        if not (self.has_view_permission(request, backup) and self.has_forget_permission(request)):
            raise PermissionDenied
        if backup is None:
            return feedback.backup_is_gone(self, request)
        refusal = actions.why_not_forgotten(backup)
        if refusal:
            return feedback.refuse(self, request, backup, refusal)
        form = ForgetForm(request.POST if request.method == "POST" else None, backup=backup)
        if form.is_valid():
            return self._forget(request, backup)
        return feedback.confirm(
            self,
            request,
            backup,
            "admin/backups_remote/backup/forget_confirmation.html",
            title=_("Forget this backup"),
            backup=backup,
            form=form,
        )

    def _forget(self, request: HttpRequest, backup: Backup) -> HttpResponse:
        key = backup.pk
        try:
            lifecycle.forget_backup(backup)
        except BackupNotFound:
            return feedback.backup_is_gone(self, request)
        except BackupsRemoteError as error:
            return feedback.refuse(self, request, backup, translated(error))
        backup.pk = key  # deleting the row has unset it; the log refers to it
        note = _("Forgotten; its archive, if any, was left on the disk %s.") % backup.disk
        feedback.log(request, backup, note, flag=DELETION)
        self.message_user(request, _("%s was forgotten.") % backup, messages.SUCCESS)
        return feedback.to_list(self)
