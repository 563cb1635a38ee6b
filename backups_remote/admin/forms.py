"""The forms of the pages that ask before something is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from backups_remote.addresses import validate_base_url
from backups_remote.admin.base import SELECT
from backups_remote.storage import configured_disks

if TYPE_CHECKING:
    from django.db.models import Field

    from backups_remote.models import Backup


class ForgetForm(forms.Form):
    """The UUID of the backup to forget, typed by hand so that it is not done by accident."""

    uuid = forms.CharField(
        label=gettext_lazy("UUID of the backup"),
        widget=forms.TextInput(attrs={"autocomplete": "off", "size": 40}),
    )

    def __init__(self, *args: Any, backup: Backup, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._backup = backup

    def clean_uuid(self) -> str:
        typed: str = self.cleaned_data["uuid"]
        try:
            is_this = UUID(typed) == self._backup.uuid
        except ValueError:
            is_this = False
        if not is_this:
            raise ValidationError(_("This is not the UUID of this backup."))
        return typed


class RestoreForm(forms.Form):
    """What happens to the server's files before the archive is unpacked."""

    truncate = forms.BooleanField(
        label=gettext_lazy("Delete all files of the server first"),
        help_text=gettext_lazy(
            "Then the server has exactly the files of the archive. Without it, files that are not "
            "in the archive stay."
        ),
        required=False,
    )


class BackUpForm(forms.Form):
    """A backup to be started."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=191,
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )
    ignored_files = forms.CharField(
        label=gettext_lazy("Ignored files"),
        help_text=gettext_lazy("Patterns of files to leave out, one per line, such as logs/*."),
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField"}),
    )
    is_locked = forms.BooleanField(
        label=gettext_lazy("Lock"),
        help_text=gettext_lazy("A locked backup is neither deleted nor rotated."),
        required=False,
    )

    def clean_ignored_files(self) -> list[str]:
        typed: str = self.cleaned_data["ignored_files"]
        return [line.strip() for line in typed.splitlines() if line.strip()]


class RotateTokenForm(forms.Form):
    """Where the daemon will find the panel."""

    remote = forms.CharField(
        label=gettext_lazy("Address of this panel"),
        help_text=gettext_lazy("As the daemon reaches it, with http:// or https://."),
        max_length=200,
        validators=[validate_base_url],
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )


def disk_field(column: Field[Any, Any], inherited: Any) -> forms.ChoiceField:
    """A choice of the configured disks; ``inherited`` says what an empty one means."""

    def disks() -> list[tuple[str, Any]]:
        return [("", inherited), *((disk, disk) for disk in configured_disks())]

    return forms.ChoiceField(
        choices=disks,
        required=False,
        label=capfirst(column.verbose_name),
        help_text=column.help_text,
        widget=SELECT,
    )
