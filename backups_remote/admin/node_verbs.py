"""The verbs on a node's page: replace its token, and ask whether its daemon answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST

from backups_remote.admin import feedback
from backups_remote.admin.base import PageAdmin, calls_lifecycle
from backups_remote.admin.buttons import Button
from backups_remote.admin.forms import RotateTokenForm
from backups_remote.admin.reasons import translated
from backups_remote.daemon import get_daemon
from backups_remote.daemon.config import config_of
from backups_remote.exceptions import DaemonError
from backups_remote.models import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern


class NodeVerbsAdmin(PageAdmin[Node]):
    """The buttons, and the pages that they lead to."""

    change_form_template = "admin/backups_remote/node/change_form.html"

    def get_urls(self) -> list[URLPattern]:
        views = {
            "rotate_token": self.rotate_token_view,
            "probe": require_POST(self.probe_view),
        }
        pages = [
            path(
                f"<path:object_id>/{verb.replace('_', '-')}/",
                self.admin_site.admin_view(view),
                name=f"backups_remote_node_{verb}",
            )
            for verb, view in views.items()
        ]
        return [*pages, *super().get_urls()]

    def has_rotate_token_permission(self, request: HttpRequest) -> bool:
        """Whether the user may replace tokens, and so see new ones."""
        return request.user.has_perm("backups_remote.rotate_node_token")

    def has_probe_permission(self, request: HttpRequest) -> bool:
        """Whether the user may have the panel call daemons."""
        return request.user.has_perm("backups_remote.probe_node")

    def page_context(self, request: HttpRequest, node: Node) -> dict[str, Any]:
        return {"buttons": list(self._buttons(request, node))}

    def _buttons(self, request: HttpRequest, node: Node) -> Iterator[Button]:
        def url(verb: str) -> str:
            return reverse(f"{self.admin_site.name}:backups_remote_node_{verb}", args=[node.pk])

        if self.has_probe_permission(request):
            label = gettext_lazy("Daemon reachable?")
            yield Button("probe", label, url("probe"), asks=False, is_warning=False)
        if self.has_rotate_token_permission(request):
            label = gettext_lazy("Replace token")
            yield Button("rotate-token", label, url("rotate_token"), asks=True, is_warning=True)

    def _allowed(self, request: HttpRequest, object_id: str, *, may: bool) -> Node | None:
        node = self.get_object(request, unquote(object_id))
        if not (self.has_view_permission(request, node) and may):
            raise PermissionDenied
        return node

    # Error mails contain local variables: here the new token.
    @sensitive_variables()
    def rotate_token_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then replace the token and show the daemon's new configuration, this once."""
        may = self.has_rotate_token_permission(request)
        node = self._allowed(request, object_id, may=may)
        if node is None:
            return feedback.to_page(self, object_id)
        form = RotateTokenForm(
            request.POST if request.method == "POST" else None,
            initial={"remote": request.build_absolute_uri("/").rstrip("/")},
        )
        if not form.is_valid():
            template = "admin/backups_remote/node/rotate_token.html"
            return feedback.confirm(
                self, request, node, template, title=_("Replace token"), form=form
            )
        node.rotate_token()
        feedback.log(request, node, _("Token replaced."))
        return feedback.confirm(
            self,
            request,
            node,
            "admin/backups_remote/node/new_token.html",
            title=_("New token"),
            config=config_of(node, form.cleaned_data["remote"]),
        )

    @calls_lifecycle
    def probe_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask whether the daemon answers, and show the result."""
        node = self._allowed(request, object_id, may=self.has_probe_permission(request))
        if node is None:
            return feedback.to_page(self, object_id)
        started = time.monotonic()
        try:
            version = get_daemon(node).probe()
        except DaemonError as error:
            self.message_user(request, translated(error), messages.ERROR)
        else:
            values = {
                "node": node,
                "version": version,
                "milliseconds": round((time.monotonic() - started) * 1000),
            }
            text = (
                _(
                    "The daemon of %(node)s, version %(version)s, answered within "
                    "%(milliseconds)d ms and takes this panel's token."
                )
                if version
                else _(
                    "The daemon of %(node)s answered within %(milliseconds)d ms and takes this "
                    "panel's token."
                )
            )
            self.message_user(request, text % values, messages.SUCCESS)
        return feedback.to_page(self, node.pk)
