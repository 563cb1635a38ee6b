"""What a second look asked: other versions, other types, other disks, zones and databases."""

import dataclasses
import datetime as dt
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import requests
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import BackupConflict, RestoreRefused
from backups_remote.models import Backup, Server
from backups_remote.storage import get_backend
from backups_remote.testing import MemoryBackend
from backups_remote.types import Report, SweepAction
from tests.conftest import S3_BACKEND
from tests.daemon import cut
from tests.factories import BackupFactory
from tests.http import MIB, reached_by

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[1]
ARCHIVE = b"a tiny archive"
NOW = dt.timedelta(0)


def upload(daemon, backup, archive=ARCHIVE):
    """Ask and upload; the parts for the report."""
    ticket = daemon.ask(backup, len(archive)).json()
    parts = daemon.upload(ticket["parts"], archive, ticket["part_size"])
    backup.refresh_from_db()
    return parts


def put_together(s3, bucket, backup, parts):
    """Complete in the store alone: the panel never heard of it."""
    s3.complete_multipart_upload(
        Bucket=bucket,
        Key=backup.object_key,
        UploadId=backup.upload_id,
        MultipartUpload={
            "Parts": [{"ETag": p["etag"], "PartNumber": p["part_number"]} for p in parts]
        },
    )


def seven_hours_and_more(backup):
    long_ago = timezone.now() - dt.timedelta(hours=8)
    Backup.objects.filter(pk=backup.pk).update(created_at=long_ago, upload_started_at=long_ago)


# Restoring


@pytest.mark.parametrize(
    ("content_type", "is_refused"),
    [("text/plain", True), ("application/zip", True), ("application/gzip", False)],
)
def test_an_object_of_another_content_type_is_not_restored(
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
    if is_refused:
        with pytest.raises(RestoreRefused, match=f"content type is '{content_type}'"):
            lifecycle.start_restore(backup)
        assert Server.objects.get().status is None
    else:
        assert requests.get(lifecycle.start_restore(backup), timeout=30).content == ARCHIVE


def test_an_archive_that_the_store_has_to_thaw_is_not_restored(server, settings):
    """The daemon would empty the server, and then be refused the archive."""
    settings.BACKUPS_REMOTE = {
        "DEFAULT_DISK": "memory",
        "BACKENDS": {"memory": "backups_remote.testing.MemoryBackend"},
    }
    try:
        backup = lifecycle.start_backup(server)
        ticket = lifecycle.request_upload(backup, len(ARCHIVE))
        MemoryBackend.put_part(ticket.urls[0], ARCHIVE)
        lifecycle.record_report(backup, Report(True, "sha1:abc", len(ARCHIVE)))
        MemoryBackend.objects[backup.object_key].is_readable = False
        with pytest.raises(RestoreRefused, match="archive class"):
            lifecycle.start_restore(backup)
        assert Server.objects.get().status is None

        MemoryBackend.objects[backup.object_key].is_readable = True
        assert lifecycle.start_restore(backup) is not None
    finally:
        MemoryBackend.clear()


def test_a_deletion_that_a_restore_overtakes_is_taken_back(daemon, backup, monkeypatch):
    """It looks at the server once its row says that it is being deleted, not before."""
    assert daemon.back_up(backup, ARCHIVE).status_code == 204
    backup.refresh_from_db()
    begin = Backup.begin_deletion

    def begin_late(self):
        link.append(lifecycle.start_restore(Backup.objects.get()))
        return begin(self)

    link = []
    monkeypatch.setattr(Backup, "begin_deletion", begin_late)
    with pytest.raises(BackupConflict, match="restored"):
        lifecycle.delete_backup(backup)
    assert requests.get(link[0], timeout=30).content == ARCHIVE
    assert Backup.objects.get().state is Backup.State.COMPLETED


# A bucket that keeps versions


@pytest.fixture
def versioned(settings, store, s3, disk):
    """The disk ``s3`` in a bucket of its own, where deleting only hides unless a version is named."""
    bucket = f"v-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    reached_by(settings, bucket_name=bucket, location="")
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
def test_in_a_versioned_bucket_a_backup_is_its_version(daemon, server, versioned, s3, how):
    backup = BackupFactory(server=server, disk="s3")
    parts = upload(daemon, backup)
    if how == "proof":
        put_together(s3, versioned, backup, parts)
    if how == "sweep":
        assert [o.action for o in lifecycle.sweep(older_than=NOW)] == ["recovered"]
    else:
        assert daemon.report(backup, ARCHIVE, parts).status_code == 204
    backup.refresh_from_db()
    ours = {"Key": backup.object_key, "VersionId": backup.version_id}
    assert versions(s3, versioned) == [ours]

    # Somebody's newer object under the key hides it, and does not replace it.
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


def test_in_a_versioned_bucket_deleting_a_backup_leaves_nothing(daemon, server, versioned, s3):
    backup = BackupFactory(server=server, disk="s3")
    assert daemon.back_up(backup, ARCHIVE).status_code == 204
    backup.refresh_from_db()
    lifecycle.delete_backup(backup)
    assert versions(s3, versioned, markers=True) == []


def test_a_failed_backup_leaves_no_version_of_its_object(daemon, server, versioned, s3):
    """Its completion was only slow: no row ever learnt which version it made."""
    backup = BackupFactory(server=server, disk="s3")
    put_together(s3, versioned, backup, upload(daemon, backup))
    assert backup.fail()
    assert backup.forget_upload()
    assert len(versions(s3, versioned)) == 1
    lifecycle.delete_backup(backup)
    assert versions(s3, versioned, markers=True) == []


# Signs of life


def test_age_counts_from_the_newest_part(daemon, backup, monkeypatch):
    """The first part arrived a day ago, the last one just now; the one between is to come."""
    bodies = cut(os.urandom(10 * MIB + 1), 5 * MIB)
    ticket = daemon.ask(backup, sum(map(len, bodies))).json()
    for number in (0, 2):
        daemon.put(ticket["parts"][number], bodies[number])
    seven_hours_and_more(backup)
    backend = get_backend(backup.disk)
    listed = backend.list_parts

    def list_parts(*args):
        first, *others = listed(*args)
        a_day_ago = first.uploaded_at - dt.timedelta(days=1)
        return [dataclasses.replace(first, uploaded_at=a_day_ago), *others]

    monkeypatch.setattr(backend, "list_parts", list_parts)
    assert list(lifecycle.sweep()) == []
    backup.refresh_from_db()
    assert backup.state is Backup.State.UPLOADING


def test_the_hosts_time_zone_does_not_age_a_part_that_arrived_just_now(daemon, backup, settings):
    """Without USE_TZ rows are in TIME_ZONE, whichever zone is active; stores say the zone."""
    settings.USE_TZ = False
    ticket = daemon.ask(backup, 5 * MIB + 1).json()
    daemon.put(ticket["parts"][0], bytes(5 * MIB))
    seven_hours_and_more(backup)
    with timezone.override("Pacific/Honolulu"):
        assert list(lifecycle.sweep()) == []
    backup.refresh_from_db()
    assert backup.state is Backup.State.UPLOADING


# Disks


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


def test_orphans_are_swept_on_every_disk_that_backups_use(two_disks, server, s3, store):
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

    # What no backup uses may belong to anybody: it is touched when asked for by name.
    assert open_under("unused") == [keys["unused"]]
    assert [o.disk for o in lifecycle.sweep(older_than=NOW, disk="unused")] == ["unused"]
    assert open_under("unused") == []


@pytest.mark.parametrize("change", ["settings", "location"])
@pytest.mark.parametrize("word", ["success", "failure", "none"])
def test_a_backup_ends_on_the_disk_and_under_the_key_it_was_begun_with(
    daemon, backup, settings, open_uploads, s3, store, location, change, word
):
    archive = os.urandom(5 * MIB + 3)
    parts = upload(daemon, backup, archive)
    key = backup.object_key
    if change == "settings":
        settings.BACKUPS_REMOTE = {"DEFAULT_DISK": "wings", "MAX_PART_SIZE": 6 * MIB}
    else:
        reached_by(settings, location="elsewhere")
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


# Databases


class LaggingReplica:
    """Reads go where nothing is, unless they follow a row that was read already."""

    def db_for_read(self, model, instance=None, **hints):
        return "replica" if instance is None else instance._state.db

    def db_for_write(self, model, **hints):
        return "default"


def test_no_rule_is_judged_by_a_replica(backup, settings, client, node):
    """What a replica does not know yet would be an orphan, a spare backup, a free place."""
    settings.DATABASE_ROUTERS = [f"{__name__}.{LaggingReplica.__qualname__}"]
    Server.objects.using("default").update(backup_limit=2)
    server = Server.objects.using("default").get()
    ticket = lifecycle.request_upload(backup, len(ARCHIVE))
    assert requests.put(ticket.urls[0], data=ARCHIVE, timeout=30).ok
    assert list(lifecycle.sweep()) == []
    lifecycle.record_report(backup, Report(True, "sha1:abc", len(ARCHIVE)))

    assert lifecycle.count_stale(older_than=NOW) == 0
    assert list(lifecycle.sweep(older_than=NOW)) == []
    assert lifecycle.start_restore(backup) is not None
    lifecycle.record_restore(backup, successful=True)
    second = lifecycle.start_backup(server, rotating=True)
    assert [o.action for o in lifecycle.expire(Backup.objects.filter(pk=second.pk))] == ["failed"]
    assert lifecycle.rotate_backups(server) == []
    headers = {"Authorization": f"Bearer {node.bearer_token}"}
    path = f"/api/remote/backups/{backup.uuid}"
    assert client.get(path, {"size": 10}, headers=headers).status_code == 409
    lifecycle.delete_backup(backup)


@pytest.mark.once
def test_the_app_may_live_on_a_database_of_its_own():
    """In a pytest of its own: its settings name two databases and a router."""
    chosen = ["--ds=tests.reliability.two_databases", "tests/reliability/on_two_databases.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
