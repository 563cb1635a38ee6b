"""An upload whose completion was sent, and whose outcome is not known, is not aborted."""

import datetime as dt

import pytest
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import (
    BackupConflict,
    ReportRefused,
    SettlementInProgress,
    StorageTimeout,
    StorageUnavailable,
    UploadRejected,
)
from backups_remote.lifecycle import complete, report
from backups_remote.models import Backup
from backups_remote.testing.store import StoredArchive
from backups_remote.types import Report
from tests.support.memory import (
    ARCHIVE,
    complete_in_store,
    raising,
    reported,
    row,
    set_age,
    success,
    uploaded,
)
from tests.support.moments import ago

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]
S = Backup.State
NOW = dt.timedelta(0)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(complete, "_LOOKS_AFTER_REJECTION", (0.0,))
    monkeypatch.setattr(report, "PATIENCE", 0.05)


def swept(**options):
    return [str(outcome.action) for outcome in lifecycle.sweep(**options)]


@pytest.fixture(params=["this version", "an older version"])
def taken_back(memory, request):
    """Its first completion was not answered; a later one was rejected, and the report taken back."""
    backup = reported(held_for=-dt.timedelta(minutes=1))
    Backup.objects.update(reported_at=ago(minutes=11), quiet_until=ago(minutes=1))
    if request.param == "an older version":
        Backup.objects.update(completion_sent_at=None)
    memory.instead["complete_upload"] = raising(UploadRejected("in progress"))
    assert swept() == ["error"]
    assert row().state is S.UPLOADING
    set_age(backup, minutes=30)
    Backup.objects.update(refused_at=ago(minutes=11))
    return backup


def test_the_object_of_a_report_that_was_taken_back_completes_its_backup(memory, taken_back):
    assert swept() == ["failed"]
    assert row().state is S.FAILED
    assert memory.calls["abort_upload"] == 0
    del memory.instead["complete_upload"]
    complete_in_store(taken_back)
    assert swept() == ["recovered"]
    assert row().state is S.COMPLETED


def test_the_upload_of_a_report_that_was_taken_back_is_aborted_after_days(memory, taken_back):
    assert swept() == ["failed"]
    assert swept() == []
    Backup.objects.update(completed_at=ago(days=4))
    assert swept() == ["upload aborted"]
    assert (row().upload_id, memory.calls["abort_upload"]) == ("", 1)


def test_a_failure_report_does_not_abort_while_the_object_may_appear(memory, taken_back):
    lifecycle.record_report(row(), Report(successful=False))
    assert row().state is S.FAILED
    assert memory.calls["abort_upload"] == 0


def test_a_report_after_one_that_was_taken_back_looks_for_the_object_first(memory, taken_back):
    del memory.instead["complete_upload"]

    def put_after(call):
        parts = call()
        complete_in_store(taken_back)  # the first completion ends now
        return parts

    memory.instead["list_parts"] = put_after
    before = memory.calls["complete_upload"]
    lifecycle.record_report(row(), success(taken_back))
    assert row().state is S.COMPLETED
    assert memory.calls["complete_upload"] == before  # none was sent after the late one


def test_a_first_rejection_is_final(memory):
    backup = uploaded()
    memory.instead["complete_upload"] = raising(UploadRejected("no"))
    with pytest.raises(ReportRefused):
        lifecycle.record_report(backup, success(backup))
    assert row().completion_sent_at is None
    set_age(backup, days=1)
    Backup.objects.update(refused_at=ago(days=1))
    assert swept() == ["failed"]
    assert (row().upload_id, memory.calls["abort_upload"]) == ("", 1)


def test_another_size_waits_for_the_end_of_a_completion(memory, taken_back):
    """Its object would replace that of the new upload, in a bucket without versions."""
    before = Backup.objects.values().get()
    with pytest.raises(BackupConflict, match="may still be under way"):
        lifecycle.request_upload(row(), 3)
    assert Backup.objects.values().get() == before
    assert list(memory.uploads) == [taken_back.upload_id]
    Backup.objects.update(completion_sent_at=ago(days=3, minutes=1))
    lifecycle.request_upload(row(), 3)
    assert row().completion_sent_at is None


def test_an_upload_that_the_store_hides_waits_for_the_end_of_a_completion(memory, taken_back):
    memory.uploads.clear()
    with pytest.raises(BackupConflict):
        lifecycle.request_upload(row(), len(ARCHIVE))
    assert not memory.uploads


def test_a_report_that_was_accepted_stands_when_its_object_appears_late(memory):
    backup = reported(held_for=-dt.timedelta(minutes=1))
    key, etag, mark = backup.object_key, backup.etag, backup.upload_mark
    memory.uploads.clear()  # completed by the store, which does not show the object yet
    Backup.objects.update(reported_at=ago(days=1), completion_sent_at=ago(days=1))
    assert swept() == ["failed"]
    assert (row().state, row().size) == (S.FAILED, 0)
    memory.objects[key] = StoredArchive(ARCHIVE, etag, mark)
    assert swept(dry_run=True) == swept() == ["completed"]
    found = row()
    assert (found.state, found.is_verified, found.checksum) == (S.COMPLETED, True, "sha1:abc")


def test_a_completed_backup_has_no_completion_under_way(memory):
    backup = uploaded()
    lifecycle.record_report(backup, success(backup))
    assert row().completion_sent_at is None


@pytest.mark.parametrize("error", [StorageTimeout, StorageUnavailable])
def test_a_recovery_without_a_clear_answer_keeps_its_upload(memory, error):
    backup = uploaded()
    set_age(backup, days=1)
    memory.instead["complete_upload"] = raising(error("no answer"))
    assert swept() == ["error"]
    assert row().state is S.REPORTED
    assert (row().quiet_until is not None) is (error is StorageTimeout)
    assert memory.calls["abort_upload"] == 0
    assert row().upload_id in memory.uploads
    del memory.instead["complete_upload"]
    Backup.objects.update(quiet_until=None)
    assert swept() == ["recovered"]


@pytest.mark.django_db(transaction=True)
def test_holder_of_lost_lease_refuses_nothing(memory):
    backup = uploaded()

    def rejected_late(call):
        Backup.objects.update(claimed_until=ago(seconds=1))
        assert row().claim(timezone.now() + dt.timedelta(seconds=12))
        raise UploadRejected("InvalidPart")

    memory.instead["complete_upload"] = rejected_late
    with pytest.raises(SettlementInProgress):
        lifecycle.record_report(backup, success(backup))
    assert (row().state, row().refusal) == (S.REPORTED, "")


def test_expire_and_a_sweep_after_a_silent_completion_cost_nothing(memory):
    """An operator has lost patience, and the store finishes afterwards."""
    backup = uploaded()
    memory.instead["complete_upload"] = raising(StorageTimeout("silent"))
    with pytest.raises(StorageTimeout):
        lifecycle.record_report(backup, success(backup))
    assert lifecycle.expire(Backup.objects.all()) == []
    assert swept(older_than=NOW) == []
    assert (memory.calls["complete_upload"], memory.calls["abort_upload"]) == (1, 0)
    complete_in_store(backup)
    assert swept(older_than=NOW) == ["completed"]
    assert row().is_verified
