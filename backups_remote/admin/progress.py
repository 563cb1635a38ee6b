"""What is going on with a backup: how much of it has arrived, or what is waited for.

Loading the page calls no store, so that it appears at once even if a store does not answer. A
small script asks this view for the numbers, and keeps asking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from backups_remote import lifecycle
from backups_remote.admin import buttons, times
from backups_remote.admin.base import SafeModelAdmin, calls_lifecycle
from backups_remote.admin.reasons import translated
from backups_remote.exceptions import BackupsRemoteError
from backups_remote.models import Backup

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from backups_remote.types import UploadProgress

_State = Backup.State


@dataclass(frozen=True)
class Progress:
    """What the box shows: a text, and a bar where ``of`` is known, in bytes."""

    text: str
    done: int = 0
    of: int | None = None
    problem: str = ""

    @property
    def percent(self) -> str:
        """How much is done, for what shows no bar."""
        return f"{100 * self.done // self.of} %" if self.of else ""


class ProgressAdmin(SafeModelAdmin[Backup]):
    """The box on the backup's page, and the view that it is refreshed from."""

    def get_urls(self) -> list[URLPattern]:
        page = path(
            "<path:object_id>/progress/",
            self.admin_site.admin_view(require_safe(self.progress_view)),
            name="backups_remote_backup_progress",
        )
        return [page, *super().get_urls()]

    @calls_lifecycle
    def progress_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The content of the box; the header tells the state that it is about."""
        backup = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, backup):
            raise PermissionDenied
        if backup is None:
            answer = TemplateResponse(request, "admin/backups_remote/backup/progress.html", {})
            answer["X-Backup-State"] = "gone"
            return answer
        context = {"progress": progress_of(backup, look=True)}
        answer = TemplateResponse(request, "admin/backups_remote/backup/progress.html", context)
        answer["X-Backup-State"] = state_of(backup)
        return answer

    def progress_context(self, request: HttpRequest, backup: Backup) -> dict[str, Any]:
        """What the page needs for the box."""
        return {
            "is_under_way": is_under_way(backup),
            "progress": progress_of(backup, look="look" in request.GET),
            "progress_state": state_of(backup),
            "progress_url": reverse(
                f"{self.admin_site.name}:backups_remote_backup_progress", args=[backup.pk]
            ),
        }


def is_under_way(backup: Backup) -> bool:
    """Whether something is going on with ``backup`` that will change its page."""
    return backup.state in {*buttons.OPEN, _State.DELETING} or _is_being_restored(backup)


def state_of(backup: Backup) -> str:
    """Changes whenever the page has to be loaded again."""
    restoring = "restoring" if _is_being_restored(backup) else ""
    return f"{backup.state.value} {restoring}".strip()


def progress_of(backup: Backup, *, look: bool) -> Progress | None:
    """What is going on; None if nothing is. With ``look``, the store is asked about an upload."""
    state = backup.state
    if state is _State.PENDING:
        return Progress(_("Waiting for the node to begin the upload."))
    if state is _State.UPLOADING:
        return _upload(backup, look=look)
    if state is _State.REPORTED:
        return Progress(_("The store is putting the parts together."))
    if state is _State.DELETING:
        return Progress(_("The archive is being deleted."))
    if _is_being_restored(backup):
        return Progress(_("The node is restoring the backup onto its server."))
    return None


def _is_being_restored(backup: Backup) -> bool:
    server = backup.server
    return server.is_restoring and server.restoring_backup_id == backup.pk


def _upload(backup: Backup, *, look: bool) -> Progress:
    waiting = Progress(_("The node is uploading the archive."))
    if not look:
        return waiting
    try:
        seen = lifecycle.upload_progress(backup)
    except BackupsRemoteError as error:
        problem = _("The store does not tell how much has arrived: %(error)s")
        return Progress(waiting.text, problem=problem % {"error": translated(error)})
    if seen is None:
        return waiting
    return Progress(_in_words(seen), seen.size, seen.expected_size)


def _in_words(seen: UploadProgress) -> str:
    """Such as "37 of 120 parts, 4.6 GB of 15 GB; the last one 20 seconds ago."."""
    values: dict[str, Any] = {
        "parts": number_format(seen.parts),
        "size": filesizeformat(seen.size),
        "ago": "" if seen.last_part_at is None else times.ago(seen.last_part_at),
    }
    if seen.last_part_at is None:
        return _("No part has arrived yet.")
    if seen.expected_parts is None or seen.expected_size is None:
        return (
            ngettext(
                "%(parts)s part, %(size)s, has arrived; the last one %(ago)s.",
                "%(parts)s parts, %(size)s, have arrived; the last one %(ago)s.",
                seen.parts,
            )
            % values
        )
    values["of_parts"] = number_format(seen.expected_parts)
    values["of_size"] = filesizeformat(seen.expected_size)
    return (
        ngettext(
            "%(parts)s of %(of_parts)s part, %(size)s of %(of_size)s, has arrived; the last one "
            "%(ago)s.",
            "%(parts)s of %(of_parts)s parts, %(size)s of %(of_size)s, have arrived; the last one "
            "%(ago)s.",
            seen.expected_parts,
        )
        % values
    )
