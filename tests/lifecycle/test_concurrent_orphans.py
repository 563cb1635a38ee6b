"""No upload that a row is about to name, or names, is taken for an orphan."""

import datetime as dt

import pytest
from django.db import connection
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.models import Backup, BackupQuerySet
from backups_remote.testing import MemoryBackend
from tests.support.memory import ARCHIVE, uploading_backup

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]


def test_upload_reported_during_orphan_check_is_kept(memory):
    backup = uploading_backup(size=len(ARCHIVE) + 1)
    other = MemoryBackend("memory").create_upload(backup.object_key, "mark")
    asked = []

    def report_after_the_first_query(execute, sql, params, many, context):
        answer = execute(sql, params, many, context)
        if "uuid" in sql and "IN (" in sql and not asked:
            asked.append(sql)
            row = Backup.objects.get()
            assert row.start_upload(
                upload_id=other,
                mark="mark",
                key=backup.object_key,
                size=len(ARCHIVE),
                part_size=5 * 1024**2,
            )
            MemoryBackend.put_part(f"memory://{other}/1", ARCHIVE)
            assert row.record_success(
                checksum="sha1:abc",
                size=len(ARCHIVE),
                etags=["etag"],
                claimed_until=timezone.now() + dt.timedelta(minutes=1),
            )
        return answer

    old = dt.datetime.now(dt.UTC) - dt.timedelta(days=2)
    for upload in MemoryBackend.uploads.values():
        upload.started_at = old
    with connection.execute_wrapper(report_after_the_first_query):
        list(lifecycle.sweep(disk="memory"))
    assert asked
    assert other in MemoryBackend.uploads
    assert BackupQuerySet.reported(Backup.objects.all()).exists()


@pytest.mark.parametrize("state", ["pending", "uploading"])
def test_an_upload_of_a_backup_that_has_not_ended_is_kept(state):
    backup = (
        uploading_backup()
        if state == "uploading"
        else lifecycle.start_backup(uploading_backup().server)
    )
    backend = MemoryBackend("memory")
    key = backend.object_key(backup.server.uuid, backup.uuid)
    other = backend.create_upload(key, "mark")
    MemoryBackend.uploads[other].started_at -= dt.timedelta(days=2)
    list(lifecycle.sweep(disk="memory"))
    assert other in MemoryBackend.uploads
