"""The commands as an operator sees them, against a real store."""

import datetime as dt
import os
import time
import uuid
from io import StringIO

import pytest
import requests
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.test import APIRequestFactory

from backups_remote import lifecycle
from backups_remote.authentication import NodeAuthentication
from backups_remote.management.commands.expire_stale_uploads import duration
from backups_remote.models import Backup, Node
from tests.factories import BackupFactory

MIB = 1024**2
pytestmark = pytest.mark.django_db


def run(*args, **kwargs):
    out = StringIO()
    call_command(*args, stdout=out, stderr=out, **kwargs)
    return out.getvalue()


# create_node


def test_create_node_prints_what_the_daemon_needs():
    printed = run("create_node", "fra-1", "--url", "https://fra-1.example.com:8080")
    node = Node.objects.get(name="fra-1")
    assert node.url == "https://fra-1.example.com:8080"
    for line in (f"token_id: {node.token_id}", f"token: {node.token}", "remote: https://"):
        assert line in printed


@pytest.mark.parametrize(
    ("args", "field"),
    [(["fra-1"], "name"), (["x" * 192], "name"), (["a", "--url", "nonsense"], "url")],
)
def test_create_node_names_the_bad_argument_and_creates_nothing(args, field):
    Node.objects.create(name="fra-1")
    with pytest.raises(CommandError, match=f"{field}:"):
        run("create_node", *args)
    assert Node.objects.count() == 1


def test_create_node_with_rotate_replaces_the_token():
    others = Node.objects.create(name="ams-1").bearer_token
    old = Node.objects.create(name="fra-1", url="https://fra-1.example.com")

    printed = run("create_node", "fra-1", "--rotate", "--remote", "https://panel.example.com/")

    new = Node.objects.get(name="fra-1")
    assert (new.pk, new.uuid, new.url) == (old.pk, old.uuid, old.url)
    assert printed == (
        "# The daemon's config.yml; the token is not shown again.\n"
        f"uuid: {new.uuid}\n"
        f"token_id: {new.token_id}\n"
        f"token: {new.token}\n"
        "remote: https://panel.example.com\n"
    )
    assert caller(new.bearer_token) == new
    assert caller(others).name == "ams-1"
    for dead in (old.bearer_token, f"{new.token_id}.{old.token}", f"{old.token_id}.{new.token}"):
        with pytest.raises(AuthenticationFailed):
            caller(dead)


def caller(bearer):
    """Which node authentication takes the bearer of this token for."""
    request = APIRequestFactory().get("/", headers={"Authorization": f"Bearer {bearer}"})
    return NodeAuthentication().authenticate(request)[1]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["fra-1"], "^name: .*already exists.*\nTo give it a new token, use --rotate.$"),
        (["fra-2", "--rotate"], "^name: There is no node 'fra-2'.$"),
        (["", "--rotate"], "^name: There is no node ''.$"),
        (["fra-1", "--rotate", "--url", "https://x.example"], "^--url: not with --rotate"),
        (["fra-1", "--rotate", "--url", ""], "^--url: not with --rotate"),
        (["fra-2", "--rotate", "--url", "https://x.example"], "^--url: not with --rotate"),
    ],
)
def test_create_node_says_what_rotate_is_for_and_changes_nothing(args, said):
    Node.objects.create(name="fra-1", url="https://fra-1.example.com")
    before = list(Node.objects.values())

    with pytest.raises(CommandError, match=said):
        run("create_node", *args)

    assert list(Node.objects.values()) == before


def test_create_node_mentions_rotate_for_a_taken_name_only():
    with pytest.raises(CommandError) as refused:
        run("create_node", "x" * 192)
    assert "--rotate" not in str(refused.value)


# expire_stale_uploads


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
    assert f"failed: {uploading.uuid} on s3: silent, its upload aborted" in printed
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


def test_a_large_upload_has_longer(backup):
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
def test_one_that_never_asked_for_urls_fails_by_the_same_rule(server, disk, disk_name):
    backup = BackupFactory(server=server, disk=disk_name, is_locked=True)
    long_ago(backup, hours=6, minutes=50)
    assert "0 expired" in run("expire_stale_uploads")
    long_ago(backup, hours=7, minutes=1)
    assert f"failed: {backup.uuid} on {disk_name}: silent" in run("expire_stale_uploads")
    backup.refresh_from_db()
    assert backup.state is Backup.State.FAILED
    assert not backup.is_locked


def test_what_has_ended_is_never_touched(server, disk):
    ended = timezone.now() - dt.timedelta(days=400)
    for successful in (True, False):
        BackupFactory(server=server, completed_at=ended, created_at=ended, is_successful=successful)
    before = list(Backup.objects.values())
    assert "0 expired" in run("expire_stale_uploads", older_than="0s")
    assert list(Backup.objects.values()) == before


def test_a_dry_run_says_it_and_changes_nothing(uploading, open_uploads):
    before = list(Backup.objects.values())
    printed = run("expire_stale_uploads", older_than="0s", dry_run=True)
    assert f"would be failed: {uploading.uuid}" in printed
    assert "1 would be expired" in printed
    assert list(Backup.objects.values()) == before
    assert len(open_uploads()) == 1


def test_disk_narrows_it_to_one_disk(server, uploading):
    on_node = BackupFactory(server=server, disk="wings")
    printed = run("expire_stale_uploads", older_than="0s", disk="wings")
    assert str(on_node.uuid) in printed
    assert str(uploading.uuid) not in printed
    uploading.refresh_from_db()
    assert uploading.state is Backup.State.UPLOADING


def test_a_fault_is_named_the_others_go_on_and_the_exit_is_not_zero(server, uploading):
    lost = BackupFactory(
        server=server,
        disk="gone",
        upload_id="u",
        object_key="k",
        upload_size=1,
        part_size=1,
        upload_started_at=timezone.now(),
    )
    out = StringIO()
    with pytest.raises(CommandError, match=str(lost.uuid)):
        call_command("expire_stale_uploads", older_than="0s", stdout=out, stderr=out)
    assert "1 expired (1 failed), 1 error." in out.getvalue()
    uploading.refresh_from_db()
    assert uploading.state is Backup.State.FAILED
    lost.refresh_from_db()
    assert lost.state is Backup.State.UPLOADING


@pytest.mark.parametrize("workers", [1, 4])
def test_many_are_expired_side_by_side(server, disk, open_uploads, workers):
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


def test_a_part_that_arrived_short_and_again_is_recovered_whole(backup, s3, store):
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


def test_a_terminal_sees_how_far_it_has_come(server, disk):
    for _ in range(3):
        lifecycle.request_upload(BackupFactory(server=server), 10)
    out, err = StringIO(), Terminal()
    call_command("expire_stale_uploads", older_than="0s", stdout=out, stderr=err)
    assert "1 of 3 (33%)" in err.getvalue()
    assert err.getvalue().endswith("\r\x1b[K")
    assert "\x1b" not in out.getvalue()
    assert lifecycle.count_stale(older_than=dt.timedelta(0)) == 0


def test_elsewhere_there_is_no_progress_line(server, disk):
    lifecycle.request_upload(BackupFactory(server=server), 10)
    err = StringIO()
    call_command("expire_stale_uploads", older_than="0s", stdout=StringIO(), stderr=err)
    assert err.getvalue() == ""


def test_parts_of_other_lengths_are_not_taken_for_a_whole_upload(backup, open_uploads):
    """They add up, and the store would refuse them for ever."""
    ticket = lifecycle.request_upload(backup, 12 * MIB)
    for url, size in zip(ticket.urls, [2 * MIB, 5 * MIB, 5 * MIB], strict=True):
        assert requests.put(url, data=bytes(size), timeout=30).ok
    assert "1 failed" in run("expire_stale_uploads", older_than="0s")
    assert open_uploads() == []


def test_a_whole_upload_that_the_store_refuses_is_given_up(backup, open_uploads):
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


def test_an_orphan_whose_parts_still_arrive_is_spared(db, disk, s3, store, location, monkeypatch):
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
