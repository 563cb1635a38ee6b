"""The admin of nodes. No page shows a token, but the one that replaces it: once."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from backups_remote.admin.columns import age
from backups_remote.admin.forms import disk_field
from backups_remote.admin.node_verbs import NodeVerbsAdmin
from backups_remote.admin.protected import protected_by
from backups_remote.models import Backup, Node, Server

if TYPE_CHECKING:
    from django.db.models import Field, QuerySet
    from django.forms import Field as FormField
    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString


@admin.register(Node)
class NodeAdmin(NodeVerbsAdmin):
    """Name and URL, and how to get a token."""

    list_display = ("name", "url", "disk", "last_heard", "created_at")
    sortable_by = ("name", "url", "disk", "created_at")
    search_fields = ("name", "url")
    ordering = ("name",)
    readonly_fields = (
        "uuid",
        "token_id",
        "new_token",
        "last_heard",
        "restarted_at",
        "created_at",
        "updated_at",
    )

    @admin.display(description=gettext_lazy("new token"))
    def new_token(self, node: Node) -> SafeString:
        """The command that replaces the token and prints the new one."""
        return format_html(
            _(
                "{} replaces the token at once and prints the daemon's new configuration. The "
                "address is this panel's as the daemon reaches it: change it if it differs."
            ),
            format_html(
                '<code translate="no">{}</code>',
                _rotation_command(node, node.panel_url),  # type: ignore[attr-defined]
            ),
        )

    @admin.display(description=gettext_lazy("last heard"))
    def last_heard(self, node: Node) -> SafeString | str:
        """When the node's daemon called last."""
        return _("never") if node.heard_at is None else age(node.heard_at)

    def get_fields(self, request: HttpRequest, obj: Node | None = None) -> tuple[str, ...]:  # noqa: ARG002
        return ("name", "url", "disk", *(() if obj is None else self.readonly_fields))

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> FormField | None:
        if db_field.name == "disk":
            return disk_field(db_field, gettext_lazy("as DEFAULT_DISK"))
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        # No page needs the tokens.
        return super().get_queryset(request).defer("encrypted_token")

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Node | None:
        node = super().get_object(request, object_id, from_field)
        if node is not None:
            node.panel_url = _panel_url(request)  # type: ignore[attr-defined]
        return node

    def response_add(
        self, request: HttpRequest, obj: Node, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Say how to get a token: the one that the node was created with was never shown."""
        answer = super().response_add(request, obj, post_url_continue)
        message = format_html(
            _("To print the daemon's config.yml, once, run {}"),
            format_html(
                '<code translate="no">{}</code>', _rotation_command(obj, _panel_url(request))
            ),
        )
        self.message_user(request, message, messages.INFO)
        return answer

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse filters by the token, which could be guessed letter by letter that way."""
        if lookup.startswith("encrypted_token"):
            return False
        return super().lookup_allowed(lookup, value, request)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name a few of the servers and backups that prevent the deletion, not all."""
        return protected_by(
            Server.objects.filter(node__in=objs), Backup.objects.filter(node__in=objs)
        ) or super().get_deleted_objects(objs, request)


def _panel_url(request: HttpRequest) -> str:
    return request.build_absolute_uri("/").rstrip("/")


def _rotation_command(node: Node, panel_url: str) -> str:
    # A name that begins with a dash would read as an option.
    name = ["--", node.name] if node.name.startswith("-") else [node.name]
    return shlex.join(["manage.py", "create_node", "--rotate", "--remote", panel_url, *name])
