"""Starts a backup from a server's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.urls import path, reverse
from django.utils.translation import gettext as _

from backups_remote import lifecycle
from backups_remote.admin import columns, feedback
from backups_remote.admin.base import PageAdmin, calls_lifecycle
from backups_remote.admin.buttons import Button
from backups_remote.admin.forms import BackUpForm
from backups_remote.admin.reasons import translated
from backups_remote.daemon import is_callable
from backups_remote.exceptions import BackupsRemoteError, DaemonError, DaemonUnclear
from backups_remote.models import Backup, Server

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

#: How many of a server's backups its page shows.
SHOWN: Final = 10


class BackUpAdmin(PageAdmin[Server]):
    """The button "Back up now", its page, and the server's newest backups."""

    change_form_template = "admin/backups_remote/server/change_form.html"

    def get_urls(self) -> list[URLPattern]:
        page = path(
            "<path:object_id>/back-up/",
            self.admin_site.admin_view(self.back_up_view),
            name="backups_remote_server_back_up",
        )
        return [page, *super().get_urls()]

    def has_back_up_permission(self, request: HttpRequest) -> bool:
        """Whether the user may start backups."""
        return request.user.has_perm("backups_remote.back_up_server")

    @calls_lifecycle
    def back_up_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for a name and what to leave out, then have the node make a backup."""
        server = self.get_object(request, unquote(object_id))
        if not (self.has_view_permission(request, server) and self.has_back_up_permission(request)):
            raise PermissionDenied
        if server is None:
            return feedback.to_page(self, object_id)
        form = BackUpForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            answer = self._back_up(request, server, form)
            if answer is not None:
                return answer
        return feedback.confirm(
            self,
            request,
            server,
            "admin/backups_remote/server/back_up.html",
            title=_("Back up now"),
            form=form,
            counted=_counted(server),
            calls_daemon=is_callable(server.node),
        )

    def _back_up(
        self, request: HttpRequest, server: Server, form: BackUpForm
    ) -> HttpResponse | None:
        """Start it and lead to its page; None if nothing was begun, with the reason in ``form``."""
        said = form.cleaned_data
        try:
            backup = lifecycle.back_up(
                server,
                name=said["name"],
                ignored_files=said["ignored_files"],
                is_locked=said["is_locked"],
            )
        except DaemonError as error:
            if error.backup_uuid is None:
                form.add_error(None, translated(error))
                return None
            return self._explain(request, server, error, error.backup_uuid)
        except BackupsRemoteError as error:
            form.add_error(None, translated(error))
            return None
        text = _("The node is making the backup %(backup)s.")
        self.message_user(request, text % {"backup": backup}, messages.SUCCESS)
        feedback.log(request, server, _("Backup %s started.") % backup)
        return self._to_backup(request, server, backup)

    def _explain(
        self, request: HttpRequest, server: Server, error: DaemonError, uuid: UUID
    ) -> HttpResponse:
        """Say what the daemon's answer means for the backup, and lead to its page."""
        backup = Backup.written.filter(uuid=uuid).first()
        if isinstance(error, DaemonUnclear):
            text = _(
                "It is not known whether the backup has begun. %(error)s Wait for the node; "
                "if it stays silent, the sweep ends the backup."
            )
            self.message_user(request, text % {"error": translated(error)}, messages.WARNING)
            if backup is not None:
                feedback.log(request, server, _("Backup %s started.") % backup)
        else:
            text = _("The backup was not begun. %(error)s")
            self.message_user(request, text % {"error": translated(error)}, messages.ERROR)
        if backup is None:  # deleted meanwhile
            return feedback.to_page(self, server.pk)
        return self._to_backup(request, server, backup)

    def _to_backup(self, request: HttpRequest, server: Server, backup: Backup) -> HttpResponse:
        """The backup's page, or the server's for a user who may not see backups."""
        if self._may_see_backups(request):
            return feedback.to_page(self, backup.pk, Backup)
        return feedback.to_page(self, server.pk)

    def page_context(self, request: HttpRequest, server: Server) -> dict[str, Any]:
        name = self.admin_site.name
        button = Button(
            "back-up",
            _("Back up now"),
            reverse(f"{name}:backups_remote_server_back_up", args=[server.pk]),
            asks=True,
            is_warning=False,
        )
        may_back_up = self.has_back_up_permission(request) and is_callable(server.node)
        may_see = self._may_see_backups(request)
        page = reverse(f"{name}:backups_remote_backup_changelist") if may_see else ""
        newest = Backup.objects.filter(server=server).defer("reported_etags")[:SHOWN]
        return {
            "buttons": [button] if may_back_up else [],
            "backups": [_row(backup, name) for backup in newest] if may_see else [],
            "may_see_backups": may_see,
            "counted": _counted(server),
            "all_backups_url": f"{page}?server__id__exact={server.pk}",
        }

    def _may_see_backups(self, request: HttpRequest) -> bool:
        """Whether this site has backups, and the user may see them."""
        user = request.user
        return self.admin_site.is_registered(Backup) and (
            user.has_perm("backups_remote.view_backup")
            or user.has_perm("backups_remote.change_backup")
        )


def _counted(server: Server) -> str:
    """How many backups count towards the limit, such as "4 of 9"."""
    count = Backup.objects.filter(server=server).counted().order_by().count()
    if server.backup_limit is None:
        return str(count)
    return _("%(count)d of %(limit)d") % {"count": count, "limit": server.backup_limit}


def _row(backup: Backup, site: str) -> dict[str, Any]:
    return {
        "backup": backup,
        "url": reverse(f"{site}:backups_remote_backup_change", args=[backup.pk]),
        "badge": columns.state_badge(backup),
        "size": columns.archive_size(backup),
        "age": columns.age(backup.created_at),
        "lock": columns.lock_mark(backup) or "",
    }
