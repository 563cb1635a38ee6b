"""A node that archives for hours gives no sign of life before it asks for URLs."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from django.db import connections
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import AlreadyCompleted, BackupLimitReached, ReportRefused
from backups_remote.models import Backup, EventKind, Server
from backups_remote.testing import MemoryBackend
from backups_remote.types import Report
from tests.support.factories import ServerFactory
from tests.support.memory import (
    SIZE,
    completed_backup,
    failure_report,
    put_part,
    set_age,
    success,
    sweep_actions,
    uploading_backup,
)
from tests.support.rows import remove

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

S = Backup.State
NOW = dt.timedelta(0)


def failed_in_silence(server=None, **fields):
    """A backup whose node archives for eight hours."""
    backup = lifecycle.start_backup(server or ServerFactory(), **fields)
    set_age(backup, hours=8)
    assert sweep_actions() == ["failed"]
    return backup


def ask_for_size(backup):
    return lifecycle.request_upload(backup, SIZE)


def ask_for_parts(backup):
    return lifecycle.request_parts(backup, 1)


@pytest.mark.parametrize("ask", [ask_for_size, ask_for_parts])
def test_node_that_asks_after_all_gets_urls(ask):
    backup = failed_in_silence(is_locked=True)
    ticket = ask(backup)
    assert (backup.state, backup.failure, backup.is_locked) == (S.UPLOADING, "", True)
    assert sweep_actions() == []

    etag = MemoryBackend.put_part(ticket.urls[0], b"archive")
    backup.etag = etag
    lifecycle.record_report(backup, success(backup))
    backup.refresh_from_db()
    assert backup.state is S.COMPLETED
    told = backup.events.get(kind=EventKind.UPLOAD_STARTED)
    assert told.detail.endswith("; it had failed in silence")


def test_clock_that_jumps_ahead_ends_nothing_for_good(monkeypatch):
    backups = [lifecycle.start_backup(ServerFactory()) for _ in range(3)]
    later = timezone.now() + dt.timedelta(hours=8)
    with monkeypatch.context() as clock:
        clock.setattr(timezone, "now", lambda: later)
        assert sweep_actions() == ["failed"] * 3
    for backup in backups:
        ask_for_size(backup)
        put_part(backup)
    assert Backup.objects.uploading().count() == 3


def test_its_end_counts_from_the_new_call():
    backup = failed_in_silence()
    ask_for_size(backup)
    assert sweep_actions() == []
    set_age(backup, hours=30)
    assert sweep_actions() == ["failed"]
    with pytest.raises(AlreadyCompleted):
        ask_for_size(backup)


def operator(backup):
    lifecycle.expire(Backup.objects.filter(pk=backup.pk))


def node(backup):
    lifecycle.record_report(backup, failure_report())


def refused(backup):
    with pytest.raises(ReportRefused):
        lifecycle.record_report(backup, Report(True, "sha1:abc", SIZE))
    sweep_actions(NOW)


def with_an_upload(backup):
    ask_for_size(backup)
    sweep_actions(NOW)


def told_later(backup):
    sweep_actions(NOW)
    lifecycle.record_report(backup, failure_report())
    backup.refresh_from_db()
    assert backup.failure == "the node reported failure"
    lifecycle.record_report(backup, failure_report())


def test_refused_report_after_the_silence_is_final():
    backup = lifecycle.start_backup(ServerFactory())
    sweep_actions(NOW)
    with pytest.raises(ReportRefused):
        lifecycle.record_report(backup, Report(True, "sha1:abc", SIZE))
    with pytest.raises(AlreadyCompleted):
        ask_for_size(backup)
    with pytest.raises(AlreadyCompleted):
        ask_for_parts(backup)


def test_no_answer_names_an_upload_that_a_sweep_takes_for_an_orphan(memory):
    """The sweep runs between the store's answer and the UPDATE that names the upload."""
    backup = failed_in_silence()
    swept = []

    def create(call):
        upload_id = call()
        swept.extend(sweep_actions(NOW))
        return upload_id

    memory.instead["create_upload"] = create
    with pytest.raises(AlreadyCompleted):
        ask_for_size(backup)
    assert swept == ["orphan aborted"]
    assert MemoryBackend.uploads == {}


def test_upload_that_is_written_before_the_sweep_closes_the_backup_is_kept(memory, monkeypatch):
    """The UPDATE comes between the sweep's look at the rows and its abort."""
    backup = failed_in_silence()
    confirm = Backup.confirm_failure
    backend = MemoryBackend("memory")
    key = backend.object_key(backup.server.uuid, backup.uuid)
    upload_id = backend.create_upload(key, "mark")

    def confirm_late(self, reason=""):
        row = Backup.objects.get()
        assert row.start_upload(
            upload_id=upload_id, mark="mark", key=key, size=SIZE, part_size=SIZE
        )
        return confirm(self, reason)

    monkeypatch.setattr(Backup, "confirm_failure", confirm_late)
    assert sweep_actions(NOW) == []
    assert list(MemoryBackend.uploads) == [upload_id]


def test_uploads_that_their_callers_never_wrote_are_orphans(memory):
    """In the run that fails their backup, too."""
    backup = lifecycle.start_backup(ServerFactory())
    backend = MemoryBackend("memory")
    key = backend.object_key(backup.server.uuid, backup.uuid)
    for mark in ("first", "second"):
        backend.create_upload(key, mark)
    assert sweep_actions(NOW, dry_run=True) == ["failed"]
    assert sweep_actions(NOW) == ["failed", "orphan aborted", "orphan aborted"]
    assert MemoryBackend.uploads == {}


@pytest.mark.parametrize("end", [operator, node, told_later, refused, with_an_upload])
def test_failure_for_any_other_reason_is_final(end):
    backup = lifecycle.start_backup(ServerFactory())
    end(backup)
    backup.refresh_from_db()
    assert (backup.state, backup.failed_in_silence) == (S.FAILED, False)
    with pytest.raises(AlreadyCompleted):
        ask_for_size(backup)
    assert MemoryBackend.uploads == {}


def test_place_that_is_taken_meanwhile_is_not_given_twice():
    server = ServerFactory(backup_limit=1)
    backup = failed_in_silence(server)
    uploading_backup(server)
    with pytest.raises(BackupLimitReached):
        ask_for_size(backup)
    backup.refresh_from_db()
    assert (backup.state, backup.failed_in_silence) == (S.FAILED, True)
    assert len(MemoryBackend.uploads) == 1

    remove(Backup.objects.exclude(pk=backup.pk))
    ask_for_size(backup)
    assert backup.state is S.UPLOADING


def test_backup_that_rotation_makes_room_for_gets_its_place_again():
    server = ServerFactory(backup_limit=1)
    completed_backup(server)
    backup = failed_in_silence(server, rotating=True)
    ask_for_size(backup)
    assert backup.state is S.UPLOADING


@pytest.mark.databases
@pytest.mark.django_db(transaction=True)
def test_one_of_two_takes_the_last_place():
    """Each would count before the other has begun, were they not one after the other."""
    server = ServerFactory(backup_limit=1)
    backups = [failed_in_silence(server), failed_in_silence(server)]
    together = threading.Barrier(2)
    answers = []

    def ask(backup):
        together.wait()
        try:
            ask_for_size(backup)
            answers.append("urls")
        except BackupLimitReached:
            answers.append("limit")
        finally:
            connections.close_all()

    asking = [threading.Thread(target=ask, args=[backup]) for backup in backups]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert sorted(answers) == ["limit", "urls"]
    assert Backup.objects.counted().count() == 1


def test_server_without_a_limit_takes_it_back_without_counting():
    backup = failed_in_silence()
    Server.objects.update(backup_limit=None)
    ask_for_size(backup)
    assert backup.state is S.UPLOADING
