"""The verbs on a backup's page: restore, download, lock, unlock, expire. Each has a permission."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST

from backups_remote import lifecycle
from backups_remote.admin import actions, buttons, columns, feedback
from backups_remote.admin.base import SafeModelAdmin, calls_lifecycle
from backups_remote.admin.forms import RestoreForm
from backups_remote.admin.reasons import translated
from backups_remote.admin.selection import selected
from backups_remote.conf import app_settings
from backups_remote.daemon.config import host_to_allow
from backups_remote.exceptions import BackupsRemoteError, DaemonUnclear
from backups_remote.models import Backup
from backups_remote.storage import ceil_div

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

#: How long a link that the admin hands out is good: a browser follows it at once.
LINK_LIFESPAN: Final = dt.timedelta(minutes=5)


class VerbsAdmin(SafeModelAdmin[Backup]):
    """A page for each verb, below the backup's own; and the list's actions."""

    def get_urls(self) -> list[URLPattern]:
        views = {
            "restore": self.restore_view,
            "download": require_POST(self.download_view),
            "lock": require_POST(self.lock_view),
            "unlock": require_POST(self.unlock_view),
            "expire": self.expire_view,
        }
        pages = [
            path(
                f"<path:object_id>/{verb}/",
                self.admin_site.admin_view(view),
                name=f"backups_remote_backup_{verb}",
            )
            for verb, view in views.items()
        ]
        return [*pages, *super().get_urls()]

    def has_lock_permission(self, request: HttpRequest) -> bool:
        """Whether the user may protect backups from deletion."""
        return buttons.may(request, "lock")

    def has_unlock_permission(self, request: HttpRequest) -> bool:
        """Whether the user may let backups be deleted again."""
        return buttons.may(request, "unlock")

    def has_expire_permission(self, request: HttpRequest) -> bool:
        """Whether the user may end backups that are under way."""
        return buttons.may(request, "expire")

    def allowed(self, request: HttpRequest, object_id: str, verb: str) -> Backup | None:
        """The backup if there is one.

        Raises:
            PermissionDenied: the user may not see it, or has not the permission for ``verb``.

        """
        backup = self.get_object(request, unquote(object_id))
        if not (self.has_view_permission(request, backup) and buttons.may(request, verb)):
            raise PermissionDenied
        return backup

    # Restore

    @calls_lifecycle
    def restore_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Say what happens to the server's files, then have its daemon restore the backup."""
        backup = self.allowed(request, object_id, "restore")
        if backup is None:
            return feedback.backup_is_gone(self, request)
        refusal = _why_not_restored(backup)
        if refusal:
            return feedback.refuse(self, request, backup, refusal)
        form = RestoreForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            return self._restore(request, backup, truncate=form.cleaned_data["truncate"])
        return feedback.confirm(
            self,
            request,
            backup,
            "admin/backups_remote/backup/restore_confirmation.html",
            title=_("Restore backup"),
            form=form,
            size=columns.archive_size(backup),
            host_to_allow=host_to_allow(backup.disk),
        )

    def _restore(self, request: HttpRequest, backup: Backup, *, truncate: bool) -> HttpResponse:
        try:
            lifecycle.restore(backup, truncate=truncate)
        except DaemonUnclear as error:
            feedback.log(request, backup, _("Restore called for; the answer was not clear."))
            message = _(
                "It is not known whether the restore has begun. %(error)s Wait for the node's "
                "report; without one the restore ends after %(hours)d hours."
            ) % {
                "error": translated(error),
                "hours": ceil_div(int(app_settings.restore_timeout.total_seconds()), 3600),
            }
            self.message_user(request, message, messages.WARNING)
        except BackupsRemoteError as error:
            return feedback.refuse(self, request, backup, translated(error))
        else:
            note = _("Restore started.")
            if truncate:
                note = _("Restore started; the server's files are deleted first.")
            feedback.log(request, backup, note)
            message = _("%(backup)s is being restored onto %(server)s.") % {
                "backup": backup,
                "server": backup.server,
            }
            self.message_user(request, message, messages.SUCCESS)
        return feedback.to_page(self, backup.pk)

    # Download

    @calls_lifecycle
    @sensitive_variables("link", "answer")
    def download_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead the browser to the archive, by a link that is good for a short time."""
        backup = self.allowed(request, object_id, "download")
        if backup is None:
            return feedback.backup_is_gone(self, request)
        try:
            link = lifecycle.download_link_for_user(backup, lifespan=LINK_LIFESPAN)
        except BackupsRemoteError as error:
            return feedback.refuse(self, request, backup, translated(error))
        feedback.log(request, backup, _("Download link issued."))
        answer = HttpResponseRedirect(link)
        answer["Referrer-Policy"] = "no-referrer"
        return answer

    # Lock and unlock

    @calls_lifecycle
    def lock_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Protect one backup from deletion."""
        backup = self.allowed(request, object_id, "lock")
        if backup is None:
            return feedback.backup_is_gone(self, request)
        self._lock(request, [backup])
        return feedback.to_page(self, backup.pk)

    @calls_lifecycle
    def unlock_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let one backup be deleted again."""
        backup = self.allowed(request, object_id, "unlock")
        if backup is None:
            return feedback.backup_is_gone(self, request)
        self._unlock(request, [backup])
        return feedback.to_page(self, backup.pk)

    @admin.action(permissions=["lock"], description=gettext_lazy("Lock selected backups"))
    def lock(self, request: HttpRequest, queryset: QuerySet[Backup]) -> None:
        """Protect the selected backups from deletion."""
        self._lock(request, selected(self, request, queryset))

    @admin.action(permissions=["unlock"], description=gettext_lazy("Unlock selected backups"))
    def unlock(self, request: HttpRequest, queryset: QuerySet[Backup]) -> None:
        """Allow the selected backups to be deleted again."""
        self._unlock(request, selected(self, request, queryset))

    def _lock(self, request: HttpRequest, backups: Sequence[Backup]) -> None:
        result = actions.lock(backups)
        count = len(result.done)
        message = ngettext("%d backup was locked.", "%d backups were locked.", count) % count
        feedback.report(self, request, result, message=message, note=_("Locked."))

    def _unlock(self, request: HttpRequest, backups: Sequence[Backup]) -> None:
        result = actions.unlock(backups)
        count = len(result.done)
        message = ngettext("%d backup was unlocked.", "%d backups were unlocked.", count) % count
        feedback.report(self, request, result, message=message, note=_("Unlocked."))

    # Expire

    @calls_lifecycle
    def expire_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then end one backup that is under way."""
        backup = self.allowed(request, object_id, "expire")
        if backup is None:
            return feedback.backup_is_gone(self, request)
        if request.method != "POST":
            return self._confirm_expiry(request, [backup])
        self._expire(request, [backup])
        return feedback.to_page(self, backup.pk)

    @admin.action(permissions=["expire"], description=gettext_lazy("Expire selected backups now"))
    def expire(self, request: HttpRequest, queryset: QuerySet[Backup]) -> HttpResponse | None:
        """Ask, then complete the selected backups that are whole, and end the others."""
        backups = selected(self, request, queryset)
        if not backups:
            return None
        if "post" not in request.POST:
            return self._confirm_expiry(request, backups, by_action=True)
        self._expire(request, backups)
        return None

    def _expire(self, request: HttpRequest, backups: Sequence[Backup]) -> None:
        result = actions.expire(backups)
        count = len(result.done)
        message = ngettext("%(count)d backup: %(what)s.", "%(count)d backups: %(what)s.", count) % {
            "count": count,
            "what": result.summary(),
        }
        feedback.report(self, request, result, message=message, note=_("Expired."))

    def _confirm_expiry(
        self, request: HttpRequest, backups: Sequence[Backup], *, by_action: bool = False
    ) -> HttpResponse:
        rows = feedback.rows(backups, _why_not_expired)
        return feedback.confirm(
            self,
            request,
            None if by_action else backups[0],
            "admin/backups_remote/backup/expire_confirmation.html",
            title=_("Expire backups"),
            rows=rows,
            expirable=sum(not row["refusal"] for row in rows),
            action="expire" if by_action else "",
            action_checkbox_name=ACTION_CHECKBOX_NAME,
        )


def _why_not_expired(backup: Backup) -> str:
    return "" if buttons.can_be_expired(backup) else actions.why_not_expired(backup)


def _why_not_restored(backup: Backup) -> str:
    """Why nothing is asked at all: what ``lifecycle.restore`` would refuse in any case."""
    if backup.state is not Backup.State.COMPLETED:
        return _("Only a completed backup can be restored.")
    if unusable := actions.why_not_usable(backup.disk):
        return unusable
    if not buttons.can_be_restored(backup):
        return _("The panel does not call the daemon of the server's node.")
    if backup.server.status is not None:
        return _("The server is busy with something else.")
    return ""
