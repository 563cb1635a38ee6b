"""What is kept, what may give way, and what is out of reach."""

import datetime as dt

import pytest
from django.db import transaction
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import (
    BackupConflict,
    BackupLimitReached,
    BackupNotFound,
    RestoreRefused,
)
from backups_remote.lifecycle import keeping
from backups_remote.models import Backup, Server
from backups_remote.testing import MemoryBackend
from backups_remote.types import Report, ReportedPart
from tests.factories import NodeFactory, ServerFactory

pytestmark = pytest.mark.django_db

ARCHIVE = b"archive"
SUCCESS = Report(successful=True, checksum="sha1:abc", size=len(ARCHIVE))


@pytest.fixture(autouse=True)
def memory(settings):
    settings.BACKUPS_REMOTE = {
        "DEFAULT_DISK": "memory",
        "BACKENDS": {"memory": "backups_remote.testing.MemoryBackend"},
    }
    yield MemoryBackend
    MemoryBackend.clear()


def finish(backup):
    if backup.disk == "wings":
        lifecycle.record_report(backup, SUCCESS)
        return backup
    ticket = lifecycle.request_upload(backup, len(ARCHIVE))
    etag = MemoryBackend.put_part(ticket.urls[0], ARCHIVE)
    parts = (ReportedPart(1, etag),)
    report = Report(successful=True, checksum="sha1:abc", size=len(ARCHIVE), parts=parts)
    lifecycle.record_report(backup, report)
    return backup


def whole(server, disk="memory"):
    return finish(lifecycle.start_backup(server, disk=disk))


def left(server):
    return set(Backup.objects.filter(server=server).values_list("uuid", flat=True))


# Rotation


def test_the_newest_backup_never_gives_way():
    """Its elders lie where the panel cannot delete them."""
    server = ServerFactory(backup_limit=3)
    kept = [whole(server, "wings"), whole(server, "wings"), whole(server)]
    Server.objects.update(backup_limit=2)
    server.refresh_from_db()
    assert lifecycle.rotate_backups(server) == []
    assert left(server) == {backup.uuid for backup in kept}


def test_a_server_whose_backups_cannot_give_way_begins_none():
    server = ServerFactory(backup_limit=1)
    whole(server, "wings")
    with pytest.raises(BackupLimitReached):
        lifecycle.start_backup(server, rotating=True)


def test_one_that_is_locked_while_its_successor_uploads_stays_and_so_does_the_successor():
    server = ServerFactory(backup_limit=1)
    old = whole(server)
    new = lifecycle.start_backup(server, rotating=True)
    lifecycle.lock_backup(old)
    finish(new)
    assert lifecycle.rotate_backups(server) == []
    assert left(server) == {old.uuid, new.uuid}


def test_as_many_go_as_there_are_too_many_and_the_oldest_first():
    server = ServerFactory()
    backups = [whole(server) for _ in range(5)]
    Server.objects.update(backup_limit=2)
    server.refresh_from_db()
    assert lifecycle.rotate_backups(server) == [b.uuid for b in backups[:3]]
    assert left(server) == {b.uuid for b in backups[3:]}


def test_rotation_counts_what_it_deletes_itself(monkeypatch):
    """A replica that lags behind would never show fewer backups."""
    server = ServerFactory()
    backups = [whole(server) for _ in range(4)]
    server.backup_limit = 3
    monkeypatch.setattr(keeping, "delete_backup", lambda backup: None)
    assert lifecycle.rotate_backups(server) == [backups[0].uuid]


def test_rotation_goes_on_past_one_that_another_rotation_has_begun_to_delete():
    server = ServerFactory()
    backups = [whole(server) for _ in range(3)]
    server.backup_limit = 1
    stale = list(Backup.objects.completed().order_by("pk"))
    assert stale[0].begin_deletion()
    assert lifecycle.rotate_backups(server) == [backups[1].uuid]
    lifecycle.delete_backup(backups[0])
    assert left(server) == {backups[2].uuid}


# Restoring and deleting


def test_what_is_being_restored_is_neither_deleted_nor_rotated():
    server = ServerFactory(backup_limit=5)
    backups = [whole(server) for _ in range(2)]
    lifecycle.start_restore(backups[0])
    with pytest.raises(BackupConflict, match="restored"):
        lifecycle.delete_backup(backups[0])
    server.backup_limit = 1
    assert lifecycle.rotate_backups(server) == []
    backups[0].refresh_from_db()
    assert backups[0].state is Backup.State.COMPLETED
    assert backups[0].object_key in MemoryBackend.objects

    lifecycle.record_restore(backups[0], successful=True)
    assert lifecycle.rotate_backups(server) == [backups[0].uuid]


def test_a_sweep_waits_with_a_deletion_until_the_restore_is_over():
    """The panel died between the two looks of a deletion."""
    backup = whole(ServerFactory())
    assert backup.begin_deletion()
    Server.begin_restoring(backup.server_id)
    assert list(lifecycle.sweep()) == []
    assert backup.object_key in MemoryBackend.objects
    Server.end_restoring(backup.server_id)
    assert [o.action for o in lifecycle.sweep()] == ["deleted"]


def test_a_restore_looks_again_after_it_has_marked_the_server():
    backup = whole(ServerFactory())
    assert Backup.objects.get().begin_deletion()
    with pytest.raises(RestoreRefused):
        lifecycle.start_restore(backup)
    assert Server.objects.get().status is None


def test_a_restore_of_what_is_gone_leaves_the_server_alone():
    backup = whole(ServerFactory())
    Backup.objects.all().delete()
    with pytest.raises(BackupNotFound):
        lifecycle.start_restore(backup)
    assert Server.objects.get().status is None


def test_an_archive_on_a_nodes_own_disk_stays_behind_when_its_server_moves():
    server = ServerFactory()
    backup = whole(server, "wings")
    assert lifecycle.start_restore(backup) is None
    lifecycle.cancel_restore(backup)
    Server.objects.update(node=NodeFactory())
    with pytest.raises(RestoreRefused, match="has left"):
        lifecycle.start_restore(backup)
    assert Server.objects.get().status is None


def test_a_failed_backup_is_deleted_while_another_is_restored():
    server = ServerFactory()
    failed = lifecycle.start_backup(server)
    lifecycle.record_report(failed, Report(successful=False))
    lifecycle.start_restore(whole(server))
    lifecycle.delete_backup(failed)
    assert not Backup.objects.failed().exists()


# Signs of life, claims


def test_asking_for_the_urls_again_is_a_sign_of_life():
    backup = lifecycle.start_backup(ServerFactory())
    lifecycle.request_upload(backup, 10)
    long_ago = timezone.now() - dt.timedelta(days=1)
    Backup.objects.update(upload_started_at=long_ago, created_at=long_ago)
    backup = Backup.objects.get()
    lifecycle.request_upload(backup, 10)
    assert list(lifecycle.sweep()) == []


def test_a_node_that_asks_again_while_a_sweep_looks_keeps_its_upload():
    backup = lifecycle.start_backup(ServerFactory())
    lifecycle.request_upload(backup, 10)
    seen_by_sweep = Backup.objects.get()
    lifecycle.request_upload(backup, 10)
    assert not seen_by_sweep.fail()
    assert not seen_by_sweep.record_success(
        checksum="", size=10, etags=[], claimed_until=timezone.now(), recovered=True
    )
    assert Backup.objects.get().state is Backup.State.UPLOADING


def reported():
    backup = lifecycle.start_backup(ServerFactory())
    ticket = lifecycle.request_upload(backup, len(ARCHIVE))
    etag = MemoryBackend.put_part(ticket.urls[0], ARCHIVE)
    assert backup.record_success(
        checksum="sha1:abc",
        size=len(ARCHIVE),
        etags=[etag],
        claimed_until=timezone.now() + dt.timedelta(minutes=1),
    )
    return backup


@pytest.mark.parametrize("step", ["release", "take_back_report", "fail_reported"])
def test_who_has_lost_its_claim_changes_nothing(step):
    loser = reported()
    winner = Backup.objects.get()
    assert winner.claim(timezone.now() + dt.timedelta(minutes=2), by_force=True)
    assert not getattr(loser, step)()
    assert Backup.objects.get().claimed_until == winner.claimed_until


def test_a_proof_completes_the_upload_that_it_is_of():
    backup = reported()
    proof = MemoryBackend("memory")
    proof.complete_upload(backup.object_key, backup.upload_id, backup.reported_etags)
    found = proof.stat(backup.object_key)
    Backup.objects.update(upload_id="another")
    assert not backup.complete_uploaded(found)


def test_a_report_that_the_store_is_slow_about_is_not_failed_by_the_age_of_its_upload(settings):
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "STALE_AFTER": 1800}
    backup = reported()
    hours_ago = timezone.now() - dt.timedelta(hours=4)
    Backup.objects.update(upload_started_at=hours_ago, created_at=hours_ago, claimed_until=None)
    MemoryBackend.uploads.clear()
    assert [o.action for o in lifecycle.sweep()] == ["error"]
    Backup.objects.update(reported_at=hours_ago, claimed_until=None)
    assert [o.action for o in lifecycle.sweep()] == ["failed"]

    # The object appears after all.
    MemoryBackend.objects[backup.object_key] = _object(backup)
    assert [o.action for o in lifecycle.sweep()] == ["recovered"]
    assert Backup.objects.get().state is Backup.State.COMPLETED


def _object(backup):
    from backups_remote.testing import _Object

    return _Object(ARCHIVE, "etag", backup.upload_mark)


@pytest.mark.django_db(transaction=True)
def test_a_wish_inside_a_transaction_is_refused():
    """The daemon could call back before it is committed."""
    server = ServerFactory()
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        lifecycle.start_backup(server)
    assert not Backup.objects.exists()
