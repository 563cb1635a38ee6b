"""The host project chose a stricter isolation level."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from django.db import DatabaseError, OperationalError, connection, connections, transaction

from backups_remote import lifecycle
from backups_remote.database import in_order
from backups_remote.exceptions import (
    BackupConflict,
    BackupLimitReached,
    BackupsRemoteError,
    RestoreRefused,
)
from backups_remote.models import Backup, Server
from tests.support.factories import ServerFactory
from tests.support.memory import completed_backup, success, uploaded

pytestmark = [
    pytest.mark.databases,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("memory"),
    pytest.mark.skipif("connection.vendor == 'sqlite'", reason="it has one level"),
]

S = Backup.State
CALLERS = 8


@pytest.fixture(params=["repeatable read", "serializable"], autouse=True)
def level(request):
    """The isolation level of each connection that is opened from now on."""
    value = request.param
    if connection.vendor == "postgresql":
        import psycopg

        value = psycopg.IsolationLevel[value.replace(" ", "_").upper()]
    own = connections["default"]
    own.close()
    # Django reads the option when it connects: in this thread, and in others.
    for kept in (own.settings_dict, connections.settings["default"]):
        kept["OPTIONS"] = {**kept.get("OPTIONS", {}), "isolation_level": value}
    yield request.param
    own.close()
    for kept in (own.settings_dict, connections.settings["default"]):
        kept["OPTIONS"] = {
            name: said for name, said in kept["OPTIONS"].items() if name != "isolation_level"
        }
    own.__dict__.pop("isolation_level", None)


def at_once(*calls):
    """What each of these returned or raised, begun at the same moment."""
    together = threading.Barrier(len(calls))

    def one(call):
        try:
            together.wait(30)
            return call()
        except (BackupsRemoteError, DatabaseError, Backup.DoesNotExist) as error:
            return type(error)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def test_the_level_is_in_force(level):
    def find():
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SHOW transaction_isolation")
            else:
                cursor.execute("SELECT @@tx_isolation")
            [found] = cursor.fetchone()
        return found.replace("-", " ").lower()

    assert [find(), *at_once(find, find)] == [level] * 3


def test_conflict_is_an_error_of_the_database():
    """What would happen without another try."""
    server = ServerFactory()
    seen, changed = threading.Event(), threading.Event()

    @transaction.atomic
    def read_then_write():
        Server.objects.get(pk=server.pk)
        seen.set()
        assert changed.wait(30)
        Server.objects.filter(pk=server.pk).update(name="mine")

    def write_meanwhile():
        assert seen.wait(30)
        try:
            Server.objects.filter(pk=server.pk).update(name="theirs")
        finally:
            changed.set()

    if connection.vendor == "mysql":
        pytest.skip("InnoDB updates the newest row whatever was read")
    assert OperationalError in at_once(read_then_write, write_meanwhile)
    seen.clear()
    changed.clear()
    answers = at_once(partial(in_order, "default", read_then_write), write_meanwhile)
    assert answers == [None, None]


@pytest.mark.parametrize("limit", [3, None])
def test_backups_started_at_once(limit):
    server = ServerFactory(backup_limit=limit)

    def start():
        return lifecycle.start_backup(Server.objects.get(pk=server.pk)).state

    told = Counter(at_once(*[start] * CALLERS))
    started = CALLERS if limit is None else limit
    assert told == Counter({S.PENDING: started, BackupLimitReached: CALLERS - started})
    assert Backup.objects.count() == started


def test_reports_at_once(settings):
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "REPORT_REPLAY_WINDOW": 300}
    backup = uploaded()

    def report():
        lifecycle.record_report(Backup.objects.get(pk=backup.pk), success(backup))
        return "accepted"

    assert at_once(*[report] * CALLERS) == ["accepted"] * CALLERS
    assert Backup.objects.get().state is S.COMPLETED


def test_deletions_beside_a_restore():
    server = ServerFactory()
    for _ in range(5):
        backup = completed_backup(server)

        def delete(pk=backup.pk):
            lifecycle.delete_backup(Backup.objects.get(pk=pk))
            return "deleted"

        def restore(pk=backup.pk):
            lifecycle.start_restore(Backup.objects.get(pk=pk))
            return "restoring"

        told = at_once(restore, *[delete] * 3)
        if told[0] == "restoring":
            assert told[1:] == [BackupConflict] * 3
            assert Backup.objects.filter(pk=backup.pk).exists()
            lifecycle.record_restore(backup, successful=True)
        else:
            assert not Backup.objects.filter(pk=backup.pk).exists()
            assert set(told) <= {"deleted", RestoreRefused, Backup.DoesNotExist, told[0]}
            assert OperationalError not in told


def test_rotations_at_once():
    server = ServerFactory()
    for _ in range(6):
        completed_backup(server)
    Server.objects.update(backup_limit=2)
    told = at_once(*[lambda: len(lifecycle.rotate_backups(Server.objects.get()))] * CALLERS)
    assert sum(told) == 4
    assert Backup.objects.completed().count() == 2


def test_requests_at_once():
    backup = lifecycle.start_backup(ServerFactory())

    def ask():
        return len(lifecycle.request_upload(Backup.objects.get(pk=backup.pk), 10).urls)

    assert at_once(*[ask] * CALLERS) == [1] * CALLERS
