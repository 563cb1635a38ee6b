"""Backups in a bucket that keeps versions."""

from __future__ import annotations

import datetime as dt

import pytest
import requests

from backups_remote import lifecycle
from backups_remote.models import Backup
from tests.support.disks import new_bucket
from tests.support.factories import BackupFactory
from tests.support.http import change_disk_options, complete_in_store, upload

pytestmark = pytest.mark.django_db(transaction=True)

ARCHIVE = b"a tiny archive"
NOW = dt.timedelta(0)


@pytest.fixture
def versioned(settings, store, s3, disk):
    """The disk ``s3`` in a bucket of its own, where deleting only hides unless a version is named."""
    bucket = new_bucket(s3, versioned=True)
    change_disk_options(settings, bucket_name=bucket, location="")
    yield bucket
    for what in versions(s3, bucket, markers=True):
        s3.delete_object(Bucket=bucket, **what)
    s3.delete_bucket(Bucket=bucket)


def versions(s3, bucket, *, markers=False):
    answer = s3.list_object_versions(Bucket=bucket)
    kinds = ("Versions", "DeleteMarkers") if markers else ("Versions",)
    return [
        {"Key": found["Key"], "VersionId": found["VersionId"]}
        for kind in kinds
        for found in answer.get(kind, ())
    ]


@pytest.mark.parametrize("how", ["report", "proof", "sweep"])
def test_backup_refers_to_its_own_version(daemon, server, versioned, s3, how):
    backup = BackupFactory(server=server, disk="s3")
    parts = upload(daemon, backup)
    if how == "proof":
        complete_in_store(s3, versioned, backup, parts)
    if how == "sweep":
        assert [o.action for o in lifecycle.sweep(older_than=NOW)] == ["recovered"]
    else:
        assert daemon.report(backup, ARCHIVE, parts).status_code == 204
    backup.refresh_from_db()
    ours = {"Key": backup.object_key, "VersionId": backup.version_id}
    assert versions(s3, versioned) == [ours]

    # A newer foreign object under the key hides it, and does not replace it.
    s3.put_object(Bucket=versioned, Key=backup.object_key, Body=b"another")
    link = lifecycle.start_restore(backup)
    assert f"versionId={backup.version_id}" in link
    assert requests.get(link, timeout=30).content == ARCHIVE
    lifecycle.record_restore(backup, successful=True)

    lifecycle.delete_backup(backup)
    assert not Backup.objects.exists()
    left = versions(s3, versioned, markers=True)
    assert ours not in left
    assert len(left) == 1


def test_deletion_removes_every_version_of_the_backup(daemon, server, versioned, s3):
    backup = BackupFactory(server=server, disk="s3")
    assert daemon.back_up(backup, ARCHIVE).status_code == 204
    backup.refresh_from_db()
    lifecycle.delete_backup(backup)
    assert versions(s3, versioned, markers=True) == []


def test_deletion_of_failed_backup_removes_late_version(daemon, server, versioned, s3):
    """Its completion was only slow: no row ever learnt which version it made."""
    backup = BackupFactory(server=server, disk="s3")
    complete_in_store(s3, versioned, backup, upload(daemon, backup))
    assert backup.fail("why")
    assert backup.forget_upload()
    assert len(versions(s3, versioned)) == 1
    lifecycle.delete_backup(backup)
    assert versions(s3, versioned, markers=True) == []
