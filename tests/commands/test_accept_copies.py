"""A bucket is copied to another place on the real store, and its copies are accepted."""

import hashlib
import os
import uuid
from io import StringIO

import pytest
import requests
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backups_remote import lifecycle
from backups_remote.exceptions import RestoreRefused
from backups_remote.management.commands import accept_copies as command
from backups_remote.models import Backup, Server
from backups_remote.types import Report, ReportedPart
from tests.support.disks import new_bucket
from tests.support.factories import BackupFactory, ServerFactory
from tests.support.http import MIB, change_disk_options

pytestmark = pytest.mark.django_db

SIZE = 5 * MIB + 7


def run(*args, **kwargs):
    """What an operator sees; ends with the error, if the command exits with one."""
    out = StringIO()
    try:
        call_command("accept_copies", *args, stdout=out, stderr=out, **kwargs)
    except CommandError as error:
        out.write(f"exit 1: {error}\n")
    return out.getvalue()


@pytest.fixture
def make(disk, node):
    """Makes a whole backup of two parts on the disk; the archive is kept on it."""

    def make(**fields):
        backup = BackupFactory(server=ServerFactory(node=node), disk=disk, **fields)
        archive = os.urandom(SIZE)
        ticket = lifecycle.request_upload(backup, SIZE)
        parts = []
        for number, url in enumerate(ticket.urls):
            part = archive[number * ticket.part_size : (number + 1) * ticket.part_size]
            answer = requests.put(url, data=part, timeout=60)
            parts.append(ReportedPart(number + 1, answer.headers["ETag"]))
        checksum = f"sha1:{hashlib.sha1(archive).hexdigest()}"
        lifecycle.record_report(
            backup, Report(successful=True, checksum=checksum, size=SIZE, parts=tuple(parts))
        )
        backup.refresh_from_db()
        backup.archive = archive
        return backup

    return make


@pytest.fixture
def move(s3, store, settings, location):
    """Copies every object as a tool does that puts it in one piece, and points the disk there."""

    def move(to, *, source=None):
        source = source or store.bucket
        for key in keys_in(s3, source, Prefix=f"{location}/"):
            put(s3, to, key, s3.get_object(Bucket=source, Key=key))
        change_disk_options(settings, bucket_name=to)

    return move


def put(s3, bucket, key, whole, **changes):
    s3.put_object(
        **{
            "Bucket": bucket,
            "Key": key,
            "Body": whole["Body"].read(),
            "Metadata": whole["Metadata"],
            "ContentType": whole["ContentType"],
            **changes,
        }
    )


def rows():
    return list(Backup.objects.order_by("pk").values()), list(
        Server.objects.order_by("pk").values()
    )


def keys_in(s3, bucket, **which):
    return [
        found["Key"] for found in s3.list_objects_v2(Bucket=bucket, **which).get("Contents", ())
    ]


@pytest.mark.parametrize("from_versions", [False, True])
@pytest.mark.parametrize("to_versions", [False, True])
def test_copies_are_restored_and_deleted_once_they_are_accepted(
    make, move, s3, settings, from_versions, to_versions
):
    old = new_bucket(s3, versioned=from_versions)
    change_disk_options(settings, bucket_name=old)
    backup, locked = make(), make(is_locked=True)
    assert bool(backup.version_id) == from_versions
    new = new_bucket(s3, versioned=to_versions)
    move(new, source=old)
    with pytest.raises(RestoreRefused):
        lifecycle.start_restore(backup)

    printed = run("s3")

    assert printed == (
        f"accepted: {backup.uuid} on s3\n"
        f"accepted: {locked.uuid} on s3\n"
        "2 accepted, 0 not accepted, 0 unchanged.\n"
    )
    before = backup.object_etag, backup.version_id
    backup.refresh_from_db()
    assert backup.object_etag == hashlib.md5(backup.archive).hexdigest() != before[0]
    assert bool(backup.version_id) == to_versions
    assert backup.version_id != before[1] or not (from_versions or to_versions)
    link = lifecycle.start_restore(backup)
    assert requests.get(link, timeout=60).content == backup.archive
    lifecycle.record_restore(backup, successful=True)
    assert lifecycle.delete_backup(backup) is None
    assert keys_in(s3, new) == [locked.object_key]
    if to_versions:
        left = s3.list_object_versions(Bucket=new)
        assert [v["Key"] for v in left["Versions"]] == [locked.object_key]
        assert not left.get("DeleteMarkers")
    locked.refresh_from_db()
    assert locked.is_locked
    assert sorted(keys_in(s3, old)) == sorted([backup.object_key, locked.object_key])


def test_a_second_run_changes_nothing(make, move, s3):
    make()
    move(new_bucket(s3))
    run("s3")
    before = rows()

    assert run("s3") == "0 accepted, 0 not accepted, 1 unchanged.\n"
    assert rows() == before


def test_another_prefix_of_the_same_bucket_is_another_key(make, s3, store, settings):
    """The rows name whole keys: what was copied under another one is not looked for."""
    backup = make()
    change_disk_options(settings, location=f"elsewhere-{uuid.uuid4().hex[:8]}")

    assert run("s3") == "0 accepted, 0 not accepted, 1 unchanged.\n"
    assert lifecycle.download_link(backup)


def test_object_that_is_no_copy_is_named_and_unchanged(make, move, s3):
    good, short, unmarked, foreign, missing = (make() for _ in range(5))
    new = new_bucket(s3)
    move(new)

    def change(backup, **changes):
        put(s3, new, backup.object_key, s3.get_object(Bucket=new, Key=backup.object_key), **changes)

    change(short, Body=short.archive[:-1])
    change(unmarked, Metadata={})
    change(foreign, Metadata={"backup-mark": good.upload_mark})
    s3.delete_object(Bucket=new, Key=missing.object_key)
    before = {row["uuid"]: row for row in rows()[0]}

    printed = run("s3")

    not_ours = "The object does not carry this backup's mark."
    reasons = {
        short: f"The object has {SIZE - 1} bytes instead of {SIZE}.",
        unmarked: not_ours,
        foreign: not_ours,
        missing: "There is no object under the backup's key.",
    }
    lines = printed.splitlines()
    assert lines[0] == f"accepted: {good.uuid} on s3"
    assert lines[1:5] == [f"not accepted: {b.uuid} on s3: {why}" for b, why in reasons.items()]
    assert lines[5] == "1 accepted, 4 not accepted, 0 unchanged."
    named = ", ".join(str(backup.uuid) for backup in reasons)
    assert lines[6:] == [f"exit 1: 4 could not be accepted: {named}"]
    after = {row["uuid"]: row for row in rows()[0]}
    assert {u for u in after if after[u] != before[u]} == {good.uuid}
    for backup in reasons:
        with pytest.raises(RestoreRefused):
            lifecycle.download_link(backup)


def test_dry_run_prints_outcomes_and_changes_nothing(make, move, s3):
    good, missing = make(), make()
    new = new_bucket(s3)
    move(new)
    s3.delete_object(Bucket=new, Key=missing.object_key)
    before = rows()

    printed = run("s3", "--dry-run")

    assert f"would be accepted: {good.uuid} on s3\n" in printed
    assert f"not accepted: {missing.uuid} on s3: There is no object" in printed
    assert "1 would be accepted, 1 not accepted, 0 unchanged.\n" in printed
    assert "exit 1: 1 could not be accepted" in printed
    assert rows() == before


def test_only_completed_backups_on_the_disk_are_checked(make, server, move, s3):
    other = [
        BackupFactory(server=server, disk="s3"),
        BackupFactory(server=server, disk="wings"),
        BackupFactory(server=server, disk="retired"),
    ]
    make()
    move(new_bucket(s3))

    printed = run("s3")

    assert "1 accepted, 0 not accepted, 0 unchanged." in printed
    assert not [b for b in other if str(b.uuid) in printed]


def test_unavailable_store_accepts_nothing(make, settings, store):
    backup = make()
    change_disk_options(settings, endpoint_url="http://127.0.0.1:9")
    before = rows()

    printed = run("s3")

    assert f"not accepted: {backup.uuid} on s3: " in printed
    assert "exit 1: 1 could not be accepted" in printed
    assert store.secret_key not in printed
    assert rows() == before


@pytest.mark.parametrize(
    ("disk_name", "said"),
    [
        ("nowhere", "exit 1: DISK: The disk 'nowhere' is not configured.\n"),
        ("wings", "exit 1: DISK: archives on 'wings' are not in a store.\n"),
    ],
)
def test_disk_without_store_is_refused(disk, disk_name, said):
    assert run(disk_name) == said


class Terminal(StringIO):
    def isatty(self):
        return True


def test_progress_line_is_shown_on_a_terminal(make, move, s3, monkeypatch):
    monkeypatch.setattr(command, "_BATCH", 2)
    backups = [make() for _ in range(3)]
    move(new_bucket(s3))
    out, err = StringIO(), Terminal()

    call_command("accept_copies", "s3", stdout=out, stderr=err)

    assert "2 of 3 (67%)" in err.getvalue()
    assert err.getvalue().endswith("\r\x1b[K")
    assert "\x1b" not in out.getvalue()
    assert [line.split()[1] for line in out.getvalue().splitlines()[:3]] == [
        str(backup.uuid) for backup in backups
    ]


def test_rows_are_read_in_batches(make, monkeypatch):
    monkeypatch.setattr(command, "_BATCH", 2)
    for _ in range(5):
        make()

    with CaptureQueriesContext(connection) as context:
        assert run("s3") == "0 accepted, 0 not accepted, 5 unchanged.\n"

    whole = [q["sql"] for q in context.captured_queries if "object_etag" in q["sql"]]
    assert len(whole) == 3
    assert all(" IN (" in sql for sql in whole)
