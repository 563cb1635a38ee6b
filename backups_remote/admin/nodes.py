"""Nodes. A token is shown once, by what makes it: ``manage.py create_node`` or ``token_view``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from backups_remote.admin.base import NodeModelAdmin, save_changed_fields
from backups_remote.admin.protecting import protected_by
from backups_remote.models import Backup, Node, Server

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.forms import ModelForm
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern


@admin.register(Node)
class NodeAdmin(NodeModelAdmin):
    """Name and URL, and a new token on demand."""

    list_display = ("name", "url", "created_at")
    search_fields = ("name", "url")
    ordering = ("name",)
    formfield_overrides: ClassVar = {models.URLField: {"assume_scheme": "https"}}
    fields = ("name", "url", "uuid", "token_id", "created_at", "updated_at")
    readonly_fields = ("uuid", "token_id", "created_at", "updated_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        """Leave the tokens where they are."""
        return super().get_queryset(request).defer("encrypted_token")

    def get_urls(self) -> list[URLPattern]:
        """With the page that makes a new token."""
        token = path(
            "<path:object_id>/token/",
            self.admin_site.admin_view(self.token_view),
            name="backups_remote_node_token",
        )
        return [token, *super().get_urls()]

    @sensitive_variables()
    def token_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then replace the token and show the new one in this very answer.

        It goes no other way: not through a message, the session, the history or a redirect, and
        no browser keeps the page. Loading it again makes another token.
        """
        node = self.get_object(request, unquote(object_id))
        if node is None:
            raise Http404
        if not self.has_change_permission(request, node):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": _("New token"),
            "opts": self.opts,
            "node": node,
        }
        if request.method == "POST":
            node.rotate_token()
            self.log_change(request, node, _("Token replaced."))
            context |= {"token": node.token, "remote": request.build_absolute_uri("/").rstrip("/")}
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/backups_remote/node/token.html", context)

    def response_add(
        self, request: HttpRequest, obj: Node, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Go on to the token: nobody has seen the one that the node was born with."""
        answer = super().response_add(request, obj, post_url_continue)
        if IS_POPUP_VAR in request.POST or not self.has_change_permission(request, obj):
            return answer
        page = reverse(f"{self.admin_site.name}:backups_remote_node_token", args=[obj.pk])
        return HttpResponseRedirect(page)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse to filter by what is not shown: it could be guessed a letter at a time."""
        if lookup.startswith("encrypted_token"):
            return False
        return super().lookup_allowed(lookup, value, request)

    def save_model(
        self,
        request: HttpRequest,  # noqa: ARG002
        obj: Node,
        form: ModelForm[Node],
        change: bool,
    ) -> None:
        """Save what was edited: the token may have been rotated meanwhile."""
        save_changed_fields(obj, form, change=change)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name a few of the servers and backups that stand in the way, not all of them."""
        return protected_by(
            Server.objects.filter(node__in=objs), Backup.objects.filter(node__in=objs)
        ) or super().get_deleted_objects(objs, request)
