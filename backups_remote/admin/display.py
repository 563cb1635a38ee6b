"""How a backup reads on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.template.defaultfilters import filesizeformat
from django.utils import formats, timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from backups_remote.models import Backup

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from django.utils.safestring import SafeString

# Beside the word and the colour, so that neither has to be made out.
_SYMBOLS: Final = {
    Backup.State.PENDING: "○",
    Backup.State.UPLOADING: "↑",
    Backup.State.REPORTED: "◐",
    Backup.State.COMPLETED: "✓",
    Backup.State.FAILED: "✕",
    Backup.State.DELETING: "…",
}


def state_badge(backup: Backup) -> SafeString:
    """The state as a word, a symbol and a colour."""
    state = backup.state
    return format_html(
        '<span class="backup-state" data-state="{}"><span aria-hidden="true">{}</span> {}</span>',
        state.value,
        _SYMBOLS[state],
        state.label,
    )


def archive_size(backup: Backup) -> SafeString | str | None:
    """The archive's size; before it is known, the one that its node announced."""
    if backup.size:
        return filesizeformat(backup.size)
    if backup.upload_size and backup.completed_at is None:
        announced = _("announced")
        return format_html(
            '{} <span class="quiet">{}</span>', filesizeformat(backup.upload_size), announced
        )
    return None


def exact_size(size: int | None) -> str | None:
    """A size for people, and in bytes for comparing."""
    if size is None:
        return None
    return _("%(size)s (%(bytes)s bytes)") % {
        "size": filesizeformat(size),
        "bytes": formats.number_format(size, force_grouping=True),
    }


def age(moment: dt.datetime) -> SafeString:
    """How long ago ``moment`` was, in one unit; the moment itself on hovering."""
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(timespec="seconds"),
        formats.date_format(local, "DATETIME_FORMAT"),
        _("%(time)s ago") % {"time": timesince(moment, depth=1)},
    )


def lock_mark(backup: Backup) -> SafeString | None:
    """A mark on a locked backup, nothing on others."""
    if not backup.is_locked:
        return None
    return format_html('<span class="backup-lock">{}</span>', _("Locked"))


def lines(items: Iterable[object]) -> SafeString:
    """Each item on a line of its own."""
    return format_html_join(mark_safe("<br>"), "{}", ((item,) for item in items))
