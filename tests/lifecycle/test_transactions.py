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
    "back_up": lambda b: lifecycle.back_up(b.server),
    "request_upload": lambda b: lifecycle.request_upload(b, 10),
    "request_parts": lambda b: lifecycle.request_parts(b, 1),
    "upload_progress": lifecycle.upload_progress,
    "record_report": lambda b: lifecycle.record_report(b, Report(successful=False)),
    "start_restore": lifecycle.start_restore,
    "restore": lifecycle.restore,
    "download_link": lifecycle.download_link,
    "download_link_for_user": lifecycle.download_link_for_user,
    "delete_backup": lifecycle.delete_backup,
    "rotate_backups": lambda b: lifecycle.rotate_backups(b.server),
    # Its outcomes are not read: the next test reads them.
    "sweep": lambda b: lifecycle.sweep(),
    "expire": lambda b: lifecycle.expire(Backup.objects.all()),
    "accept_copies": lambda b: lifecycle.accept_copies("memory"),
}
#: These call another one of the above, which refuses in its own name.
REFUSING = {
    "back_up": "start_backup",
    "restore": "start_restore",
    "download_link_for_user": "download_link",
}
#: They speak with no store and no node, and may be part of a project's transaction.
FREE = {
    "cancel_restore",
    "count_stale",
    "find_backup_made_by",
    "find_backup_restorable_on",
    "forget_backup",
    "history",
    "lock_backup",
    "node_heard",
    "node_restarted",
    "record_deletion",
    "record_refusal",
    "record_restore",
    "unlock_backup",
}


def test_every_verb_is_known_here():
    functions = {name for name in lifecycle.__all__ if callable(getattr(lifecycle, name))}
    assert functions == VERBS.keys() | FREE


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", VERBS)
def test_verb_inside_transaction_is_refused(memory, verb, server_with_daemon, calls_daemons):
    """What it writes must be committed before a store or a node is told."""
    backup = completed_backup(server_with_daemon)
    before = Backup.objects.values().get()
    memory.calls.clear()
    refusing = REFUSING.get(verb, verb)
    with transaction.atomic(), pytest.raises(RuntimeError, match=rf"^{refusing}\(\) must not"):
        VERBS[verb](backup)
    assert Backup.objects.values().get() == before
    assert memory.calls.total() == 0


@pytest.mark.django_db(transaction=True)
def test_sweep_is_not_read_inside_a_transaction(memory):
    """It works as its outcomes are read."""
    for _ in range(2):
        assert completed_backup().begin_deletion()
    outcomes = lifecycle.sweep()
    next(outcomes)
    with transaction.atomic(), pytest.raises(RuntimeError, match=r"^sweep\(\) must not"):
        next(outcomes)
    assert Backup.objects.deleting().count() == 1


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
