"""How old a moment is, and for how long the object of a failed backup is waited for."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.utils import timezone

if TYPE_CHECKING:
    from backups_remote.models import Backup

#: For how long after a backup has failed its object is looked for, where a completion was sent,
#: before its upload is forgotten. Stores have taken hours over a completion.
LATE_OBJECT_WINDOW: Final = dt.timedelta(days=3)


def is_older_than(
    moment: dt.datetime, age: dt.timedelta, *, now: dt.datetime | None = None
) -> bool:
    """Whether ``moment`` was at least ``age`` before ``now``. One in the future counts as now.

    A store's clock may run ahead of the panel's.
    """
    passed = aware(now or timezone.now()) - aware(moment)
    return max(passed, dt.timedelta(0)) >= age  # safeguard: future-timestamps-ignored


def aware(moment: dt.datetime) -> dt.datetime:
    """``moment`` with a time zone. Without USE_TZ, rows have none."""
    if timezone.is_naive(moment):
        # They are in the default time zone, whichever one is active.
        # safeguard: naive-times-default-zone
        return timezone.make_aware(moment, timezone.get_default_timezone())
    return moment


def as_on_a_row(moment: dt.datetime) -> dt.datetime:
    """``moment``, which has a time zone, as a row keeps it: without one where USE_TZ is off."""
    if settings.USE_TZ:
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())


def may_still_appear(backup: Backup, *, now: dt.datetime | None = None) -> bool:
    """Whether the object of a failed backup may still appear in the store.

    A completion was sent, and its outcome is not known. Until then its upload is not aborted.
    """
    # Rows from before completions were noted have the time of their report.
    sent_at = backup.completion_sent_at or backup.reported_at  # safeguard: sent-completion-recorded
    if sent_at is None or backup.completed_at is None:  # safeguard: unreported-upload-aborted
        return False
    return not is_past_late_objects(backup, now=now)


def has_completion_under_way(backup: Backup) -> bool:
    """Whether a completion was sent for the upload of an open backup, and may still be under way.

    Its report was taken back since. The object may replace whatever is under its key by then.
    """
    sent_at = backup.completion_sent_at
    return sent_at is not None and not is_older_than(sent_at, LATE_OBJECT_WINDOW)


def is_past_late_objects(backup: Backup, *, now: dt.datetime | None = None) -> bool:
    """Whether ``backup`` ended so long ago that no object of it is waited for."""
    ended_at = backup.completed_at
    # safeguard: late-object-wait
    return ended_at is not None and is_older_than(ended_at, LATE_OBJECT_WINDOW, now=now)
