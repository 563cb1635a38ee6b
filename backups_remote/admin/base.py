"""What the three admins share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import admin
from django.db import connections, transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import Model
    from django.forms import ModelForm

    from backups_remote.models import Backup, Node, Server

    # Generic for the type checker only: Django's class takes no parameter.
    BackupModelAdmin = admin.ModelAdmin[Backup]
    NodeModelAdmin = admin.ModelAdmin[Node]
    ServerModelAdmin = admin.ModelAdmin[Server]
else:
    BackupModelAdmin = NodeModelAdmin = ServerModelAdmin = admin.ModelAdmin

V = TypeVar("V", bound="Callable[..., Any]")


def outside_of_transactions(view: V) -> V:
    """Keep ATOMIC_REQUESTS off ``view``: no transaction may be open while a store is called."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def save_changed_fields(obj: Model, form: ModelForm[Any], *, change: bool) -> None:
    """Save what was edited and nothing else.

    The rest of the row may have moved on since it was read: a report, a restore, a new token.
    """
    if not change:
        obj.save()
    elif form.changed_data:
        obj.save(update_fields=[*form.changed_data, "updated_at"])
