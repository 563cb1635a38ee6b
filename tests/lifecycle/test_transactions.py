"""Verbs refuse to run inside a transaction."""

from __future__ import annotations

import pytest
from django.db import transaction

from backups_remote import lifecycle
from backups_remote.models import Backup, Server
from backups_remote.testing import MemoryBackend
from backups_remote.types import Report
from tests.support.factories import ServerFactory
from tests.support.memory import (
    ARCHIVE,
    completed_backup,
    row,
    success,
    uploaded,
)

pytestmark = [pytest.mark.databases, pytest.mark.django_db, pytest.mark.usefixtures("memory")]

SUCCESS = Report(successful=True, checksum="sha1:abc", size=len(ARCHIVE))


@pytest.mark.django_db(transaction=True)
def test_start_backup_inside_transaction_is_refused():
    """The daemon could call back before it is committed."""
    server = ServerFactory()
    with transaction.atomic(), pytest.raises(RuntimeError, match="inside a database transaction"):
        lifecycle.start_backup(server)
    assert not Backup.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("autocommit", [True, False])
def test_store_verbs_change_nothing_inside_transaction(autocommit):
    """Rolled back, it would leave a completed row whose archive is gone."""
    server = ServerFactory(backup_limit=5)
    backup, spare = completed_backup(server), lifecycle.start_backup(server)
    Server.objects.update(backup_limit=0)
    verbs = {
        "start_backup": lambda: lifecycle.start_backup(server),
        "request_upload": lambda: lifecycle.request_upload(spare, 10),
        "record_report": lambda: lifecycle.record_report(spare, SUCCESS),
        "start_restore": lambda: lifecycle.start_restore(backup),
        "download_link": lambda: lifecycle.download_link(backup),
        "delete_backup": lambda: lifecycle.delete_backup(backup),
        "rotate_backups": lambda: lifecycle.rotate_backups(server),
        "expire": lambda: lifecycle.expire(Backup.objects.all()),
        "sweep": lifecycle.sweep,
        "accept_copies": lambda: lifecycle.accept_copies("memory"),
    }
    before = list(Backup.objects.order_by("pk").values())
    objects = dict(MemoryBackend.objects)
    for name, verb in verbs.items():
        if autocommit:
            with (
                pytest.raises(RuntimeError, match=rf"{name}\(\) must not be called inside"),
                transaction.atomic(),
            ):
                verb()
        else:
            transaction.set_autocommit(False)
            try:
                with pytest.raises(RuntimeError, match=name):
                    verb()
            finally:
                transaction.rollback()
                transaction.set_autocommit(True)
    assert list(Backup.objects.order_by("pk").values()) == before
    assert objects == MemoryBackend.objects


S = Backup.State
VERBS = {
    "start_backup": lambda b: lifecycle.start_backup(b.server),
    "request_upload": lambda b: lifecycle.request_upload(b, 10),
    "record_report": lambda b: lifecycle.record_report(b, Report(successful=False)),
    "start_restore": lifecycle.start_restore,
    "delete_backup": lifecycle.delete_backup,
    "rotate_backups": lambda b: lifecycle.rotate_backups(b.server),
    "sweep": lambda b: list(lifecycle.sweep()),
    "expire": lambda b: lifecycle.expire(Backup.objects.all()),
    "accept_copies": lambda b: lifecycle.accept_copies("memory"),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", VERBS)
def test_verb_inside_transaction_is_refused(memory, verb):
    """What it writes must be committed before a store or a node is told."""
    backup = completed_backup()
    before = Backup.objects.values().get()
    memory.calls.clear()
    with transaction.atomic(), pytest.raises(RuntimeError, match=rf"^{verb}\(\) must not"):
        VERBS[verb](backup)
    assert Backup.objects.values().get() == before
    assert memory.calls.total() == 0


@pytest.mark.django_db(transaction=True)
def test_verb_without_autocommit_is_refused():
    backup = completed_backup()
    transaction.set_autocommit(False)
    try:
        with pytest.raises(RuntimeError, match="must not be called"):
            lifecycle.delete_backup(backup)
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert row().state is S.COMPLETED


def test_stale_instance_is_reloaded(memory):
    backup = uploaded()
    stale = Backup.objects.get(pk=backup.pk)
    lifecycle.record_report(backup, success(backup))
    assert stale.state is not Backup.State.COMPLETED
    lifecycle.delete_backup(stale)
    assert not Backup.objects.exists()
