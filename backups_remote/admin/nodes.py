"""Nodes. Their tokens are on no page: ``manage.py create_node`` prints one, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.db import models

from backups_remote.admin.base import NodeModelAdmin, save_changed_fields
from backups_remote.admin.protecting import protected_by
from backups_remote.models import Backup, Node, Server

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.forms import ModelForm
    from django.http import HttpRequest


@admin.register(Node)
class NodeAdmin(NodeModelAdmin):
    """Name and URL; adding one is the command's business."""

    list_display = ("name", "url", "created_at")
    search_fields = ("name", "url")
    ordering = ("name",)
    formfield_overrides: ClassVar = {models.URLField: {"assume_scheme": "https"}}
    fields = ("name", "url", "uuid", "token_id", "created_at", "updated_at")
    readonly_fields = ("uuid", "token_id", "created_at", "updated_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        """Leave the tokens where they are."""
        return super().get_queryset(request).defer("encrypted_token")

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """A node's token can be read when the command makes it, and never again."""
        return False

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
