"""A store that refuses to delete an archive is no outage: what is whole stays whole."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import io
import json
import threading

import pytest
from botocore.exceptions import ClientError
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import (
    SettlementInProgress,
    StorageRefused,
    StorageTimeout,
    StorageUnavailable,
)
from backups_remote.lifecycle import report
from backups_remote.lifecycle.rules.deletion import is_kept_by_store
from backups_remote.models import Backup, EventKind, Server
from backups_remote.testing import MemoryBackend
from tests.support.disks import new_bucket
from tests.support.events import unexplained
from tests.support.factories import BackupFactory, ServerFactory
from tests.support.http import change_disk_options, upload
from tests.support.memory import (
    completed_backup,
    put_foreign_object,
    put_part,
    raising,
    remaining_uuids,
    reported,
    success,
    sweep_actions,
    uploading_backup,
)
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True)]

S = Backup.State
NOW = dt.timedelta(0)
ARCHIVE = b"a tiny archive"
REFUSED = StorageRefused("The store answered AccessDenied to the deletion of an object.")


# On a real store: an object under Object Lock, and a bucket's policy


@pytest.fixture
def locking_bucket(settings, s3, disk):
    """The disk ``s3`` in a bucket that can keep objects; whatever is kept is let go at the end."""
    bucket = new_bucket(s3, locking=True)
    change_disk_options(settings, bucket_name=bucket, location="")
    yield bucket
    with contextlib.suppress(ClientError):
        s3.delete_bucket_policy(Bucket=bucket)
    for found in s3.list_object_versions(Bucket=bucket).get("Versions", ()):
        what = {"Bucket": bucket, "Key": found["Key"], "VersionId": found["VersionId"]}
        s3.put_object_legal_hold(**what, LegalHold={"Status": "OFF"})
        # Older versions of SeaweedFS refuse this too; the store is thrown away anyway.
        with contextlib.suppress(ClientError):
            s3.delete_object(**what, BypassGovernanceRetention=True)


@pytest.fixture
def whole(daemon, server, locking_bucket):
    backup = BackupFactory(server=server, disk="s3")
    assert daemon.report(backup, ARCHIVE, upload(daemon, backup)).status_code == 204
    backup.refresh_from_db()
    return backup


def retain(s3, bucket, backup):
    until = timezone.now() + dt.timedelta(days=3)
    s3.put_object_retention(
        Bucket=bucket,
        Key=backup.object_key,
        VersionId=backup.version_id,
        Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until},
    )


def hold(s3, bucket, backup):
    s3.put_object_legal_hold(
        Bucket=bucket,
        Key=backup.object_key,
        VersionId=backup.version_id,
        LegalHold={"Status": "ON"},
    )


def forbid(s3, bucket, backup):
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    s3.put_bucket_policy(
        Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    )


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (retain, "It is retained until"),
        (hold, "It is under a legal hold."),
        (forbid, "s3:DeleteObject or, for a version, s3:DeleteObjectVersion"),
    ],
)
@pytest.mark.parametrize("how", ["delete", "sweep"])
def test_archive_that_the_store_keeps_stays_whole(whole, s3, locking_bucket, keep, said, how):
    keep(s3, locking_bucket, whole)
    if how == "delete":
        with pytest.raises(StorageRefused, match="The backup stays"):
            lifecycle.delete_backup(whole)
    else:
        assert whole.begin_deletion()
        (outcome,) = lifecycle.sweep(older_than=NOW)
        assert outcome.action == "notice"
        assert said in outcome.detail
    whole.refresh_from_db()
    assert whole.state is S.COMPLETED
    assert said in whole.deletion_refusal
    assert (whole.retained_until is not None) == (keep is retain)
    if keep is forbid:  # to keep an object, SeaweedFS 4.48 drops its content type
        assert lifecycle.start_restore(whole) is not None
    assert unexplained(whole.uuid) == []
    told = whole.events.get(kind=EventKind.DELETION_REFUSED)
    assert told.detail == whole.deletion_refusal


def test_archive_that_is_let_go_is_deleted(whole, s3, locking_bucket):
    hold(s3, locking_bucket, whole)
    with pytest.raises(StorageRefused):
        lifecycle.delete_backup(whole)
    s3.put_object_legal_hold(
        Bucket=locking_bucket,
        Key=whole.object_key,
        VersionId=whole.version_id,
        LegalHold={"Status": "OFF"},
    )
    lifecycle.delete_backup(whole)
    assert not Backup.objects.exists()
    assert "Versions" not in s3.list_object_versions(Bucket=locking_bucket)


# In memory


def refuse(memory, *uuids):
    """Refuse to delete the archives of these backups, or of all."""

    def delete(self, key, *, version_id):
        memory.calls["delete"] += 1
        if not uuids or any(str(uuid) in key for uuid in uuids):
            raise REFUSED
        MemoryBackend.delete(self, key, version_id=version_id)

    return delete


def above_limit(*, backups, limit):
    """That many whole backups of a server whose limit was lowered since."""
    server = ServerFactory()
    whole = [completed_backup(server) for _ in range(backups)]
    Server.objects.update(backup_limit=limit)
    return whole


def test_sweep_says_it_once_without_an_error(memory):
    backup = completed_backup()
    backup.begin_deletion()
    memory.instead["delete"] = raising(REFUSED)
    out, err = io.StringIO(), io.StringIO()
    call_command("expire_stale_uploads", stdout=out, stderr=err)
    assert err.getvalue().count("it stays. The store answered AccessDenied") == 1
    assert out.getvalue() == "0 expired, 0 errors.\n"
    call_command("expire_stale_uploads", stdout=out, stderr=err)
    assert err.getvalue().count("AccessDenied") == 1


@pytest.mark.parametrize("sweeps", [False, True], ids=["the project", "the sweep"])
def test_rotation_goes_on_to_the_next(memory, monkeypatch, sweeps):
    kept, second, third, newest = above_limit(backups=4, limit=2)
    server = newest.server
    Backup.objects.filter(pk=newest.pk).update(rotation_due=True)
    monkeypatch.setattr(memory, "delete", refuse(memory, kept.uuid))
    if sweeps:
        assert sweep_actions(NOW) == ["notice", "deleted", "deleted"]
    else:
        assert lifecycle.rotate_backups(server) == [second.uuid, third.uuid]
    assert remaining_uuids(server) == {kept.uuid, newest.uuid}
    memory.calls.clear()
    assert lifecycle.rotate_backups(server) == []
    assert not memory.calls


def test_rotation_of_a_store_that_keeps_everything_deletes_nothing(memory):
    backups = above_limit(backups=4, limit=1)
    memory.instead["delete"] = raising(REFUSED)
    assert lifecycle.rotate_backups(backups[0].server) == []
    assert Backup.objects.completed().count() == len(backups)


@pytest.mark.parametrize(
    ("refused", "retained", "goes"),
    [
        (dt.timedelta(hours=23), None, False),
        (dt.timedelta(hours=25), None, True),
        (dt.timedelta(days=9), dt.timedelta(minutes=1), False),
        (dt.timedelta(days=9), -dt.timedelta(minutes=1), True),
    ],
    ids=["today", "yesterday", "retained", "retained no more"],
)
def test_rotation_leaves_out_what_the_store_keeps(memory, refused, retained, goes):
    oldest, _ = above_limit(backups=2, limit=1)
    now = timezone.now()
    Backup.objects.filter(pk=oldest.pk).update(
        deletion_refused_at=now - refused,
        retained_until=None if retained is None else now + retained,
    )
    assert lifecycle.rotate_backups(oldest.server) == ([oldest.uuid] if goes else [])


def test_rotation_that_the_store_refused_is_due_again(memory):
    """Its next in line is locked: only the one that was refused can go."""
    oldest, second, newest = above_limit(backups=3, limit=2)
    Backup.objects.filter(pk=newest.pk).update(rotation_due=True)
    lifecycle.lock_backup(second)
    memory.instead["delete"] = raising(REFUSED)
    assert lifecycle.rotate_backups(newest.server) == []
    assert sweep_actions(NOW) == []
    del memory.instead["delete"]
    long_ago = timezone.now() - dt.timedelta(days=2)
    Backup.objects.filter(pk=oldest.pk).update(deletion_refused_at=long_ago)
    assert sweep_actions(NOW) == ["deleted"]
    assert sweep_actions(NOW) == []


def test_times_without_a_zone_take_the_end_of_a_retention_period(memory, settings):
    settings.USE_TZ = False
    backup = completed_backup()
    memory.instead["delete"] = raising(REFUSED)
    until = dt.datetime(2031, 4, 1, 6, tzinfo=dt.UTC)
    memory.instead["stat"] = lambda call: dataclasses.replace(call(), retained_until=until)
    with pytest.raises(StorageRefused, match="2031-04-01 06:00 UTC"):
        lifecycle.delete_backup(backup)
    backup.refresh_from_db()
    default = timezone.get_default_timezone()
    assert backup.retained_until == until.astimezone(default).replace(tzinfo=None)
    assert is_kept_by_store(backup)


def test_refused_abort_keeps_no_whole_archive(memory):
    """Its upload is finished: there is nothing to abort."""
    backup = completed_backup()
    memory.instead["abort_upload"] = raising(REFUSED)
    lifecycle.delete_backup(backup)
    assert MemoryBackend.objects == {}


def test_refused_abort_of_a_failed_backup_is_an_error(memory):
    backup = uploading_backup()
    memory.instead["abort_upload"] = raising(REFUSED)
    assert sweep_actions(NOW) == ["error"]
    with pytest.raises(StorageRefused, match="The sweep tries again"):
        lifecycle.delete_backup(backup)
    assert sweep_actions(NOW) == ["error"]
    del memory.instead["abort_upload"]
    assert sweep_actions(NOW) == ["deleted"]


def test_object_that_took_the_place_of_the_null_version_is_left(memory):
    """Where versions are suspended, the next object has the same version id."""
    backup = completed_backup()
    Backup.objects.update(version_id="null")
    put_foreign_object(backup)
    assert lifecycle.delete_backup(backup) is not None
    assert memory.calls["delete"] == 0


def test_refused_archive_that_is_gone_after_all_takes_its_row_along(memory):
    backup = completed_backup()

    def delete(call):
        call()
        raise REFUSED

    memory.instead["delete"] = delete
    lifecycle.delete_backup(backup)
    assert not Backup.objects.exists()


def test_refused_archive_that_cannot_be_looked_at_stays_in_deletion(memory):
    backup = completed_backup()

    def delete(call):
        memory.instead["stat"] = raising(StorageUnavailable())
        raise REFUSED

    memory.instead["delete"] = delete
    with pytest.raises(StorageUnavailable):
        lifecycle.delete_backup(backup)
    backup.refresh_from_db()
    assert backup.state is S.DELETING


def test_fault_of_the_store_takes_nothing_back(memory):
    backup = completed_backup()
    memory.instead["delete"] = raising(StorageUnavailable())
    with pytest.raises(StorageUnavailable):
        lifecycle.delete_backup(backup)
    backup.refresh_from_db()
    assert (backup.state, backup.deletion_refused_at) == (S.DELETING, None)
    del memory.instead["delete"]
    assert sweep_actions(NOW) == ["deleted"]


@pytest.mark.parametrize("error", [StorageTimeout(), StorageUnavailable()], ids=["late", "broken"])
def test_refusal_while_an_earlier_call_may_be_under_way_takes_nothing_back(memory, error):
    """The earlier one may still succeed, after the later one was refused."""
    backup = completed_backup()
    memory.instead["delete"] = raising(error)
    with pytest.raises(type(error)):
        lifecycle.delete_backup(backup)
    memory.instead["delete"] = raising(REFUSED)
    assert sweep_actions() == ["notice"]
    backup.refresh_from_db()
    assert (backup.state, backup.deletion_refusal) == (S.DELETING, str(REFUSED))

    # Once it cannot be under way any more.
    Backup.objects.update(quiet_until=timezone.now())
    assert sweep_actions() == ["notice"]
    backup.refresh_from_db()
    assert backup.state is S.COMPLETED


def test_panel_that_died_after_its_call_was_sent_is_waited_for(memory):
    backup = completed_backup()
    backup.begin_deletion()
    assert backup.begin_erasing(timezone.now() + dt.timedelta(minutes=10))
    memory.instead["delete"] = raising(REFUSED)
    assert sweep_actions() == ["notice"]
    backup.refresh_from_db()
    assert backup.state is S.DELETING
    del memory.instead["delete"]
    assert sweep_actions() == ["deleted"]


@pytest.mark.parametrize("refused", ["the earlier", "the later"])
def test_concurrent_erasers_do_not_take_the_deletion_back(memory, refused):
    """One is refused while the other's call is under way, which then succeeds."""
    backup = completed_backup()
    is_refused = threading.Event()
    both_sent = threading.Barrier(2)

    def delete(call):
        which = "the earlier" if memory.calls["delete"] == 1 else "the later"
        both_sent.wait(30)
        if which == refused:
            raise REFUSED
        assert is_refused.wait(30)
        return call()

    memory.instead["delete"] = delete
    said = []

    def ask():
        try:
            lifecycle.delete_backup(Backup.objects.get())
            said.append("deleted")
        except StorageRefused as error:
            said.append(str(error))
            is_refused.set()
        finally:
            connections.close_all()

    asking = [threading.Thread(target=ask) for _ in range(2)]
    asking[0].start()
    wait_until(lambda: memory.calls["delete"] == 1, "the earlier call")
    asking[1].start()
    for thread in asking:
        thread.join()
    assert sorted(said) == [f"{REFUSED} The sweep tries again.", "deleted"]
    assert not Backup.objects.exists()
    assert unexplained(backup.uuid) == []


def test_call_that_was_held_up_is_not_sent(memory, monkeypatch):
    """A process that was frozen does not erase what was taken back meanwhile."""
    backup = completed_backup()
    later = timezone.now() + dt.timedelta(minutes=6)

    def stat(call):
        found = call()
        monkeypatch.setattr(timezone, "now", lambda: later)
        return found

    memory.instead["stat"] = stat
    with pytest.raises(StorageTimeout, match="was not sent"):
        lifecycle.delete_backup(backup)
    assert memory.calls["delete"] == 0


def test_deletion_that_another_took_back_is_refused_to_the_later_one(memory, monkeypatch):
    backup = completed_backup()
    begin = Backup.begin_erasing

    def begin_late(self, until):
        monkeypatch.setattr(Backup, "begin_erasing", begin)
        sweep_actions(NOW)
        return self.begin_erasing(until)

    memory.instead["delete"] = raising(REFUSED)
    monkeypatch.setattr(Backup, "begin_erasing", begin_late)
    with pytest.raises(StorageRefused, match="AccessDenied"):
        lifecycle.delete_backup(backup)
    backup.refresh_from_db()
    assert backup.state is S.COMPLETED


# Without the permission to see that there is nothing


@pytest.fixture
def blind(memory):
    """A key without s3:ListBucket: a look is refused where there is no object."""

    def stat(call):
        found = call()
        if found is None:
            raise StorageRefused("The store answered 403 to a check of the object.")
        return found

    memory.instead["stat"] = stat
    return memory


def test_failed_backup_is_deleted_without_a_look(blind):
    backup = uploading_backup()
    assert sweep_actions(NOW) == ["failed"]
    lifecycle.delete_backup(backup)
    assert not Backup.objects.exists()


def test_silent_upload_ends_without_a_look(blind):
    uploading_backup()
    assert sweep_actions(NOW) == ["failed"]
    assert MemoryBackend.uploads == {}


def test_whole_upload_is_recovered_without_a_look(blind):
    backup = uploading_backup()
    put_part(backup)
    assert sweep_actions(NOW) == ["recovered"]


def test_left_upload_is_aborted_without_a_look(blind):
    backup = uploading_backup()
    blind.instead["abort_upload"] = raising(StorageUnavailable())
    assert sweep_actions(NOW) == ["error"]
    del blind.instead["abort_upload"]
    assert sweep_actions(NOW) == ["upload aborted"]
    backup.refresh_from_db()
    assert backup.upload_id == ""


def test_upload_that_the_store_has_dropped_ends_without_a_look(blind):
    """Its object is looked for again, as long as one could still be late."""
    backup = uploading_backup()
    MemoryBackend.uploads.clear()
    assert sweep_actions(NOW) == ["failed"]
    assert sweep_actions(NOW) == []
    Backup.objects.update(completed_at=timezone.now() - dt.timedelta(days=4))
    assert sweep_actions(NOW) == ["upload aborted"]
    backup.refresh_from_db()
    assert (backup.state, backup.upload_id) == (S.FAILED, "")


def test_sent_completion_is_looked_for_before_anything_is_given_up(blind):
    """Its object may be there: a refused look proves nothing then."""
    backup = uploading_backup()
    Backup.objects.filter(pk=backup.pk).update(completion_sent_at=timezone.now())
    assert sweep_actions(NOW) == ["error"]
    backup.refresh_from_db()
    assert backup.state is S.UPLOADING


def test_sent_completion_is_looked_for_before_its_row_goes(blind):
    backup = uploading_backup()
    sweep_actions(NOW)
    Backup.objects.filter(pk=backup.pk).update(completion_sent_at=timezone.now())
    with pytest.raises(StorageRefused):
        lifecycle.delete_backup(backup)
    backup.refresh_from_db()
    assert backup.state is S.DELETING


def test_completion_is_sent_again_without_a_look(blind):
    """After a panel died: where there is no object yet, every look is refused."""
    backup = reported(held_for=-NOW)
    lifecycle.record_report(backup, success(backup))
    assert backup.state is S.COMPLETED


def test_repeat_that_waits_is_not_refused_for_a_look(blind, brief_lease, monkeypatch):
    monkeypatch.setattr(report, "PATIENCE", 0.6)
    backup = reported()
    with pytest.raises(SettlementInProgress):
        lifecycle.record_report(backup, success(backup))
    assert sweep_actions() == []


def test_archive_of_a_version_is_deleted_without_a_look(memory):
    MemoryBackend.keeps_versions = True
    backup = completed_backup()
    assert backup.version_id
    memory.calls.clear()
    lifecycle.delete_backup(backup)
    assert (memory.calls["stat"], memory.calls["delete"]) == (0, 1)
    assert MemoryBackend.objects == {}
