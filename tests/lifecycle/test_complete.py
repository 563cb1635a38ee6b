"""Completing an upload and verifying its object."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import (
    ReportRefused,
    StorageTimeout,
    StorageUnavailable,
    UploadRejected,
)
from backups_remote.lifecycle import complete
from backups_remote.models import Backup
from backups_remote.testing import MemoryBackend
from tests.support.memory import (
    MINUTE,
    complete_in_store,
    raising,
    reported,
    row,
    success,
    uploaded,
)
from tests.support.moments import from_now

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]


def test_object_of_replaced_upload_does_not_complete_backup():
    backup = reported()
    proof = MemoryBackend("memory")
    proof.complete_upload(backup.object_key, backup.upload_id, backup.reported_etags)
    found = proof.stat(backup.object_key)
    Backup.objects.update(upload_id="another")
    assert not backup.complete_uploaded(found)


S = Backup.State


@pytest.mark.parametrize("is_found", [True, False])
@pytest.mark.parametrize("look", ["answered", "failing"])
def test_timed_out_completion_starts_a_quiet_period(memory, is_found, look):
    backup = uploaded()
    memory.instead["complete_upload"] = raising(StorageTimeout("Silent."))
    if look == "failing":
        memory.instead["stat"] = raising(StorageUnavailable("Down."))
    with pytest.raises(StorageUnavailable):
        lifecycle.record_report(backup, success(backup))
    quiet = row().quiet_until - timezone.now()
    assert complete.QUIET_PERIOD - MINUTE < quiet <= complete.QUIET_PERIOD
    memory.instead.clear()
    assert not row().claim(from_now(minutes=1))
    # A waiting report checks the object all the same.
    if is_found:
        complete_in_store(backup)
        lifecycle.record_report(row(), success(backup))
        assert row().state is S.COMPLETED


def test_answered_completion_starts_no_quiet_period(memory):
    backup = uploaded()
    memory.instead["complete_upload"] = raising(StorageUnavailable("Down."))
    with pytest.raises(StorageUnavailable):
        lifecycle.record_report(backup, success(backup))
    assert row().quiet_until is None
    memory.instead.clear()
    assert row().claim(from_now(minutes=1))


def test_object_that_appears_after_rejection_is_found(memory):
    """Some stores reject a completion while another of the same upload is under way."""
    backup = uploaded()
    memory.instead["complete_upload"] = raising(UploadRejected("InvalidPart."))
    appearing = threading.Timer(0.3, complete_in_store, [backup])
    appearing.start()
    try:
        lifecycle.record_report(backup, success(backup))
    finally:
        appearing.join()
    assert row().state is S.COMPLETED


@pytest.mark.usefixtures("brief_looks")
def test_first_rejection_takes_the_report_back(memory):
    backup = uploaded()
    memory.instead["complete_upload"] = raising(UploadRejected("InvalidPart."))
    with pytest.raises(ReportRefused):
        lifecycle.record_report(backup, success(backup))
    assert row().state is S.UPLOADING


@pytest.mark.usefixtures("brief_looks")
def test_rejection_after_unanswered_completion_is_inconclusive(memory):
    backup = reported(held_for=-MINUTE)
    memory.instead["complete_upload"] = raising(UploadRejected("InvalidPart."))
    with pytest.raises(StorageUnavailable):
        lifecycle.record_report(row(), success(backup))
    assert row().state is S.REPORTED
    assert row().claim(from_now(minutes=1))

    # No store works on one for that long.
    Backup.objects.update(reported_at=from_now(minutes=-11), claimed_until=None)
    with pytest.raises(ReportRefused):
        lifecycle.record_report(row(), success(backup))
    assert row().state is S.UPLOADING


def test_object_is_looked_up_before_a_second_completion(memory):
    backup = reported(held_for=-MINUTE)
    complete_in_store(backup)
    lifecycle.record_report(row(), success(backup))
    assert memory.calls["complete_upload"] == 0
    assert row().state is S.COMPLETED


def test_etag_of_completion_verifies_object_without_metadata():
    backup = uploaded(disk="bare")
    lifecycle.record_report(backup, success(backup))
    assert row().state is S.COMPLETED


def test_object_of_same_size_without_metadata_is_not_verified(memory):
    backup = uploaded(disk="bare")
    memory.instead["stat"] = lambda call: dataclasses.replace(call(), etag="another")
    with pytest.raises(StorageUnavailable):
        lifecycle.record_report(backup, success(backup))
    assert row().state is S.REPORTED


def test_upload_without_mark_is_not_verified_by_empty_mark():
    backup = uploaded()
    complete_in_store(backup)
    MemoryBackend.objects[backup.object_key].mark = ""
    Backup.objects.update(upload_mark="")
    with pytest.raises(ReportRefused):
        lifecycle.record_report(row(), success(backup))


def test_verified_object_is_recorded_on_the_row():
    backup = uploaded()
    lifecycle.record_report(backup, success(backup))
    assert row().object_etag == MemoryBackend.objects[backup.object_key].etag != ""
    proven = uploaded()
    complete_in_store(proven)
    lifecycle.record_report(proven, success(proven))
    proven.refresh_from_db()
    assert proven.object_etag == MemoryBackend.objects[proven.object_key].etag
