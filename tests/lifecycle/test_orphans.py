"""Orphans: uploads under our keys that no row owns."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from django.core.management import call_command
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import (
    StorageUnavailable,
    UploadNotFound,
)
from backups_remote.models import Backup
from backups_remote.testing import MemoryBackend
from backups_remote.types import OpenUpload
from tests.support.factories import ServerFactory
from tests.support.memory import (
    ARCHIVE,
    MINUTE,
    completed_backup,
    raising,
    reported,
    sweep_actions,
    uploading_backup,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]


@pytest.fixture
def minio():
    """It lists an exact key, and otherwise what it has seen begin since its start."""
    MemoryBackend.behave_like("minio")


def test_unlisted_orphans_are_found_by_key(minio):
    store = MemoryBackend("memory")
    backup = completed_backup(ServerFactory())
    orphan = store.create_upload(backup.object_key, "mark")
    MemoryBackend.restart()
    assert orphan not in {upload.upload_id for upload in store.open_uploads()}
    outcomes = list(lifecycle.sweep(older_than=dt.timedelta(0), disk="memory"))
    assert [(o.action, o.subject) for o in outcomes] == [
        ("orphan aborted", backup.object_key),
        ("notice", "memory"),
    ]
    assert "may miss some" in outcomes[1].detail
    assert store.open_uploads_of(backup.object_key) == []


def test_command_prints_a_notice_for_an_incomplete_listing(minio, capsys):
    completed_backup(ServerFactory())
    call_command("expire_stale_uploads")
    said = capsys.readouterr()
    assert "notice: memory: The store's list of open uploads may miss some." in said.err
    assert said.out.strip() == "0 expired, 0 errors."


HOUR = 60 * MINUTE
NOW = dt.timedelta(0)


def orphan(backup=None):
    """An upload under a key of ours that no row names."""
    memory = MemoryBackend("memory")
    ids = (uuid.uuid4(), uuid.uuid4()) if backup is None else (backup.server.uuid, backup.uuid)
    return memory.create_upload(memory.object_key(*ids), "mark")


def test_upload_of_concurrent_request_is_not_an_orphan():
    """Its GET has begun it in the store and not noted it on the row yet."""
    backup = lifecycle.start_backup(ServerFactory())
    orphan(backup)
    Backup.objects.update(created_at=timezone.now() + HOUR)
    assert sweep_actions(NOW) == []
    Backup.objects.update(created_at=timezone.now())
    assert backup.fail("why")
    assert sweep_actions(NOW) == ["orphan aborted"]


def test_upload_of_failed_backup_is_not_an_orphan(memory):
    backup = reported()
    assert backup.fail_reported("why")
    assert sweep_actions(NOW) == []
    assert list(MemoryBackend.uploads) == [backup.upload_id]


def test_orphan_that_is_already_gone_counts_as_aborted(memory):
    key = MemoryBackend("memory").object_key(uuid.uuid4(), uuid.uuid4())
    listed = OpenUpload(key, "gone", timezone.now() - HOUR)
    memory.instead["open_uploads"] = lambda call: iter([listed])
    assert sweep_actions(NOW) == ["orphan aborted"]
    with pytest.raises(UploadNotFound):
        MemoryBackend("memory").list_parts(key, "gone")


def test_recent_orphans_are_kept():
    young, arriving = orphan(), orphan()
    MemoryBackend.put_part(f"memory://{arriving}/1", ARCHIVE)
    MemoryBackend.uploads[arriving].started_at -= 24 * HOUR
    assert sweep_actions(HOUR) == []
    assert {young, arriving} <= set(MemoryBackend.uploads)
    MemoryBackend.uploads[arriving].uploaded_at[1] -= 24 * HOUR
    assert sweep_actions(HOUR) == ["orphan aborted"]
    assert arriving not in MemoryBackend.uploads


def test_unused_disk_is_swept_when_named(settings):
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "DEFAULT_DISK": "wings"}
    orphan()
    assert sweep_actions(NOW) == []
    assert sweep_actions(NOW, disk="memory") == ["orphan aborted"]


def test_dry_run_keeps_orphans():
    orphan()
    assert sweep_actions(NOW, dry_run=True) == ["orphan aborted"]
    assert len(MemoryBackend.uploads) == 1


def test_failed_listing_is_one_error(memory):
    memory.instead["open_uploads"] = raising(StorageUnavailable("Down."))
    uploading_backup()
    assert sweep_actions(NOW) == ["failed", "error"]


def test_orphans_listed_before_the_listing_fails_are_aborted(memory):
    """The first page is dealt with, whatever becomes of the second."""
    listed = {orphan(), orphan(), orphan()}

    def fail_at_the_second_page(call):
        yield from call()
        raise StorageUnavailable("The second page is refused.")

    memory.instead["open_uploads"] = fail_at_the_second_page
    assert sweep_actions(NOW) == ["orphan aborted"] * 3 + ["error"]
    assert not listed & set(MemoryBackend.uploads)
