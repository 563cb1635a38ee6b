"""A database connection that is lost while the store is asked costs nothing."""

from __future__ import annotations

import datetime as dt
import io
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, connections, transaction
from django.db.backends.signals import connection_created
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.database import retrying
from backups_remote.exceptions import StorageUnavailable
from backups_remote.lifecycle import accept
from backups_remote.lifecycle.sweep import rows
from backups_remote.management.commands import restore as restore_command
from backups_remote.models import Backup, EventKind, Server
from backups_remote.types import SweepAction
from tests.support.factories import ServerFactory
from tests.support.memory import (
    SIZE,
    EventfulBackend,
    MemoryBackend,
    completed_backup,
    failure_report,
    finished_unreported,
    put_part,
    raising,
    reported,
    set_age,
    success,
    uploaded,
    uploading_backup,
)
from tests.support.rows import remove
from tests.support.sessions import end_session, session_of
from tests.support.store_calls import STORE_CALLS

pytestmark = [
    pytest.mark.databases,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor == 'sqlite'", reason="no server that could hang up"),
]

NOW = dt.timedelta(0)


class Losing:
    """Ends the test's session at each call to the store, once it is switched on."""

    def __init__(self):
        self.mine = connections["default"]
        self.number = None
        self.is_on = False
        self.lost = 0

    def __call__(self, call):
        answer = call()
        if self.is_on and self.mine.connection is not None and end_session(self.number):
            self.lost += 1
        return answer

    def note_number(self, *, connection, **_):
        # In the thread that opens it: MySQLdb lets no other one ask.
        if connection is self.mine:
            self.number = session_of(connection)


@pytest.fixture
def losing(memory):
    losing = Losing()
    connection_created.connect(losing.note_number)
    connection.close()
    connection.ensure_connection()
    EventfulBackend.instead.update(dict.fromkeys(STORE_CALLS, losing))
    yield losing
    connection_created.disconnect(losing.note_number)


@pytest.fixture(autouse=True)
def new_connection_at_the_end():
    yield
    connection.close()


def test_session_is_really_lost(losing):
    """What would happen without a second try."""
    losing.is_on = True
    losing(lambda: None)
    with pytest.raises(OperationalError):
        Backup.objects.count()
    with pytest.raises(OperationalError):
        Backup.objects.count()


def test_life_of_a_backup(losing):
    backup = lifecycle.start_backup(ServerFactory())
    losing.is_on = True
    lifecycle.request_upload(backup, SIZE)
    lifecycle.request_upload(backup, SIZE + 1)
    lifecycle.request_upload(backup, SIZE)
    backup.etag = put_part(backup)
    lifecycle.request_upload(backup, SIZE)
    lifecycle.record_report(backup, success(backup))
    assert backup.state is Backup.State.COMPLETED
    assert len(MemoryBackend.uploads) == 0
    assert lifecycle.start_restore(backup)
    lifecycle.cancel_restore(backup)
    lifecycle.delete_backup(backup)
    assert not Backup.objects.exists()
    assert not MemoryBackend.objects
    assert losing.lost >= 8


def test_first_statement_of_a_call(losing):
    """A connection that is kept between two calls may have been idle for long."""
    backup = lifecycle.start_backup(ServerFactory())
    losing.is_on = True
    losing(lambda: None)
    assert lifecycle.find_backup_made_by(backup.node, str(backup.uuid)) == backup
    losing(lambda: None)
    assert lifecycle.find_backup_restorable_on(backup.node, str(backup.uuid)) == backup
    assert losing.lost == 2


def test_failure_report(losing):
    backup = uploaded()
    losing.is_on = True
    lifecycle.record_report(backup, failure_report())
    losing.is_on = False
    backup.refresh_from_db()
    assert (backup.state, backup.upload_id) == (Backup.State.FAILED, "")
    assert losing.lost


def test_rotation(losing):
    server = ServerFactory()
    for _ in range(3):
        completed_backup(server)
    Server.objects.update(backup_limit=1)
    losing.is_on = True
    assert len(lifecycle.rotate_backups(server)) == 2
    assert Backup.objects.count() == 1
    assert losing.lost >= 2


def rows_of_every_kind():
    """Several of each: the second one meets the connection that the first one lost."""
    for _ in range(2):
        silent = uploading_backup()
        whole = uploaded()
        found = finished_unreported()
        for backup in (silent, whole, found):
            set_age(backup, days=30)
        reported(held_for=-dt.timedelta(minutes=1))
        left = uploaded()
        EventfulBackend.instead["abort_upload"] = raising(StorageUnavailable("down"))
        lifecycle.record_report(left, failure_report())
        del EventfulBackend.instead["abort_upload"]
        waiting = uploaded()
        assert waiting.fail("silence")
        deleting = completed_backup()
        assert deleting.begin_deletion()
        orphan = uploaded()
        remove(orphan)
    ended = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    Backup.objects.failed().exclude(failure="silence").update(completed_at=ended)
    # Looked at, and left: nothing is written between two batches of these.
    recently = timezone.now() - dt.timedelta(hours=1)
    Backup.objects.filter(failure="silence").update(completion_sent_at=recently)
    for upload in MemoryBackend.uploads.values():
        upload.started_at -= dt.timedelta(days=30)
        upload.uploaded_at = {
            number: at - dt.timedelta(days=30) for number, at in upload.uploaded_at.items()
        }


#: What a sweep makes of them.
ENDS = sorted(
    2
    * [
        SweepAction.FAILED,
        SweepAction.RECOVERED,
        SweepAction.RECOVERED,
        SweepAction.COMPLETED,
        SweepAction.UPLOAD_ABORTED,
        SweepAction.DELETED,
        SweepAction.ORPHAN_ABORTED,
    ]
)


def test_claims_of_the_next_chunk(losing):
    """The first one is only looked at: nothing is written between the look and the claim."""
    quiet = reported()
    assert quiet.release(quiet_until=timezone.now() + dt.timedelta(minutes=1))
    free = reported(held_for=-dt.timedelta(minutes=1))
    losing.is_on = True
    outcomes = list(lifecycle.sweep(workers=1))
    losing.is_on = False
    assert [(one.subject, one.action) for one in outcomes] == [
        (str(free.uuid), SweepAction.COMPLETED)
    ]
    assert losing.lost


@pytest.mark.parametrize("is_on", [False, True], ids=["kept", "lost"])
def test_sweep_goes_on(losing, is_on, monkeypatch):
    monkeypatch.setattr(rows, "_BATCH", 1)
    rows_of_every_kind()
    EventfulBackend.instead["abort_upload"] = losing
    losing.is_on = is_on
    outcomes = list(lifecycle.sweep(workers=1))
    losing.is_on = False
    assert sorted(outcome.action for outcome in outcomes) == ENDS, outcomes
    assert Backup.objects.completed().count() == 6
    assert Backup.objects.left_behind().count() == len(MemoryBackend.uploads) == 2
    assert bool(losing.lost) is is_on


@pytest.mark.usefixtures("losing", "calls_daemons")
def test_command_waits_for_a_restore(losing, server_with_daemon, monkeypatch):
    backup = completed_backup(server_with_daemon)
    looks = []

    def lose(execute, sql, *rest):
        if "backupevent" in sql and sql.startswith("SELECT") and not looks:
            looks.append("the first")
            losing(lambda: None)
        return execute(sql, *rest)

    def sleep(_seconds):
        looks.append("the next")
        if len(looks) > 2:
            lifecycle.record_restore(Backup.objects.get(), successful=True)
        losing(lambda: None)

    monkeypatch.setattr(restore_command, "time", SimpleNamespace(sleep=sleep))
    losing.is_on = True
    with connection.execute_wrapper(lose):
        call_command("restore", str(backup.uuid), "--wait", stdout=io.StringIO())
    assert len(looks) == losing.lost - 1 == 3  # one was lost at the look into the store


def test_removal_is_tried_again_from_its_beginning(losing):
    """Lost between the DELETE and the commit, all of it was rolled back."""
    backup = completed_backup()
    uuid = backup.uuid
    assert backup.begin_deletion()

    def lose(execute, sql, *rest):
        answer = execute(sql, *rest)
        if sql.startswith("DELETE FROM") and not losing.lost:
            losing.lost += end_session(losing.number)
        return answer

    with connection.execute_wrapper(lose):
        assert backup.remove_deleted("gone")
    assert losing.lost == 1
    assert not Backup.objects.exists()
    assert [event.kind for event in lifecycle.history(uuid)].count(EventKind.DELETED) == 1


def test_copies_are_accepted(losing, monkeypatch):
    monkeypatch.setattr(accept, "_BATCH", 1)
    # The session is lost between two statements, not in the middle of one.
    monkeypatch.setattr(accept, "_WORKERS", 1)
    for _ in range(2):
        backup = completed_backup()
        MemoryBackend.objects[backup.object_key].etag = "of a copy"
    losing.is_on = True
    outcomes = lifecycle.accept_copies("memory")
    assert [outcome.is_accepted for outcome in outcomes] == [True, True]
    assert losing.lost


def test_statement_that_fails_on_a_live_connection_is_not_repeated(memory):
    tries = []

    def fail():
        tries.append(session_of(connection))
        raise OperationalError("a lock")

    connection.ensure_connection()
    with pytest.raises(OperationalError):
        retrying("default", fail)
    assert tries == [session_of(connection)]


def test_nothing_is_repeated_inside_a_transaction(losing):
    """What was written before in that transaction is gone: its owner alone can begin again."""
    tries = []

    def count():
        tries.append(1)
        return Backup.objects.count()

    @transaction.atomic
    def transact():
        Backup.objects.count()
        losing(lambda: None)
        retrying("default", count)

    losing.is_on = True
    with pytest.raises(OperationalError):
        transact()
    assert tries == [1]
