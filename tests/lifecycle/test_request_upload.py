"""Requesting the URLs of an upload."""

from __future__ import annotations

import datetime as dt

import pytest
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
