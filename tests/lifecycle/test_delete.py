"""Deleting and forgetting backups."""

from __future__ import annotations

import pytest

from backups_remote import lifecycle
from backups_remote.exceptions import (
    BackupConflict,
    BackupLocked,
    DiskNotConfigured,
    StorageUnavailable,
)
from backups_remote.models import RESTORING, Backup, Server
from backups_remote.testing import MemoryBackend
from tests.support.factories import ServerFactory
from tests.support.memory import (
    complete_in_store,
    completed_backup,
    put_foreign_object,
    raising,
    row,
    uploaded,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

S = Backup.State


@pytest.mark.parametrize(
    "newer",
    [
        {"object_etag": "newer"},
        {"version_id": "newer"},
        {"is_successful": False},
    ],
)
def test_deletion_does_not_begin_after_concurrent_change(newer):
    backup = completed_backup()
    Backup.objects.update(**newer)
    assert not backup.begin_deletion()
    assert row().state is not S.DELETING


def test_begun_deletion_is_continued():
    backup = completed_backup()
    assert row().begin_deletion()
    lifecycle.delete_backup(backup)
    assert not Backup.objects.exists()
    assert MemoryBackend.objects == {}


def test_unfinished_backup_is_not_deleted():
    with pytest.raises(BackupConflict, match="not ended"):
        lifecycle.delete_backup(uploaded())


def test_a_locked_backup_is_not_deleted():
    backup = completed_backup()
    seen_before = row()
    assert lifecycle.lock_backup(backup)
    with pytest.raises(BackupLocked):
        lifecycle.delete_backup(seen_before)
    assert backup.object_key in MemoryBackend.objects


def test_deletion_on_unconfigured_disk_does_not_begin():
    backup = completed_backup()
    Backup.objects.update(disk="gone")
    with pytest.raises(DiskNotConfigured):
        lifecycle.delete_backup(row())
    assert row().state is S.COMPLETED
    assert backup.object_key in MemoryBackend.objects


def test_failed_backup_is_deleted_during_restore_of_unknown_backup():
    backup = uploaded(ServerFactory(status=RESTORING))
    assert backup.fail("why")
    lifecycle.delete_backup(backup)
    assert not Backup.objects.exists()


def test_deletion_aborts_the_open_upload():
    backup = uploaded()
    assert backup.fail("why")
    lifecycle.delete_backup(backup)
    assert MemoryBackend.uploads == {}


def test_deletion_without_object_deletes_only_the_row(memory):
    """Where versions are kept, deleting what is not there leaves a delete marker."""
    backup = uploaded()
    assert backup.fail("why")
    lifecycle.delete_backup(backup)
    assert memory.calls["delete"] == 0
    assert not Backup.objects.exists()


@pytest.mark.parametrize("is_failed", [False, True])
def test_foreign_object_is_kept_by_deletion(is_failed):
    backup = uploaded() if is_failed else completed_backup()
    if is_failed:
        assert backup.fail("why")
    put_foreign_object(backup, mark="another")
    left = lifecycle.delete_backup(backup)
    assert left.mark == "another"
    assert backup.object_key in MemoryBackend.objects
    assert not Backup.objects.exists()


def test_late_object_of_failed_backup_is_deleted():
    backup = uploaded()
    complete_in_store(backup)
    assert backup.fail("why")
    assert lifecycle.delete_backup(backup) is None
    assert MemoryBackend.objects == {}


def test_row_is_kept_when_store_refuses_deletion(memory):
    backup = completed_backup()
    memory.instead["delete"] = raising(StorageUnavailable("Down."))
    with pytest.raises(StorageUnavailable):
        lifecycle.delete_backup(backup)
    assert row().state is S.DELETING
    memory.instead.clear()
    assert [o.action for o in lifecycle.sweep()] == ["deleted"]
    assert MemoryBackend.objects == {}


def test_backup_on_configured_disk_is_not_forgotten():
    with pytest.raises(BackupConflict, match="is configured"):
        lifecycle.forget_backup(completed_backup())
    assert Backup.objects.exists()


def test_backup_on_a_disk_that_cannot_be_set_up_is_kept(settings):
    """A misspelt option, a missing library: its archive is where it was."""
    backup = completed_backup()
    whole = settings.BACKUPS_REMOTE
    broken = {"BACKENDS": {"memory": "tests.support.memory.BrokenBackend"}}
    settings.BACKUPS_REMOTE = {**whole, **broken}
    with pytest.raises(BackupConflict, match="is configured"):
        lifecycle.forget_backup(backup)
    with pytest.raises(DiskNotConfigured, match="cannot be set up"):
        lifecycle.delete_backup(backup)
    assert row().state is S.COMPLETED
    settings.BACKUPS_REMOTE = whole
    assert lifecycle.delete_backup(backup) is None


@pytest.mark.parametrize("why", ["locked", "restored"])
def test_a_locked_or_restored_backup_is_not_forgotten(why):
    backup = completed_backup()
    if why == "locked":
        lifecycle.lock_backup(backup)
    else:
        lifecycle.start_restore(backup)
    Backup.objects.update(disk="gone")
    with pytest.raises(BackupLocked if why == "locked" else BackupConflict):
        lifecycle.forget_backup(row())
    Server.objects.update(status=None)
    Backup.objects.update(is_locked=False)
    lifecycle.forget_backup(row())
    assert not Backup.objects.exists()
    assert backup.object_key in MemoryBackend.objects
