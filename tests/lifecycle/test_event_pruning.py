"""Which events the sweep deletes, and which it keeps."""

from __future__ import annotations

import datetime as dt
import io

import pytest
from django.core.management import call_command
from django.db import DatabaseError
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.lifecycle import event_history
from backups_remote.models import RESTORING, BackupEvent, Server
from backups_remote.models.events import BackupEventQuerySet
from tests.support.factories import ServerFactory
from tests.support.memory import completed_backup, sweep_actions, uploading_backup

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

YEAR = dt.timedelta(days=365)
MINUTE = dt.timedelta(minutes=1)


def at(age):
    return timezone.now() - age


def aged(backup, age):
    """The events of the backup again, as if all had happened that long ago."""
    fields = BackupEvent.objects.filter(backup_uuid=backup.uuid).values()
    old = [BackupEvent(**{**values, "id": None, "at": at(age)}) for values in fields]
    return BackupEvent.objects.bulk_create(old)


def gone():
    backup = completed_backup()
    lifecycle.delete_backup(backup)
    return backup


def test_events_of_a_backup_that_exists_are_kept():
    backup = completed_backup()
    old = aged(backup, 20 * YEAR)
    assert sweep_actions() == []
    assert set(old) <= set(lifecycle.history(backup))


def test_events_go_once_they_are_older_than_the_setting():
    backup = gone()
    recent = lifecycle.history(backup)
    aged(backup, YEAR + MINUTE)
    young = aged(backup, YEAR - MINUTE)
    [outcome] = lifecycle.sweep()
    assert (outcome.action, outcome.subject, outcome.disk) == ("events pruned", "6", "")
    assert outcome.detail == "older than 365 days, of backups that are gone"
    assert lifecycle.history(backup) == [*recent, *young]
    assert sweep_actions() == []


def test_setting_says_how_old(settings):
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "EVENTS_KEPT": 86_400}
    backup = gone()
    recent = lifecycle.history(backup)
    aged(backup, dt.timedelta(days=1, minutes=1))
    assert sweep_actions() == ["events pruned"]
    assert lifecycle.history(backup) == recent


def test_events_about_a_server_alone_go_too():
    ServerFactory(status=RESTORING)
    Server.objects.update(restore_started_at=at(dt.timedelta(hours=25)))
    list(lifecycle.sweep())
    [event] = BackupEvent.objects.filter(backup_uuid=None)
    BackupEvent.objects.create(kind=event.kind, server_uuid=event.server_uuid, at=at(YEAR + MINUTE))
    assert sweep_actions() == ["events pruned"]
    assert list(BackupEvent.objects.filter(backup_uuid=None)) == [event]


def test_dry_run_counts_them_and_deletes_none():
    backup = gone()
    aged(backup, YEAR + MINUTE)
    before = lifecycle.history(backup)
    [outcome] = lifecycle.sweep(dry_run=True)
    assert (outcome.action, outcome.subject) == ("events pruned", "6")
    assert lifecycle.history(backup) == before


def test_sweep_of_one_disk_and_expire_delete_none():
    backup = gone()
    aged(backup, YEAR + MINUTE)
    before = lifecycle.history(backup)
    assert sweep_actions(disk="memory") == []
    lifecycle.expire(type(backup).objects.all())
    assert lifecycle.history(backup) == before


def test_batches_are_bounded(monkeypatch):
    monkeypatch.setattr(event_history, "_BATCH", 2)
    prune, sizes = BackupEventQuerySet._prune, []

    def counted(self, keys):
        sizes.append(len(keys))
        return prune(self, keys)

    monkeypatch.setattr(BackupEventQuerySet, "_prune", counted)
    aged(gone(), YEAR + MINUTE)
    [outcome] = lifecycle.sweep()
    assert (outcome.subject, sizes) == ("6", [2, 2, 2])


def test_database_error_is_an_outcome(monkeypatch):
    def broken(*_):
        raise DatabaseError

    monkeypatch.setattr(BackupEventQuerySet, "_prune", broken)
    aged(gone(), YEAR + MINUTE)
    assert sweep_actions() == ["error"]


def test_command_prints_them_and_does_not_count_them_as_expired():
    aged(gone(), YEAR + MINUTE)
    uploading_backup()
    printed = io.StringIO()
    call_command("expire_stale_uploads", older_than="0s", stdout=printed)
    lines = printed.getvalue().splitlines()
    assert lines[-2:] == [
        "events pruned: 6: older than 365 days, of backups that are gone",
        "1 expired (1 failed), 0 errors.",
    ]
