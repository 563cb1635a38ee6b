"""The app on a database that is not ``default``; tests/lifecycle/test_disks.py runs this by itself."""

import contextlib
import datetime as dt
import threading

import pytest
from django.db import connections, transaction

from backups_remote import lifecycle, signals
from backups_remote.exceptions import BackupLimitReached
from backups_remote.models import Backup, BackupEvent, BackupQuerySet
from backups_remote.testing import MemoryBackend
from backups_remote.types import Report, ReportedPart
from tests.support.factories import ServerFactory

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "panel"])

ARCHIVE = b"archive"


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    MemoryBackend.clear()


def test_concurrent_start_backup_respects_the_limit(monkeypatch):
    """Both would count before either has begun, were they not one after the other."""
    server = ServerFactory(backup_limit=1)
    counting = threading.Barrier(2)
    count = BackupQuerySet.count

    def count_together(self):
        counted = count(self)
        with contextlib.suppress(threading.BrokenBarrierError):
            counting.wait(1)
        return counted

    monkeypatch.setattr(BackupQuerySet, "count", count_together)
    answers = []

    def start():
        try:
            answers.append(lifecycle.start_backup(type(server).objects.get()).state)
        except BackupLimitReached as error:
            answers.append(type(error))
        finally:
            connections.close_all()

    starting = [threading.Thread(target=start) for _ in range(2)]
    for thread in starting:
        thread.start()
    for thread in starting:
        thread.join()
    assert sorted(answers, key=str) == sorted([Backup.State.PENDING, BackupLimitReached], key=str)
    assert len(Backup.objects.all()) == 1


def test_verbs_and_signals_use_transactions_of_the_app_database():
    heard = []

    def hear(backup, **kwargs):
        heard.append(connections["panel"].in_atomic_block)

    signals.backup_completed.connect(hear)
    try:
        backup = lifecycle.start_backup(ServerFactory())
        ticket = lifecycle.request_upload(backup, len(ARCHIVE))
        etag = MemoryBackend.put_part(ticket.urls[0], ARCHIVE)
        report = Report(True, "sha1:abc", len(ARCHIVE), (ReportedPart(1, etag),))
        with transaction.atomic(using="panel"), pytest.raises(RuntimeError, match="transaction"):
            lifecycle.record_report(backup, report)
        assert heard == []
        # A transaction on another database is the caller's own affair.
        with transaction.atomic(using="default"):
            lifecycle.record_report(backup, report)
            assert heard == [False]
    finally:
        signals.backup_completed.disconnect(hear)
    assert Backup.objects.using("panel").get().state is Backup.State.COMPLETED
    events = BackupEvent.objects.using("panel").of_backup(backup.uuid)
    assert [event.kind for event in events] == [
        "created",
        "upload_started",
        "reported",
        "completed",
    ]


def test_sweep_uses_the_app_database():
    lifecycle.request_upload(lifecycle.start_backup(ServerFactory()), len(ARCHIVE))
    outcomes = list(lifecycle.sweep(older_than=dt.timedelta(0)))
    assert [o.action for o in outcomes] == ["failed"]
    assert MemoryBackend.uploads == {}
