"""Ages in words, as whole phrases.

A phrase put together from Django's ``timesince`` and a word for "ago" is wrong in languages that
decline the unit: seven months are "7 Monate" in German, and seven months ago is "vor 7 Monaten".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext_lazy

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_MONTH: Final = 30 * _DAY
_YEAR: Final = 365 * _DAY
#: The length of a unit in seconds, with its phrase; the longest first.
_UNITS: Final = (
    (_YEAR, ngettext_lazy("%(count)d year ago", "%(count)d years ago", "count")),
    (_MONTH, ngettext_lazy("%(count)d month ago", "%(count)d months ago", "count")),
    (_DAY, ngettext_lazy("%(count)d day ago", "%(count)d days ago", "count")),
    (_HOUR, ngettext_lazy("%(count)d hour ago", "%(count)d hours ago", "count")),
    (_MINUTE, ngettext_lazy("%(count)d minute ago", "%(count)d minutes ago", "count")),
    (1, ngettext_lazy("%(count)d second ago", "%(count)d seconds ago", "count")),
)


def ago(moment: dt.datetime) -> str:
    """How long ago ``moment`` was, in the largest whole unit; "just now" below a second.

    ``moment`` is aware, or naive in the current time zone.
    """
    if timezone.is_naive(moment):
        moment = timezone.make_aware(moment)
    current = timezone.now()
    if timezone.is_naive(current):
        current = timezone.make_aware(current)
    seconds = int((current - moment).total_seconds())
    for length, phrase in _UNITS:
        if seconds >= length:
            return str(phrase % {"count": seconds // length})
    return _("just now")


def in_whole_units(duration: dt.timedelta, phrases: Mapping[str, Any]) -> str:
    """The one of ``phrases`` that says ``duration`` exactly, to the minute.

    Its keys are ``"days"``, used from three days on, ``"hours"`` and ``"minutes"``. Each phrase has
    its plural.
    """
    seconds = int(duration.total_seconds())
    if seconds >= 3 * _DAY and seconds % _DAY == 0:
        unit, length = "days", _DAY
    elif seconds >= _HOUR and seconds % _HOUR == 0:
        unit, length = "hours", _HOUR
    else:
        unit, length = "minutes", _MINUTE
    return str(phrases[unit] % {"count": seconds // length})
