"""What the sweep ends, completes and leaves alone."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import DatabaseError
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import (
    BackupLimitReached,
    ReportRefused,
    StorageUnavailable,
    UploadRejected,
)
from backups_remote.models import Backup, Server
from backups_remote.testing import MemoryBackend
from tests.support.factories import ServerFactory
from tests.support.memory import (
    ARCHIVE,
    MINUTE,
    complete_in_store,
    completed_backup,
    raising,
    reported,
    row,
    set_age,
    success,
    sweep_actions,
    uploaded,
    uploading_backup,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]


def test_reported_backup_is_not_failed_by_upload_age(settings):
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "STALE_AFTER": 1800}
    backup = reported()
    hours_ago = timezone.now() - dt.timedelta(hours=4)
    Backup.objects.update(upload_started_at=hours_ago, created_at=hours_ago, claimed_until=None)
    MemoryBackend.uploads.clear()
    assert [o.action for o in lifecycle.sweep()] == ["error"]
    Backup.objects.update(reported_at=hours_ago, claimed_until=None)
    assert [o.action for o in lifecycle.sweep()] == ["failed"]

    # The object appears after all.
    MemoryBackend.objects[backup.object_key] = _object(backup)
    assert [o.action for o in lifecycle.sweep()] == ["completed"]
    assert Backup.objects.get().is_verified


def _object(backup):
    from backups_remote.testing.store import StoredArchive

    return StoredArchive(ARCHIVE, "etag", backup.upload_mark)


def test_expire_is_not_lazy():
    backup = lifecycle.start_backup(ServerFactory())
    lifecycle.expire(Backup.objects.all())
    backup.refresh_from_db()
    assert backup.state is Backup.State.FAILED


S = Backup.State
HOUR = 60 * MINUTE
NOW = dt.timedelta(0)


@pytest.mark.usefixtures("brief_lease")
def test_claimed_backup_is_completed_when_object_appears(memory):
    backup = reported()
    assert sweep_actions(NOW) == []
    complete_in_store(backup)
    assert sweep_actions(NOW) == ["completed"]
    assert memory.calls["complete_upload"] == 0


def test_sweep_waits_for_claim_of_dead_panel():
    reported(held_for=dt.timedelta(seconds=0.5))
    assert sweep_actions(NOW) == ["completed"]


def test_sweep_skips_upload_in_quiet_period(memory):
    backup = reported()
    assert backup.release(quiet_until=timezone.now() + HOUR)
    assert sweep_actions(NOW) == []
    assert lifecycle.expire(Backup.objects.all()) == []
    assert memory.calls["complete_upload"] == memory.calls["abort_upload"] == 0


@pytest.mark.usefixtures("brief_looks")
def test_rejection_in_sweep_after_unanswered_completion_is_inconclusive(memory):
    reported(held_for=-MINUTE)
    memory.instead["complete_upload"] = raising(UploadRejected("InvalidPart."))
    assert sweep_actions(HOUR) == ["error"]
    assert row().state is S.REPORTED
    Backup.objects.update(reported_at=timezone.now() - 11 * MINUTE)
    assert sweep_actions(HOUR) == ["error"]
    assert row().state is S.UPLOADING
    assert "InvalidPart" in row().refusal


def test_recent_report_without_upload_is_kept(memory):
    reported(held_for=-MINUTE)
    MemoryBackend.uploads.clear()
    assert sweep_actions(HOUR) == ["error"]
    assert row().state is S.REPORTED
    assert sweep_actions(NOW) == ["failed"]


def test_sweep_sends_signals(ends, commits, memory):
    proven, gone, whole_one, empty = (
        uploaded(),
        reported(held_for=-MINUTE),
        uploaded(),
        uploading_backup(),
    )
    complete_in_store(proven)
    del MemoryBackend.uploads[gone.upload_id]
    with commits():
        sweep_actions(NOW)
    assert sorted(ends) == sorted(
        [
            ("completed", proven.uuid),
            ("failed", gone.uuid),
            ("completed", whole_one.uuid),
            ("failed", empty.uuid),
        ]
    )


@pytest.mark.parametrize("made", [uploading_backup, uploaded])
def test_upload_is_not_stale_while_its_urls_are_valid(made):
    """An hour and a second for every MiB, and six hours."""
    backup = made()
    Backup.objects.update(upload_size=24 * 3600 * 1024**2)
    set_age(backup, hours=30)
    assert sweep_actions() == []
    set_age(backup, hours=32)
    assert sweep_actions() == ["failed"]


def test_recent_parts_are_a_sign_of_life():
    backup = uploaded()
    Backup.objects.update(upload_size=24 * 3600 * 1024**2)
    set_age(backup, hours=40)
    upload = MemoryBackend.uploads[backup.upload_id]
    upload.uploaded_at = {1: timezone.now() - 30 * HOUR}
    assert sweep_actions() == []
    upload.uploaded_at = {1: timezone.now() - 32 * HOUR}
    assert sweep_actions() == ["failed"]


def test_timestamps_in_the_future_do_not_prevent_expiry():
    backup = uploaded()
    upload = MemoryBackend.uploads[backup.upload_id]
    upload.uploaded_at = {1: timezone.now() + HOUR}
    assert sweep_actions(NOW) == ["recovered"]


def test_stale_upload_with_finished_object_is_completed():
    backup = uploaded()
    upload = MemoryBackend.uploads[backup.upload_id]
    complete_in_store(backup)
    # Some stores go on listing the parts.
    MemoryBackend.uploads[backup.upload_id] = upload
    assert sweep_actions(NOW, recover=False) == ["recovered"]
    assert row().state is S.COMPLETED
    assert row().is_recovered


@pytest.mark.usefixtures("brief_looks")
def test_complete_upload_refused_by_store_is_failed(memory):
    uploaded()
    memory.instead["complete_upload"] = raising(UploadRejected("EntityTooSmall."))
    assert sweep_actions(NOW) == ["failed"]
    assert row().state is S.FAILED
    assert MemoryBackend.uploads == {}


def test_complete_uploads_are_failed_without_recovery():
    uploaded()
    assert sweep_actions(NOW, recover=False) == ["failed"]
    assert MemoryBackend.uploads == {}


def refused(minutes, **changes):
    """Its report was refused so many minutes ago, and its daemon never calls again."""
    backup = uploaded()
    with pytest.raises(ReportRefused):
        lifecycle.record_report(backup, success(backup, size=1))
    moment = timezone.now() - dt.timedelta(minutes=minutes)
    set_age(backup, minutes=minutes + 5)
    Backup.objects.update(refused_at=moment, **changes)
    return backup


def test_upload_with_refused_report_is_ended_after_ten_minutes():
    refused(9)
    assert sweep_actions() == []
    Backup.objects.update(refused_at=timezone.now() - 11 * MINUTE)
    [outcome] = lifecycle.sweep()
    assert outcome.action == "recovered"
    assert "unverified, its report was refused: size: 1 is reported" in outcome.detail
    assert not row().is_verified
    assert row().refusal


def test_shorter_age_limit_applies_after_refusal():
    refused(2)
    assert sweep_actions(MINUTE) == ["recovered"]


def test_a_part_after_the_refusal_is_a_sign_of_life():
    backup = refused(30)
    MemoryBackend.uploads[backup.upload_id].uploaded_at = {1: timezone.now() - 5 * MINUTE}
    assert sweep_actions() == []


def test_asking_again_after_the_refusal_is_a_sign_of_life():
    refused(30, upload_started_at=timezone.now() - 20 * MINUTE)
    assert sweep_actions() == []
    # As long as the limit of its own size allows.
    Backup.objects.update(
        upload_size=24 * 3600 * 1024**2,
        created_at=timezone.now() - 10 * HOUR,
        refused_at=timezone.now() - 9 * HOUR,
        upload_started_at=timezone.now() - 8 * HOUR,
    )
    MemoryBackend.uploads[row().upload_id].uploaded_at = {1: timezone.now() - 10 * HOUR}
    assert sweep_actions() == []


@pytest.mark.parametrize("was_reported", [False, True])
def test_upload_of_failed_backup_is_aborted_after_grace_period(was_reported):
    backup = reported() if was_reported else uploaded()
    assert backup.fail_reported("why") if was_reported else backup.fail("why")
    assert sweep_actions() == ([] if was_reported else ["upload aborted"])
    Backup.objects.update(completed_at=timezone.now() - 71 * HOUR)
    assert sweep_actions() == []
    Backup.objects.update(completed_at=timezone.now() - 73 * HOUR)
    assert sweep_actions() == (["upload aborted"] if was_reported else [])
    assert MemoryBackend.uploads == {}
    assert row().upload_id == ""


def test_late_object_completes_failed_backup(ends, commits):
    backup = uploaded()
    complete_in_store(backup)
    assert backup.fail("why")
    with commits():
        assert sweep_actions() == ["recovered"]
    assert row().state is S.COMPLETED
    assert ends == [("completed", backup.uuid)]


def test_failed_abort_is_retried(memory):
    backup = uploaded()
    assert backup.fail("why")
    memory.instead["abort_upload"] = raising(StorageUnavailable("Down."))
    assert sweep_actions() == ["error"]
    assert row().upload_id == backup.upload_id


def test_sweep_skips_backups_that_change_concurrently():
    failed, deleted = uploaded(), completed_backup()
    assert failed.fail("why")
    assert deleted.begin_deletion()
    soon = timezone.now() + MINUTE
    Backup.objects.filter(pk=failed.pk).update(completed_at=soon)
    Backup.objects.filter(pk=deleted.pk).update(deletion_started_at=soon)
    assert sweep_actions(NOW) == []
    Backup.objects.filter(pk=failed.pk).update(completed_at=timezone.now())
    Backup.objects.filter(pk=deleted.pk).update(deletion_started_at=timezone.now())
    assert sweep_actions(NOW) == ["upload aborted", "deleted"]


def test_sweep_outcome_names_the_kept_foreign_object():
    backup = completed_backup()
    assert backup.begin_deletion()
    MemoryBackend.objects[backup.object_key].mark = "another"
    [outcome] = lifecycle.sweep()
    assert (outcome.action, outcome.detail) == (
        "deleted",
        f"left {backup.object_key}: it is not this backup's",
    )
    assert backup.object_key in MemoryBackend.objects


def test_dry_run_ends_no_restore():
    lifecycle.start_restore(completed_backup())
    Server.objects.update(restore_started_at=timezone.now() - 25 * HOUR)
    assert sweep_actions(dry_run=True) == []
    assert Server.objects.get().status is not None


@pytest.mark.usefixtures("brief_lease")
def test_unconfigured_disk_is_reported_once():
    for _ in range(12):
        backup = reported()
    Backup.objects.exclude(pk=backup.pk).update(disk="gone")
    done = list(lifecycle.sweep(older_than=NOW))
    [named] = [outcome for outcome in done if outcome.subject == "gone"]
    assert "11 of its backups wait" in named.detail
    assert named.detail.endswith("or forget them in the admin.")
    assert ", …" in named.detail


def test_disk_that_cannot_be_set_up_is_reported_once(settings):
    for _ in range(2):
        reported()
    broken = {"BACKENDS": {"memory": "tests.support.memory.BrokenBackend"}}
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, **broken}
    named, unlisted = lifecycle.sweep(older_than=NOW)
    assert {named.subject, unlisted.subject} == {"memory"}
    assert "cannot be set up; 2 of its backups wait" in named.detail
    assert named.detail.endswith("Correct its options: check names them.")
    assert unlisted.detail == "The disk 'memory' cannot be set up (KeyError)."


@pytest.mark.parametrize("disk", ["gone", ""])
def test_pending_backup_on_a_disk_that_is_gone_fails(disk):
    """It never began an upload: nothing has to be asked of any store."""
    server = ServerFactory(backup_limit=1)
    backup = lifecycle.start_backup(server)
    Backup.objects.update(disk=disk)
    with pytest.raises(BackupLimitReached):
        lifecycle.start_backup(server)
    done = list(lifecycle.sweep(older_than=NOW))
    assert [(o.action, o.detail) for o in done] == [
        ("failed", "silent for 0 s: its node never called")
    ]
    lifecycle.delete_backup(backup)
    lifecycle.start_backup(server)
    assert list(Backup.objects.filter(pk=backup.pk)) == []


def test_deletion_of_what_stored_nothing_needs_no_disk():
    backup = lifecycle.start_backup(ServerFactory())
    assert backup.fail("why")
    assert backup.begin_deletion()
    Backup.objects.update(disk="gone")
    assert sweep_actions(NOW) == ["deleted"]


def test_database_error_does_not_stop_the_sweep(monkeypatch):
    first, second = uploading_backup(), uploading_backup()
    fail = Backup.fail

    def failing(backup, reason, **how):
        if backup.pk == first.pk:
            raise DatabaseError
        return fail(backup, reason, **how)

    monkeypatch.setattr(Backup, "fail", failing)
    assert sorted(sweep_actions(NOW)) == ["error", "failed"]
    second.refresh_from_db()
    assert second.state is S.FAILED


def test_database_error_on_completion_does_not_stop_the_sweep(monkeypatch):
    first, second = reported(held_for=-MINUTE), reported(held_for=-MINUTE)
    complete_uploaded = Backup.complete_uploaded

    def failing(backup, proof):
        if backup.pk == first.pk:
            raise DatabaseError
        return complete_uploaded(backup, proof)

    monkeypatch.setattr(Backup, "complete_uploaded", failing)
    assert sorted(sweep_actions(NOW)) == ["completed", "error"]
    second.refresh_from_db()
    assert second.state is S.COMPLETED


def test_unexpected_error_does_not_stop_the_sweep(memory):
    for _ in range(2):
        uploaded()
    calls = []

    def broken(call):
        calls.append(call)
        if len(calls) == 1:
            raise ZeroDivisionError
        return call()

    memory.instead["list_parts"] = broken
    assert sorted(sweep_actions(NOW, workers=1)) == ["error", "recovered"]
    assert {b.state for b in Backup.objects.all()} == {S.UPLOADING, S.COMPLETED}
