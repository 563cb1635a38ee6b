"""A restore whose node never reports ends once, as failed, and no other restore with it."""

import datetime as dt

import pytest
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import BackupConflict
from backups_remote.lifecycle.restores import end_overdue_restores
from backups_remote.models import RESTORING, Backup, Server
from tests.support.factories import ServerFactory
from tests.support.memory import completed_backup

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]


def let_time_pass():
    Server.objects.filter(status=RESTORING).update(
        restore_started_at=timezone.now() - dt.timedelta(hours=25)
    )


def restoring():
    backup = completed_backup()
    lifecycle.start_restore(backup)
    return backup


def test_a_restore_that_began_during_a_sweep_goes_on(restore_ends, commits):
    restoring()
    backup = restoring()
    let_time_pass()
    with commits():
        running = lifecycle.sweep()
        next(running)  # it has read both, and restore_ends the first
        lifecycle.start_restore(backup)  # allowed: its first restore is overdue
        list(running)
    server = Server.objects.get(pk=backup.server_id)
    assert server.is_restoring_from(backup)
    with pytest.raises(BackupConflict):
        lifecycle.delete_backup(backup)
    assert restore_ends.count((backup.uuid, False)) == 1


def test_concurrent_sweeps_send_one_signal_for_overdue_restore(restore_ends, commits):
    restoring()
    last = restoring()
    let_time_pass()
    with commits():
        one, two = end_overdue_restores(), end_overdue_restores()
        first = [next(one), next(two)]
        rest = [*one, *two]
    assert len([*first, *rest]) == 2
    assert restore_ends.count((last.uuid, False)) == 1
    assert len(restore_ends) == 2


def test_a_sweep_of_one_disk_ends_a_restore_of_an_unknown_backup():
    backup = completed_backup(ServerFactory(status=RESTORING))
    let_time_pass()
    list(lifecycle.sweep(disk="memory"))
    assert Server.objects.get(pk=backup.server_id).status is None


def test_a_sweep_of_one_disk_leaves_the_restores_of_others(settings):
    backup = restoring()
    let_time_pass()
    list(lifecycle.sweep(disk="bare"))
    assert Server.objects.get(pk=backup.server_id).status == RESTORING


@pytest.mark.parametrize("verb", ["delete", "rotate"])
def test_deleting_backup_of_overdue_restore_sends_restore_signal(verb, restore_ends, commits):
    backup = restoring()
    server = Server.objects.get()
    let_time_pass()
    with commits():
        if verb == "delete":
            lifecycle.delete_backup(backup)
        else:
            completed_backup(server)
            Server.objects.update(backup_limit=1)
            assert lifecycle.rotate_backups(server) == [backup.uuid]
        list(lifecycle.sweep())
    assert not Backup.objects.filter(pk=backup.pk).exists()
    assert Server.objects.get().status is None
    assert restore_ends == [(backup.uuid, False)]


def test_overdue_restore_protects_nothing():
    backup = restoring()
    server = Server.objects.get()
    assert server.is_restoring_from(backup)
    let_time_pass()
    server.refresh_from_db()
    assert not server.is_restoring
    assert not server.is_restoring_from(backup)
