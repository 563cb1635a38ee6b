"""A list of backups that is as fast with a million rows as with ten.

- Rows are read along the index ``backups_remote_newest``, in either direction, in no other order.
- Rows are counted up to ``LISTED`` only, by reading their keys; the page says so.
- The date hierarchy offers the dates between the oldest and the newest row: two index look-ups,
  where Django would truncate the date of every row.
- Servers and nodes are fetched by their keys, with a query each: with a join, the planner may
  start at the small table and sort the large one.
"""

from __future__ import annotations

import calendar
import datetime as dt
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypedDict, cast

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import Paginator
from django.utils import formats, timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from backups_remote.admin.base import SafeChangeList
from backups_remote.models import Backup

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.admin.filters import ListFilter
    from django.db.models import QuerySet
    from django.http import HttpRequest

    # Generic for the type checker only: Django's class takes no parameter.
    _Paginator = Paginator[Any]
else:
    _Paginator = Paginator

#: How many backups are counted and paged through.
LISTED: Final = 1_000


class BoundedPaginator(_Paginator):
    """Pages through the first ``LISTED`` rows. ``is_cut`` tells whether there are more."""

    @cached_property
    def keys(self) -> list[Any]:
        """The keys of those rows, and of one more if there is one."""
        rows = cast("QuerySet[Any]", self.object_list)
        return list(rows.values_list("pk", flat=True)[: LISTED + 1])

    @property
    def count(self) -> int:
        return min(len(self.keys), LISTED)

    @property
    def is_cut(self) -> bool:
        return len(self.keys) > LISTED


class Choice(TypedDict, total=False):
    """A year, a month or a day."""

    link: str
    title: str


class Dates(TypedDict):
    """The context of Django's template of a date hierarchy."""

    show: bool
    back: Choice | None
    choices: list[Choice]


class BoundedList(SafeChangeList):
    """A list of the rows that its ``BoundedPaginator`` has counted."""

    paginator: BoundedPaginator

    def get_results(self, request: HttpRequest) -> None:
        """Read the page, and show the number of results beside the search field if it is known."""
        super().get_results(request)
        first, last = 0, self.result_count
        if self.multi_page and not (self.show_all and self.can_show_all):
            first = (self.page_num - 1) * self.list_per_page
            last = min(first + self.list_per_page, last)
        # The search has found the keys: the rows are read by them, without a second search.
        rows = self.root_queryset.filter(pk__in=self.paginator.keys[first:last])
        self.result_list = rows.order_by(*self.queryset.query.order_by)
        if self.paginator.is_cut or not self.query:
            self.full_result_count = self.result_count


class BackupList(BoundedList):
    """The list of backups, newest or oldest first."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        wanted = super().get_ordering(request, queryset)
        return ["created_at", "pk"] if wanted[:1] == ["created_at"] else ["-created_at", "-pk"]

    def get_filters(
        self, request: HttpRequest
    ) -> tuple[list[ListFilter], bool, dict[str, bool | str], bool, bool]:
        """Take the filters from the query string; an impossible date is a wrong filter."""
        try:
            self._refuse_impossible_date()
            return super().get_filters(request)
        except (ValueError, OverflowError) as error:
            raise IncorrectLookupParameters(error) from error

    def _refuse_impossible_date(self) -> None:
        """Refuse days such as 0 and 32, which Django's filters let through.

        Raises:
            ValueError: there is no such date.

        """
        chosen = (self.params.get(f"{self.date_hierarchy}__{unit}") for unit in _UNITS)
        # What is not given defaults to a leap year, or a month of 31 days: any day is possible.
        year, month, day = (
            default if value is None else int(str(value))
            for default, value in zip((2000, 1, 1), chosen, strict=True)
        )
        dt.date(year, month, day)

    def dates(self) -> Dates:
        """The years, months or days to choose from, for ``admin/date_hierarchy.html``."""
        field = cast("str", self.date_hierarchy)
        chosen = [self.params.get(f"{field}__{unit}") for unit in _UNITS]
        by_date = Backup.objects.order_by("created_at").values_list("created_at", flat=True)
        first, last = _local_date(by_date.first()), _local_date(by_date.last())
        if first is None or last is None:
            return Dates(show=False, back=None, choices=[])
        # The filters have refused what is not a date.
        year, month, day = (None if value is None else int(str(value)) for value in chosen)
        if year is None:
            month = None  # a month of every year is not a choice of the hierarchy
        if month is None:
            day = None
        if year is None and first.year == last.year:
            year = first.year
            month = first.month if first.month == last.month else None

        def link(*values: int) -> str:
            units = zip(_UNITS, values, strict=False)
            return self.get_query_string(
                {f"{field}__{unit}": value for unit, value in units}, [f"{field}__"]
            )

        if year is None:
            years = range(first.year, last.year + 1)
            return _dates(None, ((link(y), str(y)) for y in years))
        if month is None:
            months = (dt.date(year, m, 1) for m in range(1, 13))
            return _dates(
                (link(), _("All dates")),
                (
                    (link(year, m.month), _title(m, "YEAR_MONTH_FORMAT"))
                    for m in months
                    if first.replace(day=1) <= m <= last
                ),
            )
        if day is None:
            days = (
                dt.date(year, month, d) for d in range(1, calendar.monthrange(year, month)[1] + 1)
            )
            return _dates(
                (link(year), str(year)),
                (
                    (link(year, month, d.day), _title(d, "MONTH_DAY_FORMAT"))
                    for d in days
                    if first <= d <= last
                ),
            )
        date = dt.date(year, month, day)
        return _dates(
            (link(year, month), _title(date, "YEAR_MONTH_FORMAT")),
            [("", _title(date, "MONTH_DAY_FORMAT"))],
        )


_UNITS: Final = ("year", "month", "day")


def _dates(back: tuple[str, str] | None, choices: Iterable[tuple[str, str]]) -> Dates:
    return Dates(
        show=True,
        back=back and Choice(link=back[0], title=back[1]),
        choices=[Choice(link=link, title=title) for link, title in choices],
    )


def _title(date: dt.date, wanted: str) -> str:
    return str(capfirst(formats.date_format(date, wanted)))


def _local_date(moment: dt.datetime | None) -> dt.date | None:
    if moment is None:
        return None
    return (timezone.localtime(moment) if timezone.is_aware(moment) else moment).date()
