"""Archives that are streamed: their size is not known before their report."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.conf import GIB, MIB
from backups_remote.exceptions import (
    AlreadyCompleted,
    BackupConflict,
    ReportRefused,
    StorageUnavailable,
    UploadRejected,
    UploadsNotSupported,
)
from backups_remote.lifecycle import complete
from backups_remote.models import Backup
from backups_remote.testing import MemoryBackend
from backups_remote.types import Report, ReportedPart
from tests.support.factories import ServerFactory
from tests.support.memory import (
    completed_backup,
    raising,
    reported,
    row,
    set_age,
    sweep_actions,
    uploading_backup,
)
from tests.support.streaming import (
    send_parts,
    streamed,
    streaming_backup,
    success,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

S = Backup.State
AT_ONCE = dt.timedelta(0)


def numbers(ticket):
    return [int(url.rpartition("/")[2]) for url in ticket.urls]


def uploads_of(ticket):
    return {url.removeprefix("memory://").partition("/")[0] for url in ticket.urls}


# The URLs


def test_next_parts_are_of_the_same_upload():
    backup = lifecycle.start_backup(ServerFactory())
    asked = [lifecycle.request_parts(row(), first) for first in (1, 51, 101, 51, 1)]
    assert [numbers(ticket)[0] for ticket in asked] == [1, 51, 101, 51, 1]
    assert {len(ticket.urls) for ticket in asked} == {50}
    assert numbers(asked[1]) == list(range(51, 101))
    backup.refresh_from_db()
    assert [uploads_of(ticket) for ticket in asked] == [{backup.upload_id}] * 5
    assert list(MemoryBackend.uploads) == [backup.upload_id]
    assert (backup.state, backup.upload_size) == (S.UPLOADING, None)


@pytest.mark.parametrize(("first", "count"), [(1, 50), (50, 50), (951, 50), (952, 49), (1000, 1)])
def test_no_part_beyond_the_last_one_is_issued(settings, first, count):
    settings.BACKUPS_REMOTE |= {"MAX_PARTS": 1000}
    backup = lifecycle.start_backup(ServerFactory())
    lifecycle.request_parts(backup, 1)
    assert numbers(lifecycle.request_parts(backup, first)) == list(range(first, first + count))


@pytest.mark.parametrize("first", [0, -1, 1001])
def test_part_that_no_upload_has_is_refused(settings, first):
    settings.BACKUPS_REMOTE |= {"MAX_PARTS": 1000}
    backup = streaming_backup()
    with pytest.raises(ValueError, match="1000"):
        lifecycle.request_parts(backup, first)


@pytest.mark.parametrize(
    ("configured", "part_size"), [(1, 5 * MIB), (64 * MIB, 64 * MIB), (50 * GIB, 5 * GIB)]
)
def test_part_size_is_kept_while_the_setting_changes(settings, configured, part_size):
    settings.BACKUPS_REMOTE |= {"MAX_PART_SIZE": configured}
    backup = lifecycle.start_backup(ServerFactory())
    assert lifecycle.request_parts(backup, 1).part_size == part_size
    settings.BACKUPS_REMOTE |= {"MAX_PART_SIZE": 7 * MIB}
    assert lifecycle.request_parts(row(), 51).part_size == part_size
    assert lifecycle.request_parts(row(), 1).part_size == part_size


@pytest.mark.parametrize("first", [1, 51])
def test_late_call_does_not_replace_an_upload_of_an_announced_size(first):
    backup = uploading_backup()
    with pytest.raises(BackupConflict, match="announced size"):
        lifecycle.request_parts(row(), first)
    assert list(MemoryBackend.uploads) == [row().upload_id] == [backup.upload_id]
    assert row().upload_size is not None


def test_fallback_to_an_announced_size_begins_a_new_upload():
    backup, report = streamed(10, 10)
    ticket = lifecycle.request_upload(row(), 7)
    assert list(MemoryBackend.uploads) == [row().upload_id] != [backup.upload_id]
    with pytest.raises(ReportRefused, match="no part"):
        lifecycle.record_report(row(), report)
    etag = MemoryBackend.put_part(ticket.urls[0], b"archive")
    lifecycle.record_report(row(), success((ReportedPart(1, etag),), 7))
    assert (row().state, row().size) == (S.COMPLETED, 7)


def test_later_parts_are_not_issued_before_the_first():
    backup = lifecycle.start_backup(ServerFactory())
    with pytest.raises(BackupConflict):
        lifecycle.request_parts(backup, 51)
    assert row().state is S.PENDING
    assert MemoryBackend.uploads == {}


def test_lost_upload_is_replaced_for_part_one_and_not_for_later_ones():
    lost = streaming_backup().upload_id
    MemoryBackend.uploads.clear()
    with pytest.raises(BackupConflict):
        lifecycle.request_parts(row(), 51)
    assert MemoryBackend.uploads == {}
    lifecycle.request_parts(row(), 1)
    assert list(MemoryBackend.uploads) == [row().upload_id] != [lost]


def test_later_parts_of_an_upload_replaced_meanwhile_are_refused(memory):
    """The call for part 51 is under way when another one begins the upload anew."""
    backup = streaming_backup()

    def replaced(call):
        memory.instead.clear()
        MemoryBackend.uploads.clear()
        lifecycle.request_parts(row(), 1)
        return call()

    memory.instead["presign_parts"] = replaced
    with pytest.raises(BackupConflict):
        lifecycle.request_parts(backup, 51)
    assert list(MemoryBackend.uploads) == [row().upload_id]


def overtaken_by(memory, other_call):
    """Have ``other_call`` come in while the next call begins its upload."""

    def overtaken(call):
        memory.instead.clear()
        other_call()
        return call()

    memory.instead["create_upload"] = overtaken


def test_concurrent_first_calls_leave_one_upload(memory):
    backup = lifecycle.start_backup(ServerFactory())
    overtaken_by(memory, lambda: lifecycle.request_parts(row(), 1))
    ticket = lifecycle.request_parts(backup, 1)
    assert list(MemoryBackend.uploads) == [row().upload_id]
    assert uploads_of(ticket) == {row().upload_id}
    assert row().upload_size is None


def test_call_for_an_announced_size_wins_over_a_concurrent_one_for_parts(memory):
    backup = lifecycle.start_backup(ServerFactory())
    overtaken_by(memory, lambda: lifecycle.request_upload(row(), 7))
    with pytest.raises(BackupConflict, match="announced size"):
        lifecycle.request_parts(backup, 1)
    assert list(MemoryBackend.uploads) == [row().upload_id]
    assert row().upload_size == 7


@pytest.mark.parametrize("again", [False, True])
def test_urls_are_signed_before_the_row_is_written(memory, again):
    backup = streaming_backup() if again else lifecycle.start_backup(ServerFactory())
    before = Backup.objects.values().get()
    seen = []

    def sign(call):
        seen.append(Backup.objects.values().get())
        return call()

    memory.instead["presign_parts"] = sign
    lifecycle.request_parts(backup, 1)
    assert seen == [before]


def test_urls_of_upload_that_ended_during_signing_are_not_returned(memory):
    backup = streaming_backup()

    def sign(call):
        memory.instead.clear()
        row().fail("of a test")
        return call()

    memory.instead["presign_parts"] = sign
    with pytest.raises(AlreadyCompleted):
        lifecycle.request_parts(backup, 51)


def test_backup_that_is_over_gets_no_urls():
    failed = streaming_backup()
    failed.fail("of a test")
    for backup, error in (
        (reported(), BackupConflict),
        (completed_backup(), AlreadyCompleted),
        (failed, AlreadyCompleted),
        (lifecycle.start_backup(ServerFactory(), disk="wings"), UploadsNotSupported),
    ):
        before = Backup.objects.filter(pk=backup.pk).values().get()
        for first in (1, 51):
            with pytest.raises(error):
                lifecycle.request_parts(backup, first)
        assert Backup.objects.filter(pk=backup.pk).values().get() == before


def test_store_that_does_not_answer_changes_nothing(memory):
    backup = lifecycle.start_backup(ServerFactory())
    memory.instead["create_upload"] = raising(StorageUnavailable("Down."))
    with pytest.raises(StorageUnavailable):
        lifecycle.request_parts(backup, 1)
    assert row().state is S.PENDING


@pytest.mark.django_db(transaction=True)
def test_open_transaction_is_refused():
    backup = lifecycle.start_backup(ServerFactory())
    with transaction.atomic(), pytest.raises(RuntimeError):
        lifecycle.request_parts(backup, 1)


# The report


@pytest.mark.parametrize("sizes", [(1,), (10,), (10, 1), (10, 10), (10, 10, 9), (10,) * 60 + (3,)])
def test_report_tells_the_size(sizes):
    backup, report = streamed(*sizes)
    lifecycle.record_report(backup, report)
    backup = row()
    assert (backup.state, backup.size, backup.upload_size) == (
        S.COMPLETED,
        sum(sizes),
        sum(sizes),
    )
    assert backup.is_verified
    assert len(MemoryBackend.objects[backup.object_key].body) == sum(sizes)


@pytest.mark.parametrize(
    ("sent", "said", "reason"),
    [
        # The store holds less, or more, than is reported.
        ([10, 10], {"size": 21}, "3 make up the reported size, the store holds 2"),
        ([10, 10], {"size": 15}, "part 2 has 10 bytes instead of 5"),
        ([10, 10], {"size": 10}, "1 make up the reported size, the store holds 2"),
        ([10, 10], {"size": 0}, "0 make up the reported size, the store holds 2"),
        ([10, 10], {"size": 2**63 - 1}, "make up the reported size"),
        # A part that is too short, also the last one, or too long.
        ([10, 9, 10], {"size": 29}, "part 2 has 9 bytes instead of 10"),
        ([9, 11], {}, "part 1 has 9 bytes instead of 10"),
        ([10, 4], {"size": 15}, "part 2 has 4 bytes instead of 5"),
        ([10, 0], {"size": 10}, "1 make up the reported size"),
        ([11], {}, "2 make up the reported size"),
        # The report's parts are not the store's.
        ([10, 10, 1], {"parts": 2}, "2 are reported, the store holds 3"),
        ([10, 10, 1], {"parts": 0}, "none are reported"),
        ([10, 10, 1], {"etag": "0" * 32}, "the etag of part 1 is not the store's"),
    ],
)
def test_report_that_does_not_match_is_refused(sent, said, reason):
    backup, report = streamed(*sent)
    parts = report.parts[: said.get("parts", len(report.parts))]
    if "etag" in said:
        parts = (ReportedPart(1, said["etag"]), *parts[1:])
    wrong = dataclasses.replace(report, parts=parts, size=said.get("size", report.size))
    with pytest.raises(ReportRefused, match=reason):
        lifecycle.record_report(backup, wrong)
    assert (row().state, row().upload_size) == (S.UPLOADING, None)
    assert reason in row().refusal
    assert MemoryBackend.objects == {}


@pytest.mark.parametrize("stored", [(1, 3), (2, 3), (1, 2, 4)])
def test_report_with_a_gap_is_refused(stored):
    backup = streaming_backup()
    parts = tuple(part for n in stored for part in send_parts(backup, 10, first=n))
    with pytest.raises(ReportRefused, match=f"the store holds {len(stored)}"):
        lifecycle.record_report(backup, success(parts, 10 * len(stored)))
    # Nor if the parts are numbered as if there was none.
    renumbered = tuple(ReportedPart(n, part.etag) for n, part in enumerate(parts, 1))
    with pytest.raises(ReportRefused):
        lifecycle.record_report(row(), success(renumbered, 10 * len(stored)))
    assert row().state is S.UPLOADING


def test_missing_tail_is_refused():
    """What is there looks whole: the report alone tells that something is missing."""
    backup, report = streamed(10, 10)
    missing = (*report.parts, ReportedPart(3, "0" * 32))
    with pytest.raises(ReportRefused, match="3 make up"):
        lifecycle.record_report(backup, success(missing, 27))
    assert row().state is S.UPLOADING


def test_report_of_an_empty_upload_is_refused():
    streaming_backup()
    for size in (0, 10):
        with pytest.raises(ReportRefused, match="no part"):
            lifecycle.record_report(row(), success((), size))
    assert row().state is S.UPLOADING


def test_report_before_any_parts_were_asked_for_is_refused():
    backup = lifecycle.start_backup(ServerFactory())
    with pytest.raises(ReportRefused):
        lifecycle.record_report(backup, success((), 10))
    assert row().state is S.PENDING


def test_object_that_nobody_reported_proves_nothing():
    """The mark is there, and no size to compare it with."""
    backup, report = streamed(10, 10)
    etags = [part.etag for part in report.parts]
    MemoryBackend("memory").complete_upload(backup.object_key, backup.upload_id, etags)
    assert complete.find_verified_object(backup, MemoryBackend("memory")) is None
    with pytest.raises(ReportRefused):
        lifecycle.record_report(row(), report)
    assert sweep_actions(AT_ONCE) == ["failed"]


def test_repeated_report_is_accepted(settings, memory):
    """The answer to the first was lost, before the completion and after it."""
    settings.BACKUPS_REMOTE |= {"REPORT_REPLAY_WINDOW": 60}
    backup, report = streamed(10, 5)
    memory.instead["complete_upload"] = raising(StorageUnavailable("Down."))
    with pytest.raises(StorageUnavailable):
        lifecycle.record_report(backup, report)
    assert (row().state, row().upload_size) == (S.REPORTED, 15)
    memory.instead.clear()
    for _ in range(2):
        lifecycle.record_report(row(), report)
        assert row().state is S.COMPLETED
    with pytest.raises(AlreadyCompleted):
        lifecycle.record_report(row(), dataclasses.replace(report, size=14))


def test_failure_report_aborts_the_upload():
    backup, report = streamed(10)
    lifecycle.record_report(backup, Report(successful=False))
    assert (row().state, MemoryBackend.uploads) == (S.FAILED, {})
    with pytest.raises(ReportRefused, match="failed"):
        lifecycle.record_report(row(), report)
    assert row().state is S.FAILED


def test_repeated_parts_are_distinguished_by_report_and_size():
    """Some stores list every try at a part."""
    backup, _ = streamed(10, 7)
    now = timezone.now()
    listed = MemoryBackend("memory").list_parts(backup.object_key, backup.upload_id)
    tries = [dataclasses.replace(listed[1], etag="x", size=3, uploaded_at=now), *listed]
    picked = complete.pick_parts(backup, tries, reported_size=17)
    assert [part.size for part in picked] == [10, 7]


def test_rejected_report_leaves_the_size_known(memory, monkeypatch):
    """A recorded report told it: what arrives afterwards is compared with that."""
    monkeypatch.setattr(complete, "_LOOKS_AFTER_REJECTION", (0.0,))
    backup, report = streamed(10, 5)
    memory.instead["complete_upload"] = raising(UploadRejected("InvalidPart."))
    with pytest.raises(ReportRefused):
        lifecycle.record_report(backup, report)
    memory.instead.clear()
    assert (row().state, row().upload_size) == (S.UPLOADING, 15)
    with pytest.raises(BackupConflict):
        lifecycle.request_parts(row(), 51)
    assert sweep_actions(AT_ONCE) == ["recovered"]
    assert (row().state, row().size) == (S.COMPLETED, 15)


def test_database_takes_no_reported_row_without_a_size():
    backup = streaming_backup()
    for change in (
        {"reported_at": timezone.now()},
        {"is_successful": True, "completed_at": timezone.now()},
        {"part_size": None},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            Backup.objects.filter(pk=backup.pk).update(**change)


# Silence


def test_sweep_completes_what_was_reported():
    """The panel died between the row and the completion."""
    backup, report = streamed(10, 5)
    assert backup.record_success(
        checksum=report.checksum,
        size=15,
        etags=[part.etag for part in report.parts],
        claimed_until=timezone.now(),
    )
    assert sweep_actions() == ["completed"]
    assert (row().state, row().size, row().is_verified) == (S.COMPLETED, 15, True)


@pytest.mark.parametrize("recover", [True, False])
def test_silent_upload_is_failed_and_never_recovered(recover):
    """All that arrived are full parts, then a shorter one: it looks whole, and may not be."""
    streamed(10, 10, 3)
    assert sweep_actions(AT_ONCE, recover=recover) == ["failed"]
    assert row().failure.endswith(": 3 parts of a stream had arrived")
    assert (row().state, MemoryBackend.uploads, MemoryBackend.objects) == (S.FAILED, {}, {})


def test_expire_fails_it_however_young():
    backup, _ = streamed(10, 3)
    [outcome] = lifecycle.expire(Backup.objects.filter(pk=backup.pk))
    assert str(outcome.action) == "failed"
    assert MemoryBackend.uploads == {}


def test_urls_issued_and_parts_that_arrive_are_signs_of_life():
    """Parts of 128 MiB: URLs live 1 h 107 min, and nothing is stale for 6 h after that."""
    backup = lifecycle.start_backup(ServerFactory())
    lifecycle.request_parts(backup, 1)
    age = dt.timedelta(hours=7 + 50 * 128 / 3600)
    set_age(row(), seconds=age.total_seconds() - 60)
    assert sweep_actions() == []
    send_parts(row(), 10)
    set_age(row(), seconds=age.total_seconds() - 60)
    assert sweep_actions() == []
    set_age(row(), seconds=age.total_seconds() + 60)
    MemoryBackend.put_part(f"memory://{row().upload_id}/2", b"x")
    assert sweep_actions() == []
    set_age(row(), seconds=age.total_seconds() + 60)
    lifecycle.request_parts(row(), 51)
    assert sweep_actions() == []
    set_age(row(), seconds=age.total_seconds() + 60)
    assert sweep_actions() == ["failed"]


def test_upload_that_no_row_names_is_an_orphan():
    backup = streaming_backup()
    MemoryBackend("memory").create_upload(backup.object_key, "mark")
    backup.fail("of a test")
    assert sorted(sweep_actions(AT_ONCE)) == ["orphan aborted", "upload aborted"]
    assert MemoryBackend.uploads == {}
