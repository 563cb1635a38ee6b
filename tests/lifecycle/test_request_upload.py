"""Requesting the URLs of an upload."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import DatabaseError, connection
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import (
    AlreadyCompleted,
    StorageUnavailable,
)
from backups_remote.models import Backup
from backups_remote.testing import MemoryBackend
from tests.support.factories import ServerFactory
from tests.support.memory import (
    ARCHIVE,
    raising,
    row,
    uploading_backup,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]


def test_asking_for_the_urls_again_is_a_sign_of_life():
    backup = lifecycle.start_backup(ServerFactory())
    lifecycle.request_upload(backup, 10)
    long_ago = timezone.now() - dt.timedelta(days=1)
    Backup.objects.update(upload_started_at=long_ago, created_at=long_ago)
    backup = Backup.objects.get()
    lifecycle.request_upload(backup, 10)
    assert list(lifecycle.sweep()) == []


def test_repeated_request_during_sweep_keeps_the_upload():
    backup = lifecycle.start_backup(ServerFactory())
    lifecycle.request_upload(backup, 10)
    seen_by_sweep = Backup.objects.get()
    lifecycle.request_upload(backup, 10)
    assert not seen_by_sweep.fail("why")
    assert not seen_by_sweep.record_success(
        checksum="", size=10, etags=[], claimed_until=timezone.now(), recovered=True
    )
    assert Backup.objects.get().state is Backup.State.UPLOADING


def test_lost_upload_is_replaced_by_a_new_one():
    backup = uploading_backup()
    lost = backup.upload_id
    MemoryBackend.uploads.clear()
    lifecycle.request_upload(row(), len(ARCHIVE))
    assert row().upload_id != lost
    assert list(MemoryBackend.uploads) == [row().upload_id]


@pytest.mark.parametrize("again", [False, True])
def test_urls_are_signed_before_the_row_is_written(memory, again):
    backup = uploading_backup() if again else lifecycle.start_backup(uploading_backup().server)
    before = Backup.objects.filter(pk=backup.pk).values().get()
    seen = []

    def sign(call):
        seen.append(Backup.objects.filter(pk=backup.pk).values().get())
        return call()

    memory.instead["presign_parts"] = sign
    lifecycle.request_upload(backup, len(ARCHIVE))
    assert seen == [before]


def test_urls_of_upload_that_ended_during_signing_are_not_returned(memory):
    backup = uploading_backup()

    def sign(call):
        memory.instead.clear()
        Backup.objects.get().fail("why")
        return call()

    memory.instead["presign_parts"] = sign
    with pytest.raises(AlreadyCompleted):
        lifecycle.request_upload(backup, len(ARCHIVE))


def test_same_size_returns_the_same_upload():
    backup = uploading_backup()
    upload_id = backup.upload_id
    lifecycle.request_upload(row(), len(ARCHIVE))
    assert list(MemoryBackend.uploads) == [row().upload_id] == [upload_id]


def test_other_size_replaces_the_upload():
    backup = uploading_backup()
    first = backup.upload_id
    lifecycle.request_upload(backup, 100)
    assert list(MemoryBackend.uploads) == [row().upload_id] != [first]


def test_failed_abort_does_not_prevent_new_urls(memory):
    backup = uploading_backup()
    memory.instead["abort_upload"] = raising(StorageUnavailable("Down."))
    assert len(lifecycle.request_upload(backup, 100).urls) == 1
    assert row().upload_size == 100


def test_concurrent_request_aborts_its_own_upload(memory):
    backup = lifecycle.start_backup(uploading_backup().server)

    def overtaken(call):
        memory.instead.clear()
        lifecycle.request_upload(Backup.objects.get(pk=backup.pk), len(ARCHIVE))
        return call()

    memory.instead["create_upload"] = overtaken
    lifecycle.request_upload(backup, len(ARCHIVE))
    backup.refresh_from_db()
    left = [key for key, upload in MemoryBackend.uploads.items() if upload.key == backup.object_key]
    assert left == [backup.upload_id]


#: As on a replica, or after a disk has run full.
READ_ONLY = {
    "sqlite": "PRAGMA query_only = 1",
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
}


@pytest.fixture
def read_only():
    """Make the database refuse changes; it takes them again at the end."""

    def begin():
        with connection.cursor() as cursor:
            cursor.execute(READ_ONLY[connection.vendor])

    yield begin
    if connection.vendor == "sqlite":  # in memory, it must not be closed
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA query_only = 0")
    else:
        connection.close()


@pytest.mark.databases
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("begin", "ask"),
    [
        (lambda b: None, lambda b: lifecycle.request_upload(b, 10)),
        (lambda b: None, lambda b: lifecycle.request_parts(b, 1)),
        (lambda b: lifecycle.request_upload(b, 11), lambda b: lifecycle.request_upload(b, 10)),
    ],
    ids=["first", "streamed", "another"],
)
def test_upload_is_aborted_if_its_row_cannot_be_written(memory, read_only, begin, ask):
    backup = lifecycle.start_backup(ServerFactory())
    begin(backup)
    before = list(memory.uploads)
    read_only()
    for _ in range(3):
        with pytest.raises(DatabaseError):
            ask(backup)
    assert list(memory.uploads) == before
    assert memory.calls["create_upload"] >= 3


def test_upload_is_aborted_if_its_urls_cannot_be_signed(memory):
    backup = lifecycle.start_backup(ServerFactory())
    memory.instead["presign_parts"] = raising(StorageUnavailable("no credentials"))
    with pytest.raises(StorageUnavailable):
        lifecycle.request_upload(backup, 10)
    assert not memory.uploads
    assert backup.state is Backup.State.PENDING
