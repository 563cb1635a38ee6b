"""Starting and ending restores, and what they protect."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import (
    BackupConflict,
    BackupNotFound,
    RestoreRefused,
)
from backups_remote.models import RESTORING, Backup, EventKind, Server
from backups_remote.testing import MemoryBackend
from backups_remote.testing.store import Upload
from backups_remote.types import Report
from tests.support.factories import NodeFactory, ServerFactory
from tests.support.memory import (
    ARCHIVE,
    complete_in_store,
    completed_backup,
    put_foreign_object,
    put_part,
    remaining_uuids,
    uploaded,
)
from tests.support.rows import remove

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]


def test_archive_in_cold_storage_is_not_restored(server, settings):
    """The daemon would empty the server, and then be refused the archive."""
    settings.BACKUPS_REMOTE = {
        "DEFAULT_DISK": "memory",
        "BACKENDS": {"memory": "backups_remote.testing.MemoryBackend"},
    }
    try:
        backup = lifecycle.start_backup(server)
        ticket = lifecycle.request_upload(backup, len(ARCHIVE))
        MemoryBackend.put_part(ticket.urls[0], ARCHIVE)
        lifecycle.record_report(backup, Report(True, "sha1:abc", len(ARCHIVE)))
        MemoryBackend.objects[backup.object_key].is_readable = False
        with pytest.raises(RestoreRefused, match="archive class"):
            lifecycle.start_restore(backup)
        assert Server.objects.get().status is None

        MemoryBackend.objects[backup.object_key].is_readable = True
        assert lifecycle.start_restore(backup) is not None
    finally:
        MemoryBackend.clear()


def test_backup_being_restored_is_neither_deleted_nor_rotated():
    server = ServerFactory()
    backups = [completed_backup(server) for _ in range(2)]
    Server.objects.update(backup_limit=1)
    lifecycle.start_restore(backups[0])
    with pytest.raises(BackupConflict, match="restored"):
        lifecycle.delete_backup(backups[0])
    assert lifecycle.rotate_backups(server) == []
    backups[0].refresh_from_db()
    assert backups[0].state is Backup.State.COMPLETED
    assert backups[0].object_key in MemoryBackend.objects

    lifecycle.record_restore(backups[0], successful=True)
    assert lifecycle.rotate_backups(server) == [backups[0].uuid]


def test_other_backups_of_the_server_can_be_deleted_during_restore():
    server = ServerFactory()
    backups = [completed_backup(server) for _ in range(2)]
    lifecycle.start_restore(backups[0])
    lifecycle.delete_backup(backups[1])
    assert remaining_uuids(server) == {backups[0].uuid}


def test_restore_of_unknown_backup_protects_all_completed_ones():
    """The status was set by the project itself, or before the backup was remembered."""
    server = ServerFactory(status=RESTORING)
    backups = [completed_backup(server) for _ in range(2)]
    for backup in backups:
        with pytest.raises(BackupConflict, match="restored"):
            lifecycle.delete_backup(backup)
    Server.objects.filter(pk=server.pk).update(backup_limit=1)
    assert lifecycle.rotate_backups(server) == []
    lifecycle.record_restore(backups[1], successful=True)
    assert Server.objects.get().status is None
    lifecycle.delete_backup(backups[0])


def test_sweep_defers_deletion_during_restore_of_unknown_backup():
    """As a panel of the first version could leave it."""
    backup = completed_backup(ServerFactory())
    assert backup.begin_deletion()
    Server.objects.update(status=RESTORING)
    assert list(lifecycle.sweep()) == []
    assert backup.object_key in MemoryBackend.objects
    Server.end_restore(backup.server_id, backup, EventKind.RESTORE_COMPLETED)
    assert [o.action for o in lifecycle.sweep()] == ["deleted"]


def test_restore_report_for_another_backup_is_ignored(restore_ends, commits):
    server = ServerFactory()
    first, second = completed_backup(server), completed_backup(server)
    lifecycle.start_restore(first)
    with commits():
        lifecycle.record_restore(first, successful=True)
    lifecycle.start_restore(second)
    with commits():
        lifecycle.record_restore(first, successful=True)  # its answer had been lost
    assert Server.objects.get().is_restoring_from(second)
    with pytest.raises(BackupConflict, match="restored"):
        lifecycle.delete_backup(second)
    lifecycle.cancel_restore(first)
    assert Server.objects.get().status == RESTORING
    with commits():
        lifecycle.record_restore(second, successful=False)
    server.refresh_from_db()
    assert (server.status, server.restoring_backup, server.restore_started_at) == (None,) * 3
    assert restore_ends == [(first.uuid, True), (second.uuid, False)]


def test_started_restore_is_recorded_on_the_server():
    backup = completed_backup(ServerFactory())
    lifecycle.start_restore(backup)
    server = Server.objects.get()
    assert server.restoring_backup == backup
    assert timezone.now() - server.restore_started_at < dt.timedelta(minutes=1)


def overdue():
    long_ago = timezone.now() - dt.timedelta(hours=25)
    Server.objects.update(restore_started_at=long_ago)


def test_overdue_restore_does_not_block_deletion():
    backup = completed_backup(ServerFactory())
    lifecycle.start_restore(backup)
    overdue()
    lifecycle.delete_backup(backup)
    assert not Backup.objects.exists()


def test_overdue_restore_is_replaced_by_another(restore_ends, commits):
    server = ServerFactory()
    first, second = completed_backup(server), completed_backup(server)
    lifecycle.start_restore(first)
    with pytest.raises(RestoreRefused, match="busy"):
        lifecycle.start_restore(second)
    overdue()
    with commits():
        lifecycle.start_restore(second)
    assert Server.objects.get().is_restoring_from(second)
    assert not Server.objects.get().is_restoring_from(first)
    assert restore_ends == [(first.uuid, False)]


def test_sweep_ends_an_overdue_restore(settings, restore_ends, commits):
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "RESTORE_TIMEOUT": 3600}
    backup = completed_backup(ServerFactory())
    lifecycle.start_restore(backup)
    assert list(lifecycle.sweep()) == []
    Server.objects.update(restore_started_at=timezone.now() - dt.timedelta(hours=2))
    assert list(lifecycle.sweep(disk="another")) != []  # there is no such disk
    assert Server.objects.get().status == RESTORING
    with commits():
        [outcome] = lifecycle.sweep()
    assert (outcome.action, outcome.subject) == ("restore ended", str(backup.uuid))
    assert Server.objects.get().status is None
    assert restore_ends == [(backup.uuid, False)]


def test_restore_without_start_time_is_timed_from_the_first_sweep():
    server = ServerFactory(status=RESTORING)
    assert list(lifecycle.sweep()) == []
    server.refresh_from_db()
    assert timezone.now() - server.restore_started_at < dt.timedelta(minutes=1)
    overdue()
    [outcome] = lifecycle.sweep()
    assert (outcome.action, outcome.subject) == ("restore ended", str(server.uuid))


def test_other_server_status_clears_the_restore():
    server = ServerFactory()
    lifecycle.start_restore(completed_backup(server))
    server.refresh_from_db()
    server.status = "suspended"
    server.save(update_fields=["status"])
    server.refresh_from_db()
    assert (server.restoring_backup, server.restore_started_at) == (None, None)


def test_restore_reloads_backup_after_marking_the_server(memory):
    backup = completed_backup(ServerFactory())

    def stat(call):
        """Its deletion begins after the look at the archive."""
        found = call()
        assert Backup.objects.get().begin_deletion()
        return found

    memory.instead["stat"] = stat
    with pytest.raises(RestoreRefused):
        lifecycle.start_restore(backup)
    assert Server.objects.get().status is None


def test_restore_of_deleted_backup_leaves_server_unchanged():
    backup = completed_backup(ServerFactory())
    remove(Backup.objects.all())
    with pytest.raises(BackupNotFound):
        lifecycle.start_restore(backup)
    assert Server.objects.get().status is None


def test_wings_backup_is_not_restored_after_server_moved():
    server = ServerFactory()
    backup = completed_backup(server, "wings")
    assert lifecycle.start_restore(backup) is None
    lifecycle.cancel_restore(backup)
    Server.objects.update(node=NodeFactory())
    with pytest.raises(RestoreRefused, match="has left"):
        lifecycle.start_restore(backup)
    assert Server.objects.get().status is None


def test_failed_backup_is_deleted_during_restore_of_another():
    server = ServerFactory()
    failed = lifecycle.start_backup(server)
    lifecycle.record_report(failed, Report(successful=False))
    lifecycle.start_restore(completed_backup(server))
    lifecycle.delete_backup(failed)
    assert not Backup.objects.failed().exists()


def test_restore_is_refused_after_part_changed_object():
    """Some stores take it, and show the object as whole although reading it fails."""
    backup = completed_backup()
    upload = Upload(backup.object_key, backup.upload_mark, timezone.now())
    MemoryBackend.uploads[backup.upload_id] = upload
    put_part(backup)
    assert lifecycle.start_restore(backup) is not None
    lifecycle.cancel_restore(backup)
    put_part(backup, b"replace")
    with pytest.raises(RestoreRefused, match="was replaced"):
        lifecycle.start_restore(backup)
    assert Server.objects.get().status is None


def test_missing_or_foreign_archive_is_not_restored():
    backup = completed_backup()
    put_foreign_object(backup)
    with pytest.raises(RestoreRefused, match="ETag"):
        lifecycle.start_restore(backup)
    MemoryBackend.objects.clear()
    with pytest.raises(RestoreRefused, match="not in the store"):
        lifecycle.start_restore(backup)
    assert Server.objects.get().status is None


def test_uncompleted_backup_has_no_download_link():
    backup = uploaded()
    complete_in_store(backup)
    with pytest.raises(RestoreRefused, match="Only a completed"):
        lifecycle.download_link(backup)
