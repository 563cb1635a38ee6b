"""What the three admins share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin

if TYPE_CHECKING:
    from django.db.models import Model
    from django.forms import ModelForm

    from backups_remote.models import Backup, Node, Server

    # Generic for the type checker only: Django's class takes no parameter.
    BackupModelAdmin = admin.ModelAdmin[Backup]
    NodeModelAdmin = admin.ModelAdmin[Node]
    ServerModelAdmin = admin.ModelAdmin[Server]
else:
    BackupModelAdmin = NodeModelAdmin = ServerModelAdmin = admin.ModelAdmin


def save_changed_fields(obj: Model, form: ModelForm[Any], *, change: bool) -> None:
    """Save what was edited and nothing else.

    The rest of the row may have moved on since it was read: a report, a restore, a new token.
    """
    if not change:
        obj.save()
    elif form.changed_data:
        obj.save(update_fields=[*form.changed_data, "updated_at"])
