"""The backups that an action of the list was called for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.utils.translation import gettext as _

from backups_remote.admin import actions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.contrib.admin import ModelAdmin
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from backups_remote.models import Backup


def selected(
    model_admin: ModelAdmin[Any], request: HttpRequest, queryset: QuerySet[Backup]
) -> Sequence[Backup]:
    """The selected backups; none, with an error message, if they are too many for one request."""
    backups = list(queryset[: actions.MAX_SELECTED + 1])
    if len(backups) <= actions.MAX_SELECTED:
        return backups
    message = _("Nothing was done: no more than %d backups can be selected at once.")
    model_admin.message_user(request, message % actions.MAX_SELECTED, messages.ERROR)
    return []
