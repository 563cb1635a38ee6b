"""Nodes. No page shows a token: ``manage.py create_node`` makes it and prints it, once."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.db import models
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from backups_remote.admin.base import NodeModelAdmin, save_changed_fields
from backups_remote.admin.protecting import protected_by
from backups_remote.models import Backup, Node, Server

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.forms import ModelForm
    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString


@admin.register(Node)
class NodeAdmin(NodeModelAdmin):
    """Name and URL, and how to come by a token."""

    list_display = ("name", "url", "created_at")
    search_fields = ("name", "url")
    ordering = ("name",)
    formfield_overrides: ClassVar = {models.URLField: {"assume_scheme": "https"}}
    readonly_fields = ("uuid", "token_id", "new_token", "created_at", "updated_at")

    @admin.display(description=gettext_lazy("new token"))
    def new_token(self, node: Node) -> SafeString:
        """The command that replaces the token and prints the new one."""
        return format_html(
            _("{} replaces the token at once and prints the daemon's new configuration."),
            format_html('<code translate="no">{}</code>', _rotation(node)),
        )

    def get_fields(self, request: HttpRequest, obj: Node | None = None) -> tuple[str, ...]:  # noqa: ARG002
        """A node that is yet to be added has nothing but what is typed."""
        return ("name", "url", *(() if obj is None else self.readonly_fields))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        """Leave the tokens where they are."""
        return super().get_queryset(request).defer("encrypted_token")

    def response_add(
        self, request: HttpRequest, obj: Node, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Say how to come by a token: nobody has seen the one that the node was born with."""
        answer = super().response_add(request, obj, post_url_continue)
        said = format_html(
            _("What goes into the daemon's config.yml is printed, once, by {}"),
            format_html('<code translate="no">{}</code>', _rotation(obj)),
        )
        self.message_user(request, said, messages.INFO)
        return answer

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


def _rotation(node: Node) -> str:
    # A name that begins with a dash would read as an option.
    name = ["--", node.name] if node.name.startswith("-") else [node.name]
    return shlex.join(["manage.py", "create_node", "--rotate", *name])
