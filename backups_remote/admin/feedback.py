"""Tells the user what was done, logs it, and leads back to the list or to an object's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from backups_remote.admin import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.contrib.admin import ModelAdmin
    from django.db.models import Model
    from django.http import HttpRequest, HttpResponse

    from backups_remote.admin.actions import ActionResult
    from backups_remote.models import Backup


def report(
    model_admin: ModelAdmin[Any],
    request: HttpRequest,
    result: ActionResult,
    *,
    message: str,
    note: str,
    flag: int = CHANGE,
) -> None:
    """Log what was done, and show ``message`` and the warnings about what was not."""
    if result.done:
        LogEntry.objects.log_actions(cast("int", request.user.pk), result.done, flag, note)
        model_admin.message_user(request, message, messages.SUCCESS)
    for warning in result.warnings():
        model_admin.message_user(request, warning, messages.WARNING)


def log(request: HttpRequest, obj: Model, note: str, *, flag: int = CHANGE) -> None:
    """Note in the admin's log what was done with one object."""
    user = cast("int", request.user.pk)
    LogEntry.objects.log_actions(user, [obj], flag, note, single_object=True)


def backup_is_gone(model_admin: ModelAdmin[Any], request: HttpRequest) -> HttpResponse:
    """Say that there is no such backup, and lead to the list."""
    message = _("This backup does not exist; it may have been deleted.")
    model_admin.message_user(request, message, messages.WARNING)
    return to_list(model_admin)


def refuse(
    model_admin: ModelAdmin[Any], request: HttpRequest, backup: Backup, reason: str
) -> HttpResponse:
    """Say why nothing was done for ``backup``, and lead to its page."""
    message = _("Not done: %(backups)s. %(reason)s") % {"backups": backup, "reason": reason}
    model_admin.message_user(request, message, messages.WARNING)
    return to_page(model_admin, backup.pk)


def confirm(
    model_admin: ModelAdmin[Any],
    request: HttpRequest,
    obj: Model | None,
    template: str,
    *,
    title: str,
    **context: Any,
) -> HttpResponse:
    """A page that asks before anything is done, about ``obj`` or several objects of a list.

    Its "no" leads back to the object's page, or to the list as it was filtered.
    """
    opts = model_admin.opts
    name = _page_name(model_admin.admin_site.name, model_admin.model)
    back_url = request.get_full_path() if obj is None else reverse(name, args=[obj.pk])
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(
        request,
        template,
        {
            **model_admin.admin_site.each_context(request),
            "title": title,
            "opts": opts,
            "original": obj,
            "back_url": back_url,
            **context,
        },
    )


def rows(backups: Iterable[Backup], why_not: Callable[[Backup], str]) -> list[dict[str, Any]]:
    """The rows of ``backup/rows.html``, each with the reason why its backup is left out."""
    return [
        {
            "backup": backup,
            "badge": columns.state_badge(backup),
            "size": columns.archive_size(backup),
            "refusal": why_not(backup),
        }
        for backup in backups
    ]


def to_list(model_admin: ModelAdmin[Any]) -> HttpResponse:
    """Redirect to the list of backups."""
    page = reverse(f"{model_admin.admin_site.name}:backups_remote_backup_changelist")
    return HttpResponseRedirect(page)


def to_page(
    model_admin: ModelAdmin[Any], key: object, model: type[Model] | None = None
) -> HttpResponse:
    """Redirect to the page of the object with this key, of the admin's model unless one is named.

    Where there is none, Django's page says so.
    """
    site = model_admin.admin_site.name
    return HttpResponseRedirect(reverse(_page_name(site, model or model_admin.model), args=[key]))


def _page_name(site: str, model: type[Model]) -> str:
    return f"{site}:{model._meta.app_label}_{model._meta.model_name}_change"  # noqa: SLF001
