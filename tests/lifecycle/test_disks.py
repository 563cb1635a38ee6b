"""Sweeps over several disks, and disks whose settings change."""

from __future__ import annotations

import datetime as dt
import os
import uuid

import pytest
import requests
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import RestoreRefused
from backups_remote.models import Backup, Server
from backups_remote.types import SweepAction
from tests.conftest import S3_BACKEND
from tests.support.factories import BackupFactory
from tests.support.http import MIB, change_disk_options, upload

pytestmark = pytest.mark.django_db(transaction=True)

ARCHIVE = b"a tiny archive"
NOW = dt.timedelta(0)


@pytest.mark.parametrize(
    ("content_type", "is_refused"),
    [("text/plain", True), ("application/zip", True), ("application/gzip", False)],
)
def test_object_of_other_content_type_is_not_restored(
    daemon, backup, s3, store, content_type, is_refused
):
    """The daemon unpacks the two that mean gzip, after it has emptied the server."""
    assert daemon.back_up(backup, ARCHIVE).status_code == 204
    backup.refresh_from_db()
    s3.put_object(
        Bucket=store.bucket,
        Key=backup.object_key,
        Body=ARCHIVE,
        ContentType=content_type,
        Metadata={"backup-mark": backup.upload_mark},
    )
    with pytest.raises(RestoreRefused, match="ETag"):
        lifecycle.start_restore(backup)
    assert [copy.is_accepted for copy in lifecycle.accept_copies(backup.disk)] == [True]
    backup.refresh_from_db()
    if is_refused:
        with pytest.raises(RestoreRefused, match=f"content type is '{content_type}'"):
            lifecycle.start_restore(backup)
        assert Server.objects.get().status is None
    else:
        assert requests.get(lifecycle.start_restore(backup), timeout=30).content == ARCHIVE


@pytest.fixture
def two_disks(settings, store, disk, location):
    """``other`` beside ``s3``, and ``unused``, each at its own place in the store."""
    places = {"s3": location, "other": f"{location}-other", "unused": f"{location}-unused"}
    settings.STORAGES = {
        **settings.STORAGES,
        **{
            alias: {
                "BACKEND": S3_BACKEND,
                "OPTIONS": {**store.storage_options, "location": place},
            }
            for alias, place in places.items()
        },
    }
    return places


def test_orphans_are_swept_on_every_disk_in_use(two_disks, server, s3, store):
    for alias in ("s3", "other"):
        BackupFactory(server=server, disk=alias, completed_at=timezone.now())
    keys = {
        alias: f"{place}/{uuid.uuid4()}/{uuid.uuid4()}.tar.gz" for alias, place in two_disks.items()
    }
    for key in keys.values():
        s3.create_multipart_upload(Bucket=store.bucket, Key=key)

    def open_under(alias):
        place = f"{two_disks[alias]}/"
        answer = s3.list_multipart_uploads(Bucket=store.bucket, Prefix=place)
        return [found["Key"] for found in answer.get("Uploads", ())]

    outcomes = {(o.action, o.disk, o.subject) for o in lifecycle.sweep(older_than=NOW)}
    assert outcomes == {
        (SweepAction.ORPHAN_ABORTED, "s3", keys["s3"]),
        (SweepAction.ORPHAN_ABORTED, "other", keys["other"]),
    }
    assert [open_under(alias) for alias in ("s3", "other")] == [[], []]

    # An unused disk may belong to others: it is swept only when named.
    assert open_under("unused") == [keys["unused"]]
    assert [o.disk for o in lifecycle.sweep(older_than=NOW, disk="unused")] == ["unused"]
    assert open_under("unused") == []


@pytest.mark.parametrize("change", ["settings", "location"])
@pytest.mark.parametrize("word", ["success", "failure", "none"])
def test_backup_keeps_disk_and_key_after_settings_change(
    daemon, backup, settings, open_uploads, s3, store, location, change, word
):
    archive = os.urandom(5 * MIB + 3)
    parts = upload(daemon, backup, archive)
    key = backup.object_key
    if change == "settings":
        settings.BACKUPS_REMOTE = {"DEFAULT_DISK": "wings", "MAX_PART_SIZE": 6 * MIB}
    else:
        change_disk_options(settings, location="elsewhere")
    assert daemon.ask(backup, len(archive)).json()["part_size"] == 5 * MIB

    if word == "success":
        assert daemon.report(backup, archive, parts).status_code == 204
    elif word == "failure":
        assert daemon.report_failure(backup).status_code == 204
    else:
        assert [o.action for o in lifecycle.sweep(older_than=NOW, disk="s3")] == ["recovered"]

    backup.refresh_from_db()
    assert (backup.disk, backup.object_key) == ("s3", key)
    assert open_uploads() == []
    found = s3.list_objects_v2(Bucket=store.bucket, Prefix=f"{location}/").get("Contents", ())
    if word == "failure":
        assert backup.state is Backup.State.FAILED
        assert list(found) == []
    else:
        assert backup.state is Backup.State.COMPLETED
        assert [(o["Key"], o["Size"]) for o in found] == [(key, len(archive))]
        assert requests.get(lifecycle.download_link(backup), timeout=30).content == archive
