"""How a backup is shown: its columns in the list, and the fields of its page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.contrib import admin
from django.template.defaultfilters import filesizeformat
from django.utils import formats, timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from backups_remote.admin import times
from backups_remote.admin.base import SafeModelAdmin
from backups_remote.models import Backup
from backups_remote.storage import ceil_div

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from django.utils.safestring import SafeString

# Beside the word and the colour, so that the state can be told by either alone.
_SYMBOLS: Final = {
    Backup.State.PENDING: "○",
    Backup.State.UPLOADING: "↑",
    Backup.State.REPORTED: "◐",
    Backup.State.COMPLETED: "✓",
    Backup.State.FAILED: "✕",
    Backup.State.DELETING: "…",
}


class BackupColumns(SafeModelAdmin[Backup]):
    """The columns and fields that are computed."""

    @admin.display(description=gettext_lazy("name"))
    def name_or_uuid(self, backup: Backup) -> str:
        return str(backup)

    @admin.display(description=gettext_lazy("state"))
    def state(self, backup: Backup) -> SafeString:
        return state_badge(backup)

    @admin.display(description=gettext_lazy("server"))
    def server_name(self, backup: Backup) -> str:
        return backup.server.name

    @admin.display(description=gettext_lazy("node"))
    def node_name(self, backup: Backup) -> str:
        return backup.node.name

    @admin.display(description=gettext_lazy("size"))
    def archive(self, backup: Backup) -> SafeString | str | None:
        return archive_size(backup)

    @admin.display(description=gettext_lazy("age"), ordering="created_at")
    def age(self, backup: Backup) -> SafeString:
        """Time since creation."""
        return age(backup.created_at)

    @admin.display(description=gettext_lazy("lock"), empty_value="")
    def lock_mark(self, backup: Backup) -> SafeString | None:
        return lock_mark(backup)

    @admin.display(description=gettext_lazy("size"))
    def archive_size(self, backup: Backup) -> str:
        """The exact size of the archive."""
        return exact_size(backup.size or None) or self.get_empty_value_display()

    @admin.display(description=gettext_lazy("announced size"))
    def announced_size(self, backup: Backup) -> str:
        """The exact size that the node announced."""
        if is_streamed(backup):
            return _("Not known before the node's report: it streams the archive.")
        return exact_size(backup.upload_size) or self.get_empty_value_display()

    @admin.display(description=gettext_lazy("parts"))
    def parts(self, backup: Backup) -> str:
        """The number of parts, and the largest size of one."""
        if is_streamed(backup):
            return _("of %(size)s") % {"size": exact_size(backup.part_size)}
        if backup.upload_size is None or not backup.part_size:
            return self.get_empty_value_display()
        return _("%(count)d of up to %(size)s") % {
            "count": ceil_div(backup.upload_size, backup.part_size),
            "size": exact_size(backup.part_size),
        }

    @admin.display(description=gettext_lazy("ignored files"))
    def ignored(self, backup: Backup) -> SafeString:
        """The ignored patterns, one per line."""
        return lines(backup.ignored_files) or self.get_empty_value_display()


def state_badge(backup: Backup) -> SafeString:
    """The state as word, symbol and colour; why a backup failed, or that it is unverified."""
    state = backup.state
    badge = format_html(
        '<span class="backup-state" data-state="{}"><span aria-hidden="true">{}</span> {}</span>',
        state.value,
        _SYMBOLS[state],
        state.label,
    )
    if state is Backup.State.FAILED and backup.failure:
        return format_html('{}<div class="backup-failure">{}</div>', badge, backup.failure)
    if state is not Backup.State.COMPLETED or backup.is_verified:
        return badge
    return format_html('{} <span class="backup-unverified">{}</span>', badge, _("Unverified"))


def archive_size(backup: Backup) -> SafeString | str | None:
    """The archive's size; the announced one until it is known."""
    if backup.size:
        return filesizeformat(backup.size)
    if backup.upload_size and backup.completed_at is None:
        announced = _("announced")
        return format_html(
            '{} <span class="quiet">{}</span>', filesizeformat(backup.upload_size), announced
        )
    if is_streamed(backup) and backup.completed_at is None:
        return format_html('<span class="quiet">{}</span>', _("not known yet"))
    return None


def is_streamed(backup: Backup) -> bool:
    """Whether the node streams the archive, so that its size is known from the report on."""
    return bool(backup.upload_id) and backup.upload_size is None


def exact_size(size: int | None) -> str | None:
    """A size in a readable unit, and in bytes."""
    if size is None:
        return None
    return _("%(size)s (%(bytes)s bytes)") % {
        "size": filesizeformat(size),
        "bytes": formats.number_format(size, force_grouping=True),
    }


def age(moment: dt.datetime) -> SafeString:
    """Time since ``moment``, in one unit, with the moment itself as its tooltip."""
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(timespec="seconds"),
        formats.date_format(local, "DATETIME_FORMAT"),
        times.ago(moment),
    )


def lock_mark(backup: Backup) -> SafeString | None:
    """A mark for a locked backup, None for others."""
    if not backup.is_locked:
        return None
    return format_html('<span class="backup-lock">{}</span>', _("Locked"))


def lines(items: Iterable[object]) -> SafeString:
    """Each item on a line of its own."""
    return format_html_join(mark_safe("<br>"), "{}", ((item,) for item in items))
