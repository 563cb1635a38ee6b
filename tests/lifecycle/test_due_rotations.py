"""Rotations that did not happen are caught up by the sweep."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import DatabaseError
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.lifecycle.sweep import carry_out
from backups_remote.models import Backup, Server
from tests.support.factories import ServerFactory
from tests.support.memory import completed_backup, remaining_uuids, success, uploaded
from tests.support.rows import remove

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

S = Backup.State
HOUR = dt.timedelta(hours=1)


def rotating(server):
    """A whole backup that was started with ``rotating``, two hours ago."""
    backup = uploaded(server, rotating=True)
    lifecycle.record_report(backup, success(backup))
    Backup.objects.filter(pk=backup.pk).update(completed_at=timezone.now() - 2 * HOUR)
    return backup


def sweep(**options):
    """What a sweep says: (action, subject)."""
    return [(str(said.action), said.subject) for said in lifecycle.sweep(**options)]


@pytest.fixture
def server():
    return ServerFactory(backup_limit=2)


def test_rotation_that_was_never_called(server):
    oldest, kept = completed_backup(server), completed_backup(server)
    newest = rotating(server)
    assert sweep(dry_run=True) == [("deleted", str(oldest.uuid))]
    assert sweep() == [("deleted", str(oldest.uuid))]
    assert remaining_uuids(server) == {kept.uuid, newest.uuid}
    assert not Backup.objects.filter(rotation_due=True).exists()


def test_rotation_that_a_restore_kept_from_its_end(server):
    oldest, kept = completed_backup(server), completed_backup(server)
    lifecycle.start_restore(oldest)
    newest = rotating(server)
    assert lifecycle.rotate_backups(server) == []
    assert sweep() == []
    lifecycle.record_restore(oldest, successful=True)
    assert sweep() == [("deleted", str(oldest.uuid))]
    assert remaining_uuids(server) == {kept.uuid, newest.uuid}


def test_limit_that_was_lowered_is_reached_with_the_next_backup(server):
    Server.objects.update(backup_limit=5)
    for _ in range(5):
        completed_backup(server)
    Server.objects.update(backup_limit=3)
    assert sweep() == []
    rotating(server)
    assert [action for action, _ in sweep()] == ["deleted"] * 3
    assert Backup.objects.count() == 3


def test_project_that_does_not_rotate_loses_nothing(server):
    for _ in range(2):
        completed_backup(server)
    Server.objects.update(backup_limit=1)
    Backup.objects.update(completed_at=timezone.now() - 2 * HOUR)
    assert sweep() == []
    assert Backup.objects.count() == 2


def test_rotation_is_left_to_the_project_at_first(server):
    for _ in range(2):
        completed_backup(server)
    newest = rotating(server)
    Backup.objects.filter(pk=newest.pk).update(completed_at=timezone.now())
    assert sweep() == []
    assert len(sweep(older_than=dt.timedelta(0))) == 1


def test_rotation_that_happened_is_not_due(server):
    for _ in range(2):
        completed_backup(server)
    rotating(server)
    lifecycle.rotate_backups(server)
    Server.objects.update(backup_limit=1)
    assert sweep() == []
    assert Backup.objects.count() == 2


def test_backup_under_way_keeps_its_rotation(server):
    completed_backup(server)
    under_way = uploaded(server, rotating=True)
    lifecycle.rotate_backups(server)
    under_way.refresh_from_db()
    assert under_way.rotation_due


def test_server_without_a_limit_has_no_rotation_due(server):
    rotating(server)
    Server.objects.update(backup_limit=None)
    assert sweep() == []
    assert not Backup.objects.filter(rotation_due=True).exists()


def test_sweep_of_one_disk_leaves_rotations(server):
    for _ in range(2):
        completed_backup(server)
    rotating(server)
    assert sweep(disk="memory") == []


@pytest.fixture
def next_server(server, memory):
    """The server whose rotation is due after ``server``'s."""
    following = ServerFactory(backup_limit=2)
    for one in (server, following):
        completed_backup(one)
        completed_backup(one)
        rotating(one)
    return following


@pytest.mark.usefixtures("next_server")
def test_server_that_goes_away_does_not_stop_the_next(server, monkeypatch):
    begin = carry_out.begin_rotation

    def begin_late(one):
        if one == server:
            remove(Backup.objects.filter(server=server))
            Server.objects.filter(pk=server.pk).delete()
        return begin(one)

    monkeypatch.setattr(carry_out, "begin_rotation", begin_late)
    assert [action for action, _ in sweep()] == ["deleted"]


def test_fault_of_one_server_does_not_stop_the_next(server, next_server, monkeypatch):
    begin = Backup.begin_deletion

    def failing(backup, reason=""):
        if backup.server_id == server.pk:
            raise DatabaseError
        return begin(backup, reason)

    monkeypatch.setattr(Backup, "begin_deletion", failing)
    actions = [action for action, _ in sweep()]
    assert actions == ["error", "deleted"]
    assert Backup.objects.filter(server=next_server).count() == 2
