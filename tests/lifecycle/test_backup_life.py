"""A backup's life through the public verbs, on the store in memory."""

from __future__ import annotations

import pytest

from backups_remote import lifecycle, signals
from backups_remote.exceptions import (
    BackupConflict,
    BackupLimitReached,
    BackupLocked,
    BackupNotFound,
    ReportRefused,
    RestoreRefused,
)
from backups_remote.models import Backup, Server
from backups_remote.testing import MemoryBackend
from backups_remote.types import Report, ReportedPart
from tests.support.factories import ServerFactory
from tests.support.memory import ARCHIVE
from tests.support.rows import remove

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

REPORT = Report(successful=True, checksum="sha1:abc", size=len(ARCHIVE))


@pytest.fixture
def heard():
    """The signals sent, by name."""
    names = []
    receivers = []
    for name in ("backup_completed", "backup_failed", "restore_reported"):

        def receive(*, _name=name, **_):
            names.append(_name)

        getattr(signals, name).connect(receive)
        receivers.append((name, receive))
    yield names
    for name, receive in receivers:
        getattr(signals, name).disconnect(receive)


def uploaded(**fields):
    backup = lifecycle.start_backup(ServerFactory(), **fields)
    ticket = lifecycle.request_upload(backup, len(ARCHIVE))
    MemoryBackend.put_part(ticket.urls[0], ARCHIVE)
    return backup


def completed(**fields):
    backup = uploaded(**fields)
    lifecycle.record_report(backup, REPORT)
    return backup


def test_a_backup_is_completed_restored_and_deleted(heard, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        backup = completed(name="nightly", ignored_files=["*.log"])
    assert heard == ["backup_completed"]
    assert backup.state is Backup.State.COMPLETED
    assert lifecycle.start_restore(backup) == f"memory://{backup.object_key}"
    assert Server.objects.get().status == "restoring_backup"
    with django_capture_on_commit_callbacks(execute=True):
        lifecycle.record_restore(backup, successful=True)
    assert Server.objects.get().status is None
    assert heard[1:] == ["restore_reported"]
    lifecycle.delete_backup(backup)
    assert not Backup.objects.exists()
    assert MemoryBackend.objects == {}


def test_wrong_part_list_is_refused_and_correct_one_accepted():
    backup = uploaded()
    wrong = Report(True, "sha1:abc", len(ARCHIVE), (ReportedPart(1, "00"),))
    with pytest.raises(ReportRefused, match="etag of part 1"):
        lifecycle.record_report(backup, wrong)
    lifecycle.record_report(backup, REPORT)
    assert backup.is_successful


def test_limit_counts_completed_and_unfinished_backups():
    server = ServerFactory(backup_limit=2)
    first = lifecycle.start_backup(server)
    lifecycle.start_backup(server)
    with pytest.raises(BackupLimitReached):
        lifecycle.start_backup(server)
    lifecycle.record_report(first, Report(successful=False))
    lifecycle.start_backup(server)


def test_server_without_limit_has_no_limit():
    server = ServerFactory(backup_limit=None)
    for _ in range(3):
        lifecycle.start_backup(server)


def test_a_missing_archive_is_not_restored():
    backup = completed()
    MemoryBackend.objects.clear()
    with pytest.raises(RestoreRefused, match="not in the store"):
        lifecycle.start_restore(backup)
    backup.server.refresh_from_db()
    assert backup.server.status is None


def test_an_archive_of_another_size_is_not_restored():
    backup = completed()
    MemoryBackend.objects[backup.object_key].body += b"!"
    with pytest.raises(RestoreRefused, match="8 bytes instead of 7"):
        lifecycle.start_restore(backup)


def test_an_archive_of_another_upload_is_not_restored():
    backup = completed()
    MemoryBackend.objects[backup.object_key].mark = "another"
    with pytest.raises(RestoreRefused, match="not this backup's"):
        lifecycle.start_restore(backup)


def test_only_a_completed_backup_is_restored():
    backup = uploaded()
    with pytest.raises(RestoreRefused, match="completed"):
        lifecycle.start_restore(backup)
    lifecycle.record_report(backup, Report(successful=False))
    with pytest.raises(RestoreRefused, match="completed"):
        lifecycle.start_restore(backup)


def test_restore_to_busy_server_is_refused():
    backup = completed()
    backup.server.status = "suspended"
    backup.server.save()
    with pytest.raises(RestoreRefused, match="busy"):
        lifecycle.start_restore(backup)


def test_restore_can_be_cancelled():
    backup = completed()
    lifecycle.start_restore(backup)
    lifecycle.cancel_restore(backup)
    backup.server.refresh_from_db()
    assert backup.server.status is None


def test_a_locked_or_unfinished_backup_is_not_deleted():
    backup = uploaded()
    with pytest.raises(BackupConflict, match="not ended"):
        lifecycle.delete_backup(backup)
    lifecycle.record_report(backup, REPORT)
    assert lifecycle.lock_backup(backup)
    assert not lifecycle.lock_backup(backup)
    with pytest.raises(BackupLocked):
        lifecycle.delete_backup(backup)
    assert lifecycle.unlock_backup(backup)
    lifecycle.delete_backup(backup)


@pytest.mark.parametrize(
    "call",
    [
        lambda backup: lifecycle.request_upload(backup, len(ARCHIVE) + 1),
        lambda backup: lifecycle.record_report(backup, REPORT),
        lambda backup: lifecycle.record_report(backup, Report(successful=False)),
    ],
)
def test_call_for_concurrently_deleted_backup_is_not_found(call):
    backup = uploaded()
    remove(Backup.objects.all())
    with pytest.raises(BackupNotFound):
        call(backup)
    # The upload of the deleted row is the sweep's; a new one was thrown away.
    assert list(MemoryBackend.uploads) == [backup.upload_id]


def test_a_backup_may_be_deleted_twice():
    backup = completed()
    again = Backup.objects.get()
    lifecycle.delete_backup(backup)
    lifecycle.delete_backup(again)
    assert not Backup.objects.exists()


def test_complete_stale_upload_is_recovered_by_default():
    backup, other = uploaded(), uploaded()
    outcomes = list(lifecycle.expire(Backup.objects.filter(pk=backup.pk)))
    assert [outcome.action for outcome in outcomes] == ["recovered"]
    backup.refresh_from_db()
    assert (backup.state, backup.is_recovered) == (Backup.State.COMPLETED, True)
    assert (backup.checksum, backup.size) == ("", len(ARCHIVE))
    outcomes = list(lifecycle.expire(Backup.objects.filter(pk=other.pk), recover=False))
    assert [outcome.action for outcome in outcomes] == ["failed"]
    assert MemoryBackend.uploads == {}


def test_rotation_waits_until_the_new_backup_completes():
    server = ServerFactory(backup_limit=1)
    old = completed_on(server)
    with pytest.raises(BackupLimitReached):
        lifecycle.start_backup(server)
    new = lifecycle.start_backup(server, rotating=True)
    with pytest.raises(BackupLimitReached):
        lifecycle.start_backup(server, rotating=True)
    assert lifecycle.rotate_backups(server) == []
    finish(new)
    assert lifecycle.rotate_backups(server) == [old.uuid]
    assert list(Backup.objects.all()) == [new]
    assert list(MemoryBackend.objects) == [new.object_key]


def test_rotation_never_deletes_a_locked_backup():
    server = ServerFactory(backup_limit=1)
    lifecycle.lock_backup(completed_on(server))
    with pytest.raises(BackupLimitReached):
        lifecycle.start_backup(server, rotating=True)


def test_failed_backup_causes_no_rotation():
    server = ServerFactory(backup_limit=1)
    old = completed_on(server)
    new = lifecycle.start_backup(server, rotating=True)
    lifecycle.record_report(new, Report(successful=False))
    assert lifecycle.rotate_backups(server) == []
    old.refresh_from_db()
    assert old.state is Backup.State.COMPLETED


def completed_on(server):
    backup = lifecycle.start_backup(server)
    finish(backup)
    return backup


def finish(backup):
    ticket = lifecycle.request_upload(backup, len(ARCHIVE))
    MemoryBackend.put_part(ticket.urls[0], ARCHIVE)
    lifecycle.record_report(backup, REPORT)
