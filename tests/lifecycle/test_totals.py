"""How many backups there are: counted at once, or by the sweep."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import DatabaseError, connection
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.lifecycle import totals
from backups_remote.lifecycle.totals import Bounded, Day, DiskTotal, Totals
from backups_remote.models import Backup, BackupTotals, Server
from tests.admin.pages import backup_in
from tests.support.factories import BackupFactory, ServerFactory
from tests.support.memory import sweep_actions, uploading_backup
from tests.support.moments import ago

pytestmark = [pytest.mark.databases, pytest.mark.django_db]

HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
State = Backup.State


@pytest.fixture
def large(monkeypatch):
    """A table counts as large from the second backup on."""
    monkeypatch.setattr(totals, "COUNTED_AT_ONCE", 1)


def counted():
    return totals.count_ended(Backup.objects.all())


def overdue(after=DAY):
    return totals.count_overdue(after, Server.objects.all(), Backup.objects.all())


def aged_snapshot(age):
    BackupTotals.objects.update(counted_at=ago(age))


# Backups that have ended


def test_each_state_is_counted_apart():
    for number, state in enumerate(State, start=1):
        for _ in range(number):
            backup_in(state)

    under_way = {state: counts.number for state, counts in totals.count_under_way().counts.items()}
    assert under_way == {State.PENDING: 1, State.UPLOADING: 2, State.REPORTED: 3, State.DELETING: 6}
    assert (counted().completed, counted().failed) == (4, 5)


def test_an_empty_table_has_no_disks_and_thirty_empty_days():
    ended = counted()
    assert (ended.completed, ended.failed, ended.disks) == (0, 0, ())
    assert len(ended.days) == 30
    assert {(day.completed, day.failed) for day in ended.days} == {(0, 0)}


def test_only_completed_backups_count_for_a_disk():
    backup_in(State.COMPLETED, disk="wings", size=3)
    backup_in(State.COMPLETED, disk="s3", size=5)
    backup_in(State.COMPLETED, disk="s3", size=7)
    backup_in(State.FAILED, disk="s3", size=100)
    backup_in(State.REPORTED, disk="s3", size=100)
    backup_in(State.DELETING, disk="s3", size=100)
    backup_in(State.FAILED, disk="retired")
    assert counted().disks == (DiskTotal("s3", 2, 12), DiskTotal("wings", 1, 3))


def test_sizes_add_up_beyond_what_an_integer_holds():
    """A node's report may say any size that fits the column."""
    for _ in range(3):
        backup_in(State.COMPLETED, disk="wings", size=2**63 - 1)
    [disk] = counted().disks
    assert disk.size == pytest.approx(3 * 2**63)


@pytest.mark.parametrize("hour", [14, 16])
def test_days_are_those_of_the_current_time_zone(settings, monkeypatch, hour):
    settings.TIME_ZONE = "Asia/Tokyo"  # nine hours ahead
    now = dt.datetime(2026, 5, 4, hour, tzinfo=dt.UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    today = dt.date(2026, 5, 4 if hour == 14 else 5)
    midnight = timezone.make_aware(dt.datetime.combine(today, dt.time.min))
    second = dt.timedelta(seconds=1)
    backup_in(State.COMPLETED, created_at=midnight)
    backup_in(State.FAILED, created_at=midnight - second)
    backup_in(State.FAILED, created_at=midnight - DAY)
    backup_in(State.FAILED, created_at=midnight - DAY - second)
    backup_in(State.COMPLETED, created_at=midnight - 29 * DAY)
    backup_in(State.COMPLETED, created_at=midnight - 29 * DAY - second)

    days = counted().days

    assert [day.date for day in days] == [today - n * DAY for n in range(29, -1, -1)]
    assert days[-1] == Day(today, completed=1, failed=0)
    assert days[-2] == Day(today - DAY, completed=0, failed=2)
    assert days[-3] == Day(today - 2 * DAY, completed=0, failed=1)
    assert days[0] == Day(today - 29 * DAY, completed=1, failed=0)
    assert sum(day.completed + day.failed for day in days) == 5
    assert (counted().completed, counted().failed) == (3, 3)


def test_days_that_a_change_of_the_clock_makes_shorter(settings, monkeypatch):
    settings.TIME_ZONE = "Europe/Berlin"  # 29 March 2026 has 23 hours
    now = dt.datetime(2026, 3, 31, 12, tzinfo=dt.UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    for moment in ("2026-03-28T22:59", "2026-03-28T23:00", "2026-03-29T21:59", "2026-03-29T22:00"):
        backup_in(State.COMPLETED, created_at=dt.datetime.fromisoformat(f"{moment}+00:00"))
    assert [day.completed for day in counted().days[-4:]] == [1, 2, 1, 0]


def test_days_without_time_zones(settings):
    settings.USE_TZ = False
    midnight = dt.datetime.combine(dt.date.today(), dt.time.min)  # noqa: DTZ011
    BackupFactory(disk="wings", created_at=midnight, completed_at=midnight)
    BackupFactory(disk="wings", created_at=midnight - HOUR, completed_at=midnight)
    assert [day.failed for day in counted().days[-2:]] == [1, 1]


def test_a_backup_from_the_future_is_of_today():
    backup_in(State.COMPLETED, created_at=timezone.now() + 3 * DAY)
    assert counted().days[-1].completed == 1


def test_ended_backups_are_counted_in_one_query(django_assert_num_queries):
    for state in State:
        backup_in(state)
    with django_assert_num_queries(1):
        counted()


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="others do not count along an index")
def test_no_index_is_walked_to_count_all(django_assert_num_queries):
    """With its statistics, SQLite would take that of the disks, which is several times as slow."""
    server, now = ServerFactory(), timezone.now()
    fields = {"server": server, "node": server.node, "disk": "s3", "completed_at": now}
    Backup.objects.bulk_create(Backup(**fields) for _ in range(50))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        with django_assert_num_queries(1) as asked:
            counted()
        cursor.execute("EXPLAIN QUERY PLAN " + asked.captured_queries[0]["sql"])
        assert cursor.fetchall()[0][-1] == "SCAN backups_remote_backup"


# Backups under way


def test_counts_of_what_is_under_way_end_at_a_bound(monkeypatch):
    monkeypatch.setattr(totals, "MOST", 4)
    for state in (State.PENDING, State.PENDING, State.UPLOADING, State.REPORTED):
        backup_in(state)
    for _ in range(4):
        backup_in(State.DELETING)
    assert totals.count_under_way().counts == {
        State.PENDING: Bounded(2),
        State.UPLOADING: Bounded(1),
        State.REPORTED: Bounded(1),
        State.DELETING: Bounded(4),
    }

    backup_in(State.REPORTED)
    backup_in(State.DELETING)
    assert totals.count_under_way().counts == {
        State.PENDING: Bounded(2, is_cut=True),
        State.UPLOADING: Bounded(1, is_cut=True),
        State.REPORTED: Bounded(2, is_cut=True),
        State.DELETING: Bounded(4, is_cut=True),
    }


def test_no_more_rows_than_the_bound_are_read(monkeypatch):
    monkeypatch.setattr(totals, "MOST", 2)
    for hours in range(5):
        backup_in(State.UPLOADING, created_at=ago(hours * HOUR))
    under_way = totals.count_under_way()
    assert under_way.counts[State.UPLOADING] == Bounded(3, is_cut=True)
    assert under_way.oldest_upload.created_at == Backup.objects.earliest("created_at").created_at


@pytest.mark.parametrize("state", [State.UPLOADING, State.REPORTED])
def test_oldest_upload_is_the_one_that_was_created_first(state):
    backup_in(State.PENDING, created_at=ago(9 * HOUR))
    left = backup_in(State.UPLOADING, created_at=ago(8 * HOUR))
    assert left.fail("its node fell silent")
    oldest = backup_in(state, created_at=ago(3 * HOUR))
    backup_in(State.UPLOADING, created_at=ago(2 * HOUR))
    assert totals.count_under_way().oldest_upload == oldest


def test_backup_of_the_same_moment_without_an_upload_is_not_the_oldest_one():
    moment = ago(HOUR)
    backup_in(State.PENDING, created_at=moment)
    oldest = backup_in(State.UPLOADING, created_at=moment)
    backup_in(State.PENDING, created_at=moment)
    assert totals.count_under_way().oldest_upload == oldest


def test_without_an_upload_there_is_no_oldest_one():
    backup_in(State.PENDING)
    assert totals.count_under_way().oldest_upload is None


# Servers without a recent whole backup


def test_only_a_recent_completed_backup_counts():
    backed_up = ServerFactory(name="backed up")
    backup_in(State.COMPLETED, server=backed_up, created_at=ago(23 * HOUR))
    backup_in(State.COMPLETED, server=backed_up, created_at=ago(99 * HOUR))
    expected = [ServerFactory(name="1 never").pk]
    for number, state in enumerate(set(State) - {State.COMPLETED}, start=2):
        server = ServerFactory(name=f"{number} {state.value}")
        backup_in(state, server=server, created_at=ago(HOUR))
        expected.append(server.pk)
    late = ServerFactory(name="7 late")
    backup_in(State.COMPLETED, server=late, created_at=ago(25 * HOUR))

    found = overdue()

    assert found.count == Bounded(7)
    assert list(found.servers) == expected[:5]
    assert overdue(26 * HOUR).count == Bounded(6)


def test_servers_that_want_no_backups_do_not_count():
    ServerFactory(backup_limit=0)
    unlimited, limited = ServerFactory(name="a"), ServerFactory(name="b", backup_limit=1)
    assert overdue().servers == (unlimited.pk, limited.pk)


def test_number_of_servers_ends_at_the_bound(monkeypatch):
    monkeypatch.setattr(totals, "MOST", 2)
    ServerFactory.create_batch(2)
    assert overdue().count == Bounded(2)
    ServerFactory()
    assert overdue().count == Bounded(2, is_cut=True)


# Which of the two is shown


def test_small_table_takes_few_queries(django_assert_num_queries):
    backup_in(State.UPLOADING)
    with django_assert_num_queries(6):
        shown = Totals()
        assert shown.ended is not None
        assert shown.under_way.oldest_upload.server.name
        assert shown.overdue is not None


def test_small_table_is_counted_at_once_whatever_the_sweep_has_counted():
    backup_in(State.COMPLETED)
    totals.renew_snapshot()
    backup_in(State.FAILED)
    assert (Totals().ended.completed, Totals().ended.failed) == (1, 1)
    assert Totals().overdue.count == Bounded(1)


@pytest.mark.parametrize(("backups", "is_large"), [(19, False), (20, False), (21, True)])
def test_table_is_large_with_one_backup_too_many(monkeypatch, backups, is_large):
    monkeypatch.setattr(totals, "COUNTED_AT_ONCE", 20)
    server = ServerFactory()
    Backup.objects.bulk_create(Backup(server=server, node=server.node) for _ in range(backups))
    assert Totals().is_large is is_large


def test_large_table_is_as_the_sweep_has_counted_it(large):
    backup_in(State.COMPLETED, disk="s3", size=5)
    backup_in(State.COMPLETED, disk="wings", size=6)
    backup_in(State.FAILED, created_at=ago(DAY))
    ServerFactory(name="never")
    before, expected_overdue = counted(), overdue()
    totals.renew_snapshot()
    backup_in(State.COMPLETED)
    ServerFactory(name="another")

    shown = Totals()

    assert shown.ended == before
    assert shown.overdue == expected_overdue
    assert shown.overdue.count == Bounded(2)
    assert timezone.now() - shown.snapshot.counted_at < dt.timedelta(minutes=1)


def test_large_table_has_no_totals_before_a_sweep(large):
    backup_in(State.COMPLETED)
    backup_in(State.COMPLETED)
    assert (Totals().ended, Totals().overdue) == (None, None)
    assert Totals().under_way.counts[State.PENDING] == Bounded(0)


def test_servers_are_counted_at_once_in_a_large_table_with_few_recent_backups(large):
    for _ in range(3):
        backup_in(State.COMPLETED, created_at=ago(2 * DAY))
    backup_in(State.COMPLETED, created_at=ago(HOUR))
    assert Totals().ended is None
    assert Totals().overdue.count == Bounded(3)


def test_servers_are_not_counted_if_the_setting_says_so(settings, large):
    settings.BACKUPS_REMOTE = {"BACKUP_OVERDUE_AFTER": None}
    backup_in(State.COMPLETED)
    assert Totals().overdue is None
    backup_in(State.COMPLETED)
    totals.renew_snapshot()
    assert (Totals().ended.completed, Totals().overdue) == (2, None)


def test_what_was_counted_for_another_time_is_not_shown(settings, large):
    backup_in(State.COMPLETED)
    backup_in(State.COMPLETED)
    totals.renew_snapshot()
    settings.BACKUPS_REMOTE = {"BACKUP_OVERDUE_AFTER": 3600}
    assert Totals().overdue is None
    assert Totals().ended.completed == 2
    settings.BACKUPS_REMOTE = {"BACKUP_OVERDUE_AFTER": None}
    totals.renew_snapshot()
    settings.BACKUPS_REMOTE = {}
    aged_snapshot(DAY)
    totals.renew_snapshot()
    assert Totals().overdue.count == Bounded(0)


def test_snapshot_of_another_version_is_as_good_as_none(large):
    backup_in(State.COMPLETED)
    backup_in(State.COMPLETED)
    BackupTotals.objects.create(totals={"format": 2, "something": "else"})
    assert Totals().ended is None
    aged_snapshot(DAY)
    totals.renew_snapshot()
    assert Totals().ended.completed == 2


# The sweep


@pytest.mark.usefixtures("memory")
class TestSweep:
    def test_it_counts_at_its_end(self, large):
        backup = uploading_backup()
        backup_in(State.COMPLETED, disk="memory")
        assert sweep_actions(older_than=dt.timedelta(0)) == ["failed"]
        assert Backup.objects.get(pk=backup.pk).state is State.FAILED
        assert (Totals().ended.completed, Totals().ended.failed) == (1, 1)

    @pytest.mark.parametrize(("minutes", "again"), [(4.9, False), (5.1, True), (-1, True)])
    def test_it_counts_again_after_five_minutes(self, minutes, again, large):
        backup_in(State.COMPLETED, disk="memory")
        list(lifecycle.sweep())
        backup_in(State.COMPLETED, disk="memory")
        aged_snapshot(dt.timedelta(minutes=minutes))
        before = BackupTotals.objects.get().counted_at
        assert sweep_actions() == []
        assert Totals().ended.completed == (2 if again else 1)
        assert (BackupTotals.objects.get().counted_at != before) is again

    def test_dry_run_does_not_count(self):
        backup_in(State.COMPLETED, disk="memory")
        list(lifecycle.sweep(dry_run=True))
        assert not BackupTotals.objects.exists()

    def test_sweep_of_one_disk_counts_all(self, large):
        backup_in(State.COMPLETED, disk="memory")
        backup_in(State.COMPLETED, disk="wings")
        list(lifecycle.sweep(disk="memory"))
        assert [total.disk for total in Totals().ended.disks] == ["memory", "wings"]

    def test_expiring_some_does_not_count(self):
        uploading_backup()
        lifecycle.expire(Backup.objects.all())
        assert not BackupTotals.objects.exists()

    def test_database_error_is_an_outcome(self, monkeypatch):
        def broken(_):
            raise DatabaseError

        monkeypatch.setattr(totals, "count_ended", broken)
        uploading_backup()
        *_, last = outcomes = list(lifecycle.sweep(older_than=dt.timedelta(0)))
        assert [outcome.action for outcome in outcomes] == ["failed", "error"]
        assert (last.subject, last.disk) == ("totals", "")


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_all_are_counted(memory, monkeypatch):
    count, seen = totals.count_ended, []

    def watched(backups):
        seen.append(connection.in_atomic_block)
        return count(backups)

    monkeypatch.setattr(totals, "count_ended", watched)
    list(lifecycle.sweep())
    assert seen == [False]
    assert BackupTotals.objects.count() == 1
