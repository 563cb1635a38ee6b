"""Reports: compared, refused, repeated, and what a failure leaves."""

from __future__ import annotations

import pytest
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import (
    BackupConflict,
    ReportRefused,
    SettlementInProgress,
    StorageUnavailable,
    UploadNotFound,
)
from backups_remote.lifecycle import report as reports
from backups_remote.models import Backup
from backups_remote.testing import MemoryBackend
from backups_remote.types import ReportedPart
from tests.support.events import unexplained
from tests.support.memory import (
    ARCHIVE,
    MINUTE,
    complete_in_store,
    failure_report,
    finished_unreported,
    put_part,
    raising,
    reported,
    row,
    success,
    uploaded,
    uploading_backup,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

S = Backup.State


@pytest.mark.parametrize("was_failed", [False, True])
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"size": len(ARCHIVE) + 1}, "was announced"),
        ({"parts": (ReportedPart(1, "0" * 32),)}, "not those of the object's parts"),
        ({"parts": (ReportedPart(1, ""), ReportedPart(2, ""))}, "1 were announced"),
    ],
)
def test_report_that_differs_from_finished_object_is_refused(changes, problem, was_failed):
    backup = finished_unreported()
    if was_failed:
        assert backup.fail("why")
    with pytest.raises(ReportRefused, match=problem):
        lifecycle.record_report(backup, success(backup, **changes))
    assert row().state is (S.FAILED if was_failed else S.UPLOADING)
    lifecycle.record_report(backup, success(backup))
    assert row().state is S.COMPLETED
    assert row().is_verified


def test_report_that_finds_a_finished_object_sends_signal(ends, commits):
    backup = finished_unreported()
    with commits():
        lifecycle.record_report(backup, success(backup))
    assert ends == [("completed", backup.uuid)]


def test_completion_and_failure_send_signals(ends, commits):
    done, failed = uploaded(), uploading_backup()
    with commits():
        lifecycle.record_report(done, success(done))
        lifecycle.record_report(failed, failure_report())
    assert ends == [("completed", done.uuid), ("failed", failed.uuid)]


@pytest.mark.parametrize("made", [uploading_backup, uploaded, finished_unreported])
def test_refusal_is_kept_until_a_report_is_accepted(made):
    backup = made()
    with pytest.raises(ReportRefused) as refused:
        lifecycle.record_report(backup, success(size=1))
    assert row().refusal == str(refused.value)[:1024] != ""
    assert timezone.now() - row().refused_at < MINUTE
    if made is uploading_backup:
        backup.etag = put_part(backup)
    lifecycle.record_report(row(), success(backup))
    assert (row().refused_at, row().refusal) == (None, "")


def test_report_for_wings_disk_clears_refusal():
    backup = uploading_backup()
    Backup.objects.update(disk="wings", upload_id="", refused_at=timezone.now(), refusal="why")
    backup.refresh_from_db()
    lifecycle.record_report(backup, success())
    assert (row().refused_at, row().refusal) == (None, "")


def test_refusal_of_any_length_is_stored():
    backup = uploading_backup()
    assert backup.refuse_report("x" * 5000)
    assert row().refusal == "x" * 1024


def test_report_during_new_upload_is_compared_with_the_new_upload(memory):
    backup = uploading_backup(size=100)
    put_part(backup, b"another archive")

    def list_parts(call):
        """The node asks for another upload, and sends it, while the old one's parts are listed."""
        del memory.instead["list_parts"]
        listed = call()
        other = row()
        lifecycle.request_upload(other, len(ARCHIVE))
        put_part(other)
        return listed

    memory.instead["list_parts"] = list_parts
    lifecycle.record_report(backup, success())
    assert row().state is S.COMPLETED


def test_a_report_before_any_upload_is_refused():
    backup = lifecycle.start_backup(uploading_backup().server)
    with pytest.raises(ReportRefused, match="No upload URLs"):
        lifecycle.record_report(backup, success())


def test_report_for_deleting_backup_is_refused():
    backup = uploaded()
    assert backup.fail("why")
    assert backup.begin_deletion()
    with pytest.raises(BackupConflict, match="being deleted"):
        lifecycle.record_report(backup, failure_report())


def test_failure_report_can_be_repeated():
    backup = uploading_backup()
    lifecycle.record_report(backup, failure_report())
    lifecycle.record_report(backup, failure_report())
    assert row().state is S.FAILED


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(reports, "PATIENCE", 0.2)


@pytest.mark.usefixtures("impatient")
def test_waiting_report_checks_the_object(memory):
    backup = reported()
    with pytest.raises(SettlementInProgress):
        lifecycle.record_report(row(), success(backup))
    complete_in_store(backup)
    lifecycle.record_report(row(), success(backup))
    assert row().state is S.COMPLETED
    assert memory.calls["complete_upload"] == 0


@pytest.mark.usefixtures("impatient")
def test_report_with_other_checksum_is_not_a_repeat():
    backup = reported(held_for=-MINUTE)
    with pytest.raises(SettlementInProgress):
        lifecycle.record_report(row(), success(backup, checksum="sha1:other"))
    assert row().state is S.REPORTED


def test_repeated_report_is_compared_with_recorded_parts():
    backup = reported(held_for=-MINUTE)
    with pytest.raises(ReportRefused, match="the etag of part 1"):
        lifecycle.record_report(row(), success(parts=(ReportedPart(1, "0" * 32),)))
    assert row().state is S.REPORTED
    lifecycle.record_report(row(), success(backup))
    assert row().state is S.COMPLETED


def recovering():
    backup = uploaded()
    assert backup.record_success(
        checksum="",
        size=len(ARCHIVE),
        etags=[backup.etag],
        claimed_until=timezone.now(),
        recovered=True,
    )
    return backup


def test_report_during_recovery_adds_the_checksum():
    backup = recovering()
    Backup.objects.update(refused_at=timezone.now(), refusal="why")
    lifecycle.record_report(row(), success(backup))
    assert row().is_verified
    assert row().checksum == "sha1:abc"
    assert (row().refused_at, row().refusal) == (None, "")


def test_report_that_differs_from_recovery_is_refused():
    backup = recovering()
    with pytest.raises(ReportRefused):
        lifecycle.record_report(row(), success(backup, size=1))
    assert row().is_recovered


def test_failure_aborts_and_clears_the_upload():
    backup = uploaded()
    lifecycle.record_report(backup, failure_report())
    assert row().upload_id == ""
    assert MemoryBackend.uploads == {}


def test_upload_stays_on_row_when_abort_fails(memory):
    backup = uploaded()
    memory.instead["abort_upload"] = raising(StorageUnavailable("Down."))
    lifecycle.record_report(backup, failure_report())
    assert row().upload_id == backup.upload_id != ""
    assert row().state is S.FAILED


def test_reported_backup_whose_upload_is_gone_is_left_to_the_sweep(memory):
    backup = uploaded()
    memory.instead["complete_upload"] = raising(UploadNotFound("NoSuchUpload."))
    with pytest.raises(StorageUnavailable):
        lifecycle.record_report(backup, success(backup))
    assert row().state is S.REPORTED


@pytest.fixture
def overtaken_by_recovery(memory):
    """A report during whose comparison an operator has the upload recovered."""
    backup = uploaded()

    def recover(call):
        parts = call()
        del memory.instead["list_parts"]
        lifecycle.expire(Backup.objects.all())
        return parts

    memory.instead["list_parts"] = recover
    return backup


def test_report_overtaken_by_a_recovery_verifies_it(overtaken_by_recovery):
    backup = overtaken_by_recovery
    lifecycle.record_report(backup, success(backup))
    found = row()
    assert (found.state, found.is_verified, found.checksum) == (S.COMPLETED, True, "sha1:abc")
    assert unexplained(backup.uuid) == []


def test_report_that_differs_from_a_recovery_that_overtook_it_is_refused(overtaken_by_recovery):
    backup = overtaken_by_recovery
    parts = (ReportedPart(1, backup.etag), ReportedPart(2, "0" * 32))
    with pytest.raises(ReportRefused):
        lifecycle.record_report(backup, success(backup, parts=parts))
    assert (row().state, row().is_verified) == (S.COMPLETED, False)
    assert unexplained(backup.uuid) == []


def test_etags_prove_an_object_in_whatever_order_they_are_reported(memory, settings):
    """The store keeps no mark: the object's ETag is that of its parts in the order of numbers."""
    part_size = 5 * 1024**2
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "MAX_PART_SIZE": part_size}
    backup = uploading_backup(size=part_size + 1)
    bodies = {1: b"a" * part_size, 2: b"b"}
    parts = [
        ReportedPart(number, MemoryBackend.put_part(f"memory://{backup.upload_id}/{number}", body))
        for number, body in bodies.items()
    ]
    etags = [part.etag for part in parts]
    MemoryBackend("memory").complete_upload(backup.object_key, backup.upload_id, etags)
    MemoryBackend.objects[backup.object_key].mark = None
    said = success(size=part_size + 1, parts=tuple(reversed(parts)))
    lifecycle.record_report(backup, said)
    assert row().is_verified
