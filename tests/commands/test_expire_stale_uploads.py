"""The command expire_stale_uploads, against a real store."""

from __future__ import annotations

import datetime as dt
import os
import time
import uuid
from io import StringIO

import pytest
import requests
from django.core.management import CommandError, call_command
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.management.commands.expire_stale_uploads import duration
from backups_remote.models import Backup
from tests.support.commands import run
from tests.support.factories import BackupFactory

pytestmark = pytest.mark.django_db

MIB = 1024**2


@pytest.fixture
def uploading(backup):
    """An upload that got one of its two parts."""
    ticket = lifecycle.request_upload(backup, 5 * MIB + 3)
    assert requests.put(ticket.urls[0], data=os.urandom(5 * MIB), timeout=30).ok
    return backup


def long_ago(backup, **age):
    moment = timezone.now() - dt.timedelta(**age)
    changes = {"created_at": moment}
    if backup.upload_started_at:
        changes["upload_started_at"] = moment
    Backup.objects.filter(pk=backup.pk).update(**changes)
    backup.refresh_from_db()


def test_a_stale_upload_is_aborted_failed_and_unlocked(uploading, open_uploads):
    Backup.objects.update(is_locked=True)
    printed = run("expire_stale_uploads", older_than="0s")
    uploading.refresh_from_db()
    assert uploading.state is Backup.State.FAILED
    assert not uploading.is_locked
    assert uploading.upload_id == ""
    assert open_uploads() == []
    assert (
        f"failed: {uploading.uuid} on s3: silent for 0 s: 1 of 2 parts had arrived; its upload is aborted"
        in printed
    )
    assert "1 expired (1 failed), 0 errors." in printed


def test_a_part_that_arrived_is_a_sign_of_life(uploading, open_uploads):
    """The rows say "weeks ago", the newest part says "just now"."""
    long_ago(uploading, days=30)
    assert "0 expired" in run("expire_stale_uploads", older_than="1h")
    assert len(open_uploads()) == 1


def test_age_counts_from_the_start_of_the_upload(backup):
    long_ago(backup, days=30)
    lifecycle.request_upload(backup, 10)
    assert "0 expired" in run("expire_stale_uploads")


@pytest.mark.parametrize(
    ("age", "expired"), [(dt.timedelta(hours=6, minutes=59), 0), (dt.timedelta(hours=7), 1)]
)
def test_the_default_limit_is_the_urls_life_and_six_hours(backup, age, expired):
    lifecycle.request_upload(backup, 10)
    long_ago(backup, seconds=age.total_seconds())
    assert f"{expired} expired" in run("expire_stale_uploads")


def test_large_upload_has_a_longer_limit(backup):
    lifecycle.request_upload(backup, 1024**4)
    long_ago(backup, days=7, hours=5)
    assert "0 expired" in run("expire_stale_uploads")
    long_ago(backup, days=7, hours=7)
    assert "1 expired" in run("expire_stale_uploads")


def test_stale_after_is_honoured(settings, backup):
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "STALE_AFTER": 60, "URL_LIFESPAN": 60}
    lifecycle.request_upload(backup, 10)
    long_ago(backup, seconds=119)
    assert "0 expired" in run("expire_stale_uploads")
    long_ago(backup, seconds=121)
    assert "1 expired" in run("expire_stale_uploads")


@pytest.mark.parametrize("disk_name", ["wings", "s3"])
def test_pending_backup_expires_by_the_same_limit(server, disk, disk_name):
    backup = BackupFactory(server=server, disk=disk_name, is_locked=True)
    long_ago(backup, hours=6, minutes=50)
    assert "0 expired" in run("expire_stale_uploads")
    long_ago(backup, hours=7, minutes=1)
    assert f"failed: {backup.uuid} on {disk_name}: silent" in run("expire_stale_uploads")
    backup.refresh_from_db()
    assert backup.state is Backup.State.FAILED
    assert not backup.is_locked


def test_ended_backups_are_not_touched(server, disk):
    ended = timezone.now() - dt.timedelta(days=400)
    for successful in (True, False):
        BackupFactory(server=server, completed_at=ended, created_at=ended, is_successful=successful)
    before = list(Backup.objects.values())
    assert "0 expired" in run("expire_stale_uploads", older_than="0s")
    assert list(Backup.objects.values()) == before


def test_dry_run_prints_outcomes_and_changes_nothing(uploading, open_uploads):
    before = list(Backup.objects.values())
    printed = run("expire_stale_uploads", older_than="0s", dry_run=True)
    assert f"would be failed: {uploading.uuid}" in printed
    assert "1 would be expired" in printed
    assert list(Backup.objects.values()) == before
    assert len(open_uploads()) == 1


def test_disk_option_limits_the_run_to_one_disk(server, uploading):
    on_node = BackupFactory(server=server, disk="wings")
    printed = run("expire_stale_uploads", older_than="0s", disk="wings")
    assert str(on_node.uuid) in printed
    assert str(uploading.uuid) not in printed
    uploading.refresh_from_db()
    assert uploading.state is Backup.State.UPLOADING


def test_error_is_printed_others_are_expired_and_exit_code_is_1(server, uploading):
    lost, again = (
        BackupFactory(
            server=server,
            disk="gone",
            upload_id="u",
            object_key="k",
            upload_size=1,
            part_size=1,
            upload_started_at=timezone.now(),
        )
        for _ in range(2)
    )
    out = StringIO()
    with pytest.raises(CommandError, match="1 could not be expired: gone"):
        call_command("expire_stale_uploads", older_than="0s", stdout=out, stderr=out)
    assert "1 expired (1 failed), 1 error." in out.getvalue()
    # Once a disk, with its backups.
    assert out.getvalue().count("is not configured") == 1
    assert all(out.getvalue().count(str(b.uuid)) == 1 for b in (lost, again))
    uploading.refresh_from_db()
    assert uploading.state is Backup.State.FAILED
    lost.refresh_from_db()
    assert lost.state is Backup.State.UPLOADING


@pytest.mark.parametrize("workers", [1, 4])
def test_backups_are_expired_concurrently(server, disk, open_uploads, workers):
    for _ in range(20):
        lifecycle.request_upload(BackupFactory(server=server), 10)
    printed = run("expire_stale_uploads", older_than="0s", workers=workers)
    assert "20 expired (20 failed)" in printed
    assert open_uploads() == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("6h", 21_600), ("30m", 1_800), ("0s", 0), ("2d", 172_800)]
)
def test_durations(text, seconds):
    assert duration(text) == dt.timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "6", "h", "-1h", "1.5h", "1h30m", "6 h", "٦h", "999999999d"])
def test_a_bad_duration_is_named(text):
    with pytest.raises(CommandError, match="--older-than"):
        duration(text)


def test_a_pool_of_no_workers_is_refused():
    with pytest.raises(CommandError, match="--workers"):
        run("expire_stale_uploads", workers=0)


def test_an_unknown_disk_is_named(disk):
    with pytest.raises(CommandError, match="nowhere"):
        run("expire_stale_uploads", disk="nowhere")


def test_resent_part_is_recovered(backup, s3, store):
    first, second = os.urandom(5 * MIB), b"the rest"
    ticket = lifecycle.request_upload(backup, len(first + second))
    for url, body in zip([*ticket.urls, ticket.urls[0]], [first, second, first[:9]], strict=True):
        assert requests.put(url, data=body, timeout=30).ok
    assert "1 recovered" in run("expire_stale_uploads", older_than="0s")
    backup.refresh_from_db()
    assert backup.is_recovered
    stored = s3.get_object(Bucket=store.bucket, Key=backup.object_key)["Body"].read()
    assert stored == first + second


class Terminal(StringIO):
    def isatty(self):
        return True


def test_progress_line_is_shown_on_a_terminal(server, disk):
    for _ in range(3):
        lifecycle.request_upload(BackupFactory(server=server), 10)
    out, err = StringIO(), Terminal()
    call_command("expire_stale_uploads", older_than="0s", stdout=out, stderr=err)
    assert "1 of 3 (33%)" in err.getvalue()
    assert err.getvalue().endswith("\r\x1b[K")
    assert "\x1b" not in out.getvalue()
    assert lifecycle.count_stale(older_than=dt.timedelta(0)) == 0


def test_no_progress_line_without_a_terminal(server, disk):
    lifecycle.request_upload(BackupFactory(server=server), 10)
    err = StringIO()
    call_command("expire_stale_uploads", older_than="0s", stdout=StringIO(), stderr=err)
    assert err.getvalue() == ""


def test_parts_of_unexpected_length_are_not_recovered(backup, open_uploads):
    """They add up, and the store would refuse them for ever."""
    ticket = lifecycle.request_upload(backup, 12 * MIB)
    for url, size in zip(ticket.urls, [2 * MIB, 5 * MIB, 5 * MIB], strict=True):
        assert requests.put(url, data=bytes(size), timeout=30).ok
    assert "1 failed" in run("expire_stale_uploads", older_than="0s")
    assert open_uploads() == []


def test_complete_upload_refused_by_store_is_failed(backup, open_uploads):
    """Its plan is older than the store's rules: no part but the last may be this small."""
    lifecycle.request_upload(backup, 3000)
    Backup.objects.update(part_size=1000)
    backup.refresh_from_db()
    ticket = lifecycle.request_upload(backup, 3000)
    for url in ticket.urls:
        assert requests.put(url, data=bytes(1000), timeout=30).ok
    assert "1 failed" in run("expire_stale_uploads", older_than="0s")
    backup.refresh_from_db()
    assert backup.state is Backup.State.FAILED
    assert open_uploads() == []


def test_orphan_with_recent_parts_is_kept(db, disk, s3, store, location, monkeypatch):
    """Another panel's, perhaps; the age of an upload alone does not tell."""
    key = f"{location}/{uuid.uuid4()}/{uuid.uuid4()}.tar.gz"
    where = {"Bucket": store.bucket, "Key": key}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    time.sleep(2)
    s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"x")
    arrived = s3.list_parts(**where, UploadId=upload)["Parts"][0]["LastModified"]
    hour, moment = dt.timedelta(hours=1), dt.timedelta(seconds=0.5)

    # The upload is older than an hour, its part is not yet.
    monkeypatch.setattr("django.utils.timezone.now", lambda: arrived + hour - moment)
    assert list(lifecycle.sweep(older_than=hour, disk="s3")) == []
    monkeypatch.setattr("django.utils.timezone.now", lambda: arrived + hour + moment)
    assert [o.action for o in lifecycle.sweep(older_than=hour, disk="s3")] == ["orphan aborted"]
