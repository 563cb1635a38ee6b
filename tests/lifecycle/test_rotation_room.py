"""A server at its limit may begin one more backup where rotation will make room for it."""

import pytest

from backups_remote import lifecycle
from backups_remote.exceptions import BackupLimitReached
from backups_remote.models import Backup
from tests.support.factories import ServerFactory
from tests.support.memory import completed_backup, success, uploaded

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]


def recovered(server):
    backup = uploaded(server, rotating=True)
    lifecycle.expire(Backup.objects.filter(pk=backup.pk))
    backup.refresh_from_db()
    assert backup.is_recovered
    return backup


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_an_unverified_backup_does_not_stop_later_ones(limit):
    server = ServerFactory(backup_limit=limit)
    for _ in range(limit):
        completed_backup(server)
    recovered(server)
    assert lifecycle.rotate_backups(server) == []
    backup = uploaded(server, rotating=True)
    lifecycle.record_report(backup, success(backup))
    lifecycle.rotate_backups(server)
    left = Backup.objects.filter(server=server)
    assert (left.count(), left.verified().count()) == (limit, limit)


def test_a_lowered_limit_does_not_stop_later_backups():
    server = ServerFactory(backup_limit=3)
    for _ in range(3):
        completed_backup(server)
    server.backup_limit = 1
    server.save()
    backup = uploaded(server, rotating=True)
    lifecycle.record_report(backup, success(backup))
    lifecycle.rotate_backups(server)
    assert list(Backup.objects.all()) == [backup]


def test_rotation_makes_room_for_one_more():
    server = ServerFactory(backup_limit=2)
    completed_backup(server)
    completed_backup(server)
    lifecycle.start_backup(server, rotating=True)
    with pytest.raises(BackupLimitReached):
        lifecycle.start_backup(server, rotating=True)
    with pytest.raises(BackupLimitReached):
        lifecycle.start_backup(server)
