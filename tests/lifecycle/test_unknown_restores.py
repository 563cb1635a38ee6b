"""Where the project sets the status by itself, no backup is remembered, and all are held."""

import pytest

from backups_remote import lifecycle
from backups_remote.exceptions import BackupConflict
from backups_remote.models import RESTORING, Backup, Server
from tests.support.factories import NodeFactory, ServerFactory
from tests.support.memory import completed_backup

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]


def by_update(status):
    Server.objects.update(status=status)


def by_bulk_update(status):
    server = Server.objects.get()
    server.status = status
    Server.objects.bulk_update([server], ["status"])


def by_relation(status):
    Server.objects.get().node.servers.update(status=status)


def by_save(status):
    server = Server.objects.get()
    server.status = status
    server.save()


def by_saving_the_field(status):
    server = Server.objects.get()
    server.status = status
    server.save(update_fields=["status"])


SETTERS = [by_update, by_bulk_update, by_relation, by_save, by_saving_the_field]


@pytest.mark.parametrize("begin", SETTERS)
@pytest.mark.parametrize("reset", SETTERS)
def test_other_server_status_clears_the_previous_restore(reset, begin):
    server = ServerFactory()
    backups = [completed_backup(server), completed_backup(server)]
    lifecycle.start_restore(backups[0])
    reset(None)
    begin(RESTORING)
    row = Server.objects.get()
    assert (row.restoring_backup, row.restore_started_at) == (None, None)
    for backup in backups:
        with pytest.raises(BackupConflict):
            lifecycle.delete_backup(backup)


def test_saving_a_server_during_its_restore_keeps_what_is_being_restored():
    backup = completed_backup()
    lifecycle.start_restore(backup)
    server = Server.objects.get()
    server.name = "renamed"
    server.save()
    server.save(update_fields=["name", "status"])
    server.refresh_from_db()
    server.save()
    assert Server.objects.get().restoring_backup == backup


def test_moving_a_server_during_its_restore_keeps_what_is_being_restored():
    backup = completed_backup()
    lifecycle.start_restore(backup)
    Server.objects.update(node=NodeFactory())
    assert Server.objects.get().restoring_backup == backup


def test_a_deletion_that_an_old_panel_may_take_back_waits_for_the_restore():
    backup = completed_backup()
    assert backup.begin_deletion()
    Server.objects.update(status=RESTORING)
    with pytest.raises(BackupConflict):
        lifecycle.delete_backup(Backup.objects.get())
    Server.objects.update(status=None)
    lifecycle.delete_backup(Backup.objects.get())
    assert not Backup.objects.exists()
