"""How many backups there are, for the summary above the admin's list.

No index serves these counts, because each would make every report slower. So rare rows
are counted along the partial indexes that exist, up to a bound. Frequent ones are counted on
demand only in a small table; in a large one the sweep counts them now and then, and keeps the
result in ``BackupTotals``.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import router
from django.db.models import Case, Count, F, FloatField, IntegerField, Min, Q, Sum, Value, When
from django.db.models.functions import Cast, Coalesce
from django.utils import timezone

from backups_remote.conf import app_settings
from backups_remote.models import Backup, BackupState, BackupTotals, Server
from backups_remote.models.states import ENDED

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from backups_remote.models import BackupQuerySet

#: How many backups are counted when a page asks for it.
COUNTED_AT_ONCE: Final = 20_000
#: How many backups that are under way, or being deleted, and how many servers are counted.
MOST: Final = 10_000
#: How many days ``Ended`` has.
DAYS: Final = 30
#: A sweep does not count again within this time.
COUNTED_EVERY: Final = dt.timedelta(minutes=5)
#: How many servers ``Overdue`` names.
NAMED: Final = 5

#: Of what ``BackupTotals`` holds. Another version's is as good as none.
_FORMAT: Final = 1
_BEFORE: Final = -1


class Bounded(NamedTuple):
    """A count; with ``is_cut``, there are at least so many."""

    number: int
    is_cut: bool = False


class DiskTotal(NamedTuple):
    """How many whole backups are on a disk, and their size together, in bytes."""

    disk: str
    backups: int
    size: int


class Day(NamedTuple):
    """The backups that were created on a day and have ended, by their end."""

    date: dt.date
    completed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The backups that have ended and are not being deleted.

    ``disks`` are in the order of their names; ``days`` are the last ``DAYS`` days of the current
    time zone, oldest first.
    """

    failed: int
    disks: tuple[DiskTotal, ...]
    days: tuple[Day, ...]

    @property
    def completed(self) -> int:
        """How many are whole."""
        return sum(disk.backups for disk in self.disks)


@dataclass(frozen=True, slots=True)
class UnderWay:
    """How many backups are in each state that is left sooner or later.

    ``oldest_upload`` is the oldest backup with an upload that has not ended.
    """

    counts: dict[BackupState, Bounded]
    oldest_upload: Backup | None


@dataclass(frozen=True, slots=True)
class Overdue:
    """The servers without a whole backup that was created within ``after``.

    A server with a backup limit of 0 is not counted. ``servers`` are the primary keys of the first
    few by name.
    """

    after: dt.timedelta
    count: Bounded
    servers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a sweep has counted; ``overdue`` is None if ``BACKUP_OVERDUE_AFTER`` was."""

    counted_at: dt.datetime
    ended: Ended
    overdue: Overdue | None


class Totals:
    """The counts of one page. Each is made when it is first asked for."""

    @cached_property
    def is_large(self) -> bool:
        """Whether there are too many backups to count them at once."""
        return _are_many(Backup.objects.all())

    @cached_property
    def snapshot(self) -> Snapshot | None:
        """What the last sweep counted."""
        row = BackupTotals.objects.first()
        return None if row is None else _unpacked(row)

    @cached_property
    def ended(self) -> Ended | None:
        """Those that have ended; in a large table as of the snapshot, None if there is none."""
        if not self.is_large:
            return count_ended(Backup.objects.all())
        return None if self.snapshot is None else self.snapshot.ended

    @cached_property
    def under_way(self) -> UnderWay:
        """Those that have not ended, or are being deleted."""
        return count_under_way()

    @cached_property
    def overdue(self) -> Overdue | None:
        """The servers without a recent backup, counted as ``ended`` is.

        None also if the setting ``BACKUP_OVERDUE_AFTER`` is.
        """
        after = app_settings.backup_overdue_after
        if after is None:
            return None
        if not self.is_overdue_of_snapshot:
            return count_overdue(after, Server.objects.all(), Backup.objects.all())
        found = None if self.snapshot is None else self.snapshot.overdue
        return found if found is not None and found.after == after else None

    @cached_property
    def is_overdue_of_snapshot(self) -> bool:
        """Whether too many backups are recent to look through them at once."""
        after = app_settings.backup_overdue_after
        if after is None or not self.is_large:
            return False
        return _are_many(Backup.objects.filter(created_at__gte=timezone.now() - after))


def count_under_way() -> UnderWay:
    """Count the backups that have not ended, or are being deleted."""
    has_upload = ~Q(upload_id="")
    # The order of the partial index: the first MOST of them are read, and nothing is sorted.
    oldest = Backup.objects.unfinished().order_by("completed_at", "created_at")
    found = oldest[: MOST + 1].aggregate(
        pending=Count("pk", filter=Q(reported_at=None) & ~has_upload),
        uploading=Count("pk", filter=Q(reported_at=None) & has_upload),
        reported=Count("pk", filter=Q(reported_at__isnull=False)),
        upload_since=Min("created_at", filter=has_upload),
    )
    upload = None
    if found["upload_since"] is not None:
        of_then = oldest.filter(has_upload, created_at=found["upload_since"])
        upload = of_then.select_related("server").defer("reported_etags").first()
    open_states = (BackupState.PENDING, BackupState.UPLOADING, BackupState.REPORTED)
    numbers = {state: found[state.value] for state in open_states}
    is_cut = sum(numbers.values()) > MOST
    counts = {state: Bounded(number, is_cut) for state, number in numbers.items()}
    deleting = Backup.objects.deleting().order_by()
    counts[BackupState.DELETING] = _up_to_most(deleting[: MOST + 1].count())
    return UnderWay(counts, upload)


def count_ended(backups: BackupQuerySet) -> Ended:
    """Count those of ``backups`` that have ended, in one query that reads them all."""
    now = timezone.now()
    today = (timezone.localtime(now) if timezone.is_aware(now) else now).date()
    dates = [today - dt.timedelta(days=ago) for ago in range(DAYS)]
    # Compared with the first moment of each day: databases truncate a date much more slowly, and
    # SQLite does so in Python.
    moments = [_first_moment(date) for date in dates]
    day = Case(
        When(created_at__lt=moments[-1], then=Value(_BEFORE)),
        *(When(created_at__gte=moment, then=Value(ago)) for ago, moment in enumerate(moments)),
        output_field=IntegerField(),
    )
    groups = (
        backups.filter(ENDED)
        .order_by()
        # Not by the column itself: SQLite would walk its index, and look up each row.
        .annotate(of_disk=Coalesce("disk", Value("")), day=day)
        .values_list("of_disk", "is_successful", "day")
        # Sizes are the nodes' word: the sum of two can be too large for an integer.
        .annotate(rows=Count("pk"), bytes=Sum(Cast("size", FloatField())))
    )
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    by_day: Counter[tuple[int, bool]] = Counter()
    failed = 0
    for disk, is_successful, ago, rows, size in groups:
        by_day[ago, is_successful] += rows
        if is_successful:
            counts[disk] += rows
            sizes[disk] += int(size)
        else:
            failed += rows
    return Ended(
        failed=failed,
        disks=tuple(DiskTotal(disk, counts[disk], sizes[disk]) for disk in sorted(counts)),
        days=tuple(
            Day(dates[ago], completed=by_day[ago, True], failed=by_day[ago, False])
            for ago in reversed(range(DAYS))
        ),
    )


def count_overdue(
    after: dt.timedelta, servers: QuerySet[Server], backups: BackupQuerySet
) -> Overdue:
    """Count those of ``servers`` without a whole one of ``backups`` that is younger."""
    overdue = without_whole_backup(servers, after, backups)
    keys = list(overdue.order_by("name", "pk").values_list("pk", flat=True)[: MOST + 1])
    return Overdue(after, _up_to_most(len(keys)), tuple(keys[:NAMED]))


def without_whole_backup(
    servers: QuerySet[Server], after: dt.timedelta, backups: BackupQuerySet | None = None
) -> QuerySet[Server]:
    """Those of ``servers`` that want backups and have no whole one created within ``after``."""
    recent = (Backup.objects.all() if backups is None else backups).completed()
    recent = recent.filter(created_at__gte=timezone.now() - after).order_by()
    # Without the sum, SQLite would walk the index of the servers, which has all their backups;
    # with the repetitions, PostgreSQL would go through the list again for each server.
    backed_up = recent.annotate(of_server=F("server_id") + 0).values("of_server").distinct()
    return servers.exclude(backup_limit=0).exclude(pk__in=backed_up)


def renew_snapshot() -> None:
    """Count what a large table cannot be asked for at once, unless that was done just now.

    Reads all backups, outside of any transaction. Two sweeps may count at the same time.
    """
    kept = BackupTotals.objects.using(router.db_for_write(BackupTotals))
    now = timezone.now()
    last = kept.values_list("counted_at", flat=True).first()
    # One that lies ahead comes from a clock that was wrong, and is replaced.
    if last is not None and dt.timedelta(0) <= now - last < COUNTED_EVERY:
        return
    # Not a replica's: it may be behind what the sweep has just done.
    backups = Backup.objects.using(router.db_for_write(Backup))
    servers = Server.objects.using(router.db_for_write(Server))
    after = app_settings.backup_overdue_after
    overdue = None if after is None else count_overdue(after, servers, backups)
    found = {"counted_at": now, "totals": _packed(count_ended(backups), overdue)}
    kept.update_or_create(pk=BackupTotals.ONLY, defaults=found)


def _are_many(backups: BackupQuerySet) -> bool:
    newest = backups.order_by("-created_at", "-pk").values_list("pk", flat=True)
    return bool(newest[COUNTED_AT_ONCE : COUNTED_AT_ONCE + 1])


def _up_to_most(found: int) -> Bounded:
    return Bounded(min(found, MOST), is_cut=found > MOST)


def _first_moment(date: dt.date) -> dt.datetime:
    midnight = dt.datetime.combine(date, dt.time.min)
    return timezone.make_aware(midnight) if timezone.is_aware(timezone.now()) else midnight


def _packed(ended: Ended, overdue: Overdue | None) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "failed": ended.failed,
        "disks": ended.disks,
        "days": [(day.date.isoformat(), day.completed, day.failed) for day in ended.days],
        "overdue": overdue
        and {
            "after": overdue.after.total_seconds(),
            "count": overdue.count,
            "servers": overdue.servers,
        },
    }


def _unpacked(row: BackupTotals) -> Snapshot | None:
    held = row.totals
    if held.get("format") != _FORMAT:
        return None
    ended = Ended(
        failed=held["failed"],
        disks=tuple(DiskTotal(*disk) for disk in held["disks"]),
        days=tuple(Day(dt.date.fromisoformat(date), *counts) for date, *counts in held["days"]),
    )
    overdue = held["overdue"] and Overdue(
        after=dt.timedelta(seconds=held["overdue"]["after"]),
        count=Bounded(*held["overdue"]["count"]),
        servers=tuple(held["overdue"]["servers"]),
    )
    return Snapshot(row.counted_at, ended, overdue)
