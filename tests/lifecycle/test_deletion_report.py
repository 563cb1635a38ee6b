"""A node reports that it deleted an archive from its own disk."""

from __future__ import annotations

import pytest

from backups_remote import lifecycle
from backups_remote.exceptions import DiskNotConfigured
from backups_remote.models import Backup
from backups_remote.types import Report
from tests.support.factories import BackupFactory, ServerFactory
from tests.support.memory import completed_backup, reported, row, uploading_backup

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

S = Backup.State


def deleting(disk="wings"):
    backup = completed_backup(disk=disk)
    assert backup.begin_deletion()
    return backup


def test_row_of_a_deleted_archive_is_deleted():
    backup = deleting()
    seen_twice = row()
    assert lifecycle.record_deletion(backup, successful=True)
    assert not Backup.objects.exists()
    # A repeat that was looked up before.
    assert not lifecycle.record_deletion(seen_twice, successful=True)


def test_row_is_kept_while_the_archive_is_there(caplog):
    backup = deleting()
    assert not lifecycle.record_deletion(backup, successful=False)
    assert row().state is S.DELETING
    # For the admin: no sweep was there to say so.
    assert row().deletion_refusal == "The node reported that it could not delete the archive."
    assert row().deletion_refused_at is not None
    assert f"could not delete the archive of backup {backup.uuid}" in caplog.text
    assert lifecycle.record_deletion(row(), successful=True)


def test_archive_in_a_store_is_not_the_nodes_to_delete():
    backup = deleting("memory")
    for successful in (True, False):
        assert not lifecycle.record_deletion(backup, successful=successful)
    assert row().state is S.DELETING


@pytest.mark.parametrize("successful", [True, False])
def test_backup_in_another_state_is_left(successful, caplog):
    failed = BackupFactory(server=ServerFactory(), disk="wings")
    lifecycle.record_report(failed, Report(successful=False))
    for backup in (
        BackupFactory(server=ServerFactory(), disk="wings"),
        failed,
        completed_backup(disk="wings"),
        completed_backup(),
        uploading_backup(),
        reported(),
    ):
        before = Backup.objects.filter(pk=backup.pk).values().get()
        assert not lifecycle.record_deletion(backup, successful=successful)
        assert Backup.objects.filter(pk=backup.pk).values().get() == before
    # No warning either that an archive is still there: nobody wants it deleted.
    assert "could not delete" not in caplog.text


def test_unconfigured_disk_leaves_the_row():
    backup = deleting()
    Backup.objects.update(disk="gone")
    with pytest.raises(DiskNotConfigured):
        lifecycle.record_deletion(row(), successful=True)
    assert row().uuid == backup.uuid
