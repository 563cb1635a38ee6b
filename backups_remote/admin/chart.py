"""The chart of the last days in the summary: bars, lines and dates, laid out for a page.

Horizontal lengths are in percent and vertical ones in pixels, so that it fills any width and its
texts keep their size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from backups_remote.models import Backup

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from backups_remote.lifecycle.totals import Day, Ended

#: The height of the bars, and that of the chart with its dates, in pixels.
PLOT: Final = 120
HEIGHT: Final = 144
#: Above the highest line, for its number.
_TOP: Final = 12
#: How much of a day's width its bar fills.
_FILLED: Final = 0.8
#: The least height of a bar: one failure among thousands is seen.
_LEAST: Final = 2
#: The numbers that the highest line may have, times a power of ten.
_ROUND: Final = (1, 2, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a bar: its upper edge and its height, in pixels."""

    y: str
    height: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A day in the chart, and its row in the table."""

    slot_x: str
    slot_width: str
    x: str
    width: str
    completed: Piece | None
    failed: Piece | None
    title: str
    date: str
    completed_count: str
    failed_count: str
    url: str
    failed_url: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A text at the edge of the chart: a date below it, or a number beside one of its lines."""

    position: str
    text: str
    anchor: str = "end"
    is_minor: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars, lines and dates; ``label`` says in words what there is to see."""

    title: str
    label: str
    bars: Sequence[Bar]
    lines: Sequence[Mark]
    dates: Sequence[Mark]
    plot: str = str(PLOT)
    height: str = str(HEIGHT)
    date_y: str = str(HEIGHT - 6)


def chart_of(ended: Ended) -> Chart | None:
    """The chart of the days; None if nothing was created in them."""
    days = ended.days
    highest = max(day.completed + day.failed for day in days)
    if not highest:
        return None
    top = _round(highest)
    label = _(
        "Bar chart of the backups that were created from %(first)s to %(last)s, a bar for each "
        "day. Completed: %(completed)s. Failed: %(failed)s."
    ) % {
        "first": short_date(days[0].date),
        "last": short_date(days[-1].date),
        "completed": grouped(sum(day.completed for day in days)),
        "failed": grouped(sum(day.failed for day in days)),
    }
    levels = (top, top // 2) if top % 2 == 0 else (top,)
    title = ngettext("The last %(count)d day", "The last %(count)d days", len(days))
    return Chart(
        title=title % {"count": len(days)},
        label=label,
        bars=[_bar(day, place, len(days), top) for place, day in enumerate(days)],
        lines=[Mark(_pixels(_height(level, top)), grouped(level)) for level in (*levels, 0)],
        dates=_dates(days),
    )


def _bar(day: Day, place: int, days: int, top: int) -> Bar:
    slot = 100 / days
    width = slot * _FILLED
    completed = _height(day.completed, top)
    failed = _height(day.failed, top)
    date, counts = short_date(day.date), (grouped(day.completed), grouped(day.failed))
    link = {
        "created_at__year": day.date.year,
        "created_at__month": day.date.month,
        "created_at__day": day.date.day,
    }
    return Bar(
        slot_x=_percent(place * slot),
        slot_width=_percent(slot),
        x=_percent(place * slot + (slot - width) / 2),
        width=_percent(width),
        completed=_piece(0, completed),
        failed=_piece(completed, failed),
        title=_("%(date)s. Completed: %(completed)s. Failed: %(failed)s.")
        % {"date": date, "completed": counts[0], "failed": counts[1]},
        date=date,
        completed_count=counts[0],
        failed_count=counts[1],
        url=filtered(**link),
        failed_url=filtered(**link, state=Backup.State.FAILED.value),
    )


def _dates(days: Sequence[Day]) -> list[Mark]:
    """The first date, the one in the middle and the last, and between them two minor ones."""
    last = len(days) - 1

    def between(quarter: int, *, is_minor: bool) -> Mark:
        place = round(last * quarter / 4)
        middle = _percent((place + 0.5) * 100 / len(days))
        return Mark(middle, short_date(days[place].date), "middle", is_minor=is_minor)

    return [
        Mark("0", short_date(days[0].date), "start"),
        between(1, is_minor=True),
        between(2, is_minor=False),
        between(3, is_minor=True),
        Mark("100%", short_date(days[last].date), "end"),
    ]


def _height(count: int, top: int) -> float:
    """The height of ``count`` where ``top`` is as high as the highest line."""
    return max(count * (PLOT - _TOP) / top, _LEAST) if count else 0


def _piece(below: float, height: float) -> Piece | None:
    if not height:
        return None
    return Piece(y=_pixels(below + height), height=f"{height:.1f}")


def _pixels(height: float) -> str:
    """From the top, for what is ``height`` above the base line."""
    return f"{PLOT - height:.1f}"


def _percent(share: float) -> str:
    return f"{share:.3f}%"


def _round(highest: int) -> int:
    """The smallest round number that is not less than ``highest``."""
    magnitude = int(10 ** (len(str(highest)) - 1))
    return next(n * magnitude for n in _ROUND if n * magnitude >= highest)


def filtered(**query: Any) -> str:
    """The list of backups, on its own page, filtered."""
    return f"?{urlencode(query)}"


def short_date(date: dt.date) -> str:
    """Month and day, in the page's language."""
    return formats.date_format(date, "MONTH_DAY_FORMAT")


def grouped(number: int) -> str:
    """``number`` with thousands separators, in the page's language."""
    return formats.number_format(number, force_grouping=True)
