"""Rotation: which backups are deleted for a new one."""

from __future__ import annotations

import pytest
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import (
    BackupLimitReached,
    StorageUnavailable,
)
from backups_remote.models import Backup, Server
from tests.support.factories import ServerFactory
from tests.support.memory import (
    completed_backup,
    remaining_uuids,
    success,
    upload_and_report,
    uploaded,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]


def test_rotation_keeps_the_newest_backup():
    """Its elders lie where the panel cannot delete them."""
    server = ServerFactory(backup_limit=3)
    kept = [
        completed_backup(server, "wings"),
        completed_backup(server, "wings"),
        completed_backup(server),
    ]
    Server.objects.update(backup_limit=2)
    server.refresh_from_db()
    assert lifecycle.rotate_backups(server) == []
    assert remaining_uuids(server) == {backup.uuid for backup in kept}


def test_start_backup_is_refused_when_rotation_frees_no_place():
    server = ServerFactory(backup_limit=1)
    completed_backup(server, "wings")
    with pytest.raises(BackupLimitReached):
        lifecycle.start_backup(server, rotating=True)


def test_rotation_keeps_backup_locked_during_upload():
    server = ServerFactory(backup_limit=1)
    old = completed_backup(server)
    new = lifecycle.start_backup(server, rotating=True)
    lifecycle.lock_backup(old)
    upload_and_report(new)
    assert lifecycle.rotate_backups(server) == []
    assert remaining_uuids(server) == {old.uuid, new.uuid}


def test_rotation_deletes_the_oldest_above_the_limit():
    server = ServerFactory()
    backups = [completed_backup(server) for _ in range(5)]
    Server.objects.update(backup_limit=2)
    server.refresh_from_db()
    assert lifecycle.rotate_backups(server) == [b.uuid for b in backups[:3]]
    assert remaining_uuids(server) == {b.uuid for b in backups[3:]}


def test_rotation_skips_backup_that_is_already_deleting():
    server = ServerFactory()
    backups = [completed_backup(server) for _ in range(3)]
    Server.objects.update(backup_limit=1)
    stale = list(Backup.objects.completed().order_by("pk"))
    assert stale[0].begin_deletion()
    assert lifecycle.rotate_backups(server) == [backups[1].uuid]
    lifecycle.delete_backup(backups[0])
    assert remaining_uuids(server) == {backups[2].uuid}


def test_rotation_keeps_what_was_created_last_whatever_the_clock_says():
    """It was set back, or another panel's is behind: the last one seems to be the oldest."""
    server = ServerFactory()
    first, second, last = (completed_backup(server) for _ in range(3))
    early = timezone.now() - timezone.timedelta(hours=1)
    Backup.objects.filter(pk=last.pk).update(created_at=early, completed_at=early)
    Server.objects.update(backup_limit=1)
    server.refresh_from_db()
    assert lifecycle.rotate_backups(server) == [first.uuid, second.uuid]
    assert remaining_uuids(server) == {last.uuid}


def test_rotation_orders_by_creation_and_not_by_the_end():
    """The archive that was begun first shows the server as it was then, however long it took."""
    server = ServerFactory()
    begun_first = uploaded(server)
    first_whole, last = completed_backup(server), completed_backup(server)
    lifecycle.record_report(begun_first, success(begun_first))
    Server.objects.update(backup_limit=2)
    server.refresh_from_db()
    assert lifecycle.rotate_backups(server) == [begun_first.uuid]
    assert remaining_uuids(server) == {first_whole.uuid, last.uuid}


def test_rotation_keeps_the_backup_being_restored():
    server = ServerFactory()
    backups = [completed_backup(server) for _ in range(3)]
    server.backup_limit = 1
    server.save()
    lifecycle.start_restore(backups[0])
    assert lifecycle.rotate_backups(server) == [backups[1].uuid]


def test_rotation_continues_after_store_failure(memory):
    server = ServerFactory()
    backups = [completed_backup(server) for _ in range(3)]
    server.backup_limit = 1
    server.save()
    calls = []

    def failing_first(call):
        calls.append(call)
        if len(calls) == 1:
            raise StorageUnavailable("Down.")
        return call()

    memory.instead["delete"] = failing_first
    with pytest.raises(StorageUnavailable):
        lifecycle.rotate_backups(server)
    assert list(Backup.objects.deleting()) == [backups[0]]
    assert list(Backup.objects.completed()) == [backups[2]]
