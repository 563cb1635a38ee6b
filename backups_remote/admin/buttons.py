"""The buttons on a backup's page: what this user may do with this backup now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from backups_remote.daemon import is_callable
from backups_remote.lifecycle.rules.deletion import has_its_disk, is_configured, is_gone
from backups_remote.models import Backup
from backups_remote.storage import get_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.contrib.admin import ModelAdmin
    from django.http import HttpRequest

_State = Backup.State
OPEN: Final = frozenset({_State.PENDING, _State.UPLOADING, _State.REPORTED})


@dataclass(frozen=True)
class Button:
    """A verb's button. With ``asks`` it leads to a confirmation, otherwise it acts at once."""

    verb: str
    label: Any
    url: str
    asks: bool
    is_warning: bool


@dataclass(frozen=True)
class _Verb:
    name: str
    label: Any
    is_possible: Callable[[Backup], bool]
    asks: bool = True
    is_warning: bool = False


def can_be_restored(backup: Backup) -> bool:
    """Whether ``backup`` is whole, and the panel calls the daemon of its server's node."""
    return (
        backup.state is _State.COMPLETED
        and is_configured(backup.disk)
        and is_callable(backup.server.node)
    )


def can_be_downloaded(backup: Backup) -> bool:
    """Whether ``backup`` is whole, and its store or its node's daemon can be linked to."""
    return (
        backup.state is _State.COMPLETED
        and is_configured(backup.disk)
        and (get_backend(backup.disk).presigned_uploads or is_callable(backup.node))
    )


def can_be_expired(backup: Backup) -> bool:
    """Whether ``backup`` is under way, or has left an upload behind."""
    left_behind = backup.state is _State.FAILED and bool(backup.upload_id)
    return has_its_disk(backup) and (backup.state in OPEN or left_behind)


def _can_be_deleted(backup: Backup) -> bool:
    return has_its_disk(backup) and backup.state not in OPEN


_VERBS: Final = (
    _Verb("restore", _("Restore"), can_be_restored, is_warning=True),
    _Verb("download", _("Download"), can_be_downloaded, asks=False),
    _Verb(
        "lock",
        _("Lock"),
        lambda backup: not backup.is_locked and backup.state in {*OPEN, _State.COMPLETED},
        asks=False,
    ),
    _Verb("unlock", _("Unlock"), lambda backup: backup.is_locked, asks=False),
    _Verb("expire", _("Expire now"), can_be_expired, is_warning=True),
    _Verb("delete", _("Delete"), _can_be_deleted, is_warning=True),
    _Verb("forget", _("Forget"), lambda backup: is_gone(backup.disk), is_warning=True),
)


def may(request: HttpRequest, verb: str) -> bool:
    """Whether the user has the permission for ``verb`` on backups."""
    return request.user.has_perm(f"backups_remote.{verb}_backup")


def offered(model_admin: ModelAdmin[Any], request: HttpRequest, backup: Backup) -> Iterator[Button]:
    """The verbs that are possible now and that the user may use, in a fixed order."""
    for verb in _VERBS:
        if may(request, verb.name) and verb.is_possible(backup):
            url = reverse(
                f"{model_admin.admin_site.name}:backups_remote_backup_{verb.name}", args=[backup.pk]
            )
            yield Button(verb.name, verb.label, url, verb.asks, verb.is_warning)
