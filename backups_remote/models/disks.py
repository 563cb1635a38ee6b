"""Which disk a new backup goes to, and what a row may name."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from backups_remote.conf import app_settings
from backups_remote.storage import configured_disks


def choose_disk(*, server: str, node: str) -> str:
    """The disk of a new backup that names none: its server's, its node's, or the default."""
    return server or node or app_settings.default_disk


def validate_disk(disk: str) -> None:
    """An alias that a storage backend serves, or empty.

    Raises:
        ValidationError: there is no such disk; the message names those that there are.

    """
    disks = configured_disks()
    if disk and disk not in disks:
        message = _("There is no disk %(disk)s. Disks are: %(disks)s.")
        raise ValidationError(message, "disk", {"disk": disk, "disks": ", ".join(disks)})
