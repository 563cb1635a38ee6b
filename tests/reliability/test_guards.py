"""Guards that can be tested without a crash or a race: each is tried from a state it must refuse."""

from __future__ import annotations

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import BackupNotFound, StorageUnavailable
from backups_remote.models import RESTORING, Backup, EventKind, Server
from backups_remote.storage import get_backend
from backups_remote.types import Report, StoredObject, SweepAction
from tests.support.factories import BackupFactory, NodeFactory, ServerFactory
from tests.support.proxy import Fault

pytestmark = pytest.mark.databases

S = Backup.State
PROOF = StoredObject(size=10, etag="e", mark="mark", content_type="application/x-gzip")
UPLOAD = {
    "upload_id": "u",
    "upload_mark": "mark",
    "object_key": "k",
    "upload_size": 10,
    "part_size": 10,
}


def make(server, state, **more):
    now = timezone.now()
    fields = {} if state is S.PENDING else {**UPLOAD, "upload_started_at": now}
    if state is S.REPORTED:
        fields |= {"reported_at": now, "reported_etags": ["e"], "size": 10, "checksum": "c"}
    if state in {S.COMPLETED, S.FAILED, S.DELETING}:
        fields |= {"completed_at": now, "is_successful": state is S.COMPLETED}
    if state is S.DELETING:
        fields |= {"deletion_started_at": now}
    backup = BackupFactory(server=server, disk="disk-0", **{**fields, **more})
    assert backup.state is state
    return backup


ASKED = {"upload_id": "n", "mark": "m", "key": "k", "size": 1, "part_size": 1}
SUCCESS = {"checksum": "c", "size": 10, "etags": ["e"]}
REPORT = Report(successful=True, checksum="d", size=10)
MOVES = {
    "start_upload": (lambda b: b.start_upload(**ASKED), {S.PENDING, S.UPLOADING}),
    "record_success": (
        lambda b: b.record_success(**SUCCESS, claimed_until=timezone.now()),
        {S.UPLOADING},
    ),
    "touch_upload": (lambda b: b.touch_upload(), {S.UPLOADING}),
    "claim": (lambda b: b.claim(timezone.now()), {S.REPORTED}),
    "renew_claim": (lambda b: b.renew_claim(timezone.now()), {S.REPORTED}),
    "release": (lambda b: b.release(), {S.REPORTED}),
    "take_back_report": (lambda b: b.take_back_report(), {S.REPORTED}),
    "adopt_checksum": (lambda b: b.adopt_checksum(REPORT), set()),
    "complete_uploaded": (lambda b: b.complete_uploaded(PROOF), {S.REPORTED}),
    "complete_proven": (lambda b: b.complete_proven(PROOF), {S.UPLOADING, S.FAILED}),
    "complete_on_node": (
        lambda b: b.complete_on_node(REPORT),
        {S.PENDING, S.UPLOADING, S.FAILED},
    ),
    "fail": (lambda b: b.fail("why"), {S.PENDING, S.UPLOADING}),
    "fail_reported": (lambda b: b.fail_reported("why"), {S.REPORTED}),
    "forget_upload": (lambda b: b.forget_upload(), {S.FAILED}),
    "begin_deletion": (lambda b: b.begin_deletion(), {S.COMPLETED, S.FAILED}),
    "confirm_failure": (lambda b: b.confirm_failure("why"), set()),
    "begin_erasing": (lambda b: b.begin_erasing(timezone.now()), {S.DELETING}),
    "take_back_deletion": (lambda b: b.take_back_deletion("why", None), {S.DELETING}),
    "note_refused_deletion": (lambda b: b.note_refused_deletion("why", None), {S.DELETING}),
    "accept_object": (lambda b: b.accept_object(PROOF), {S.COMPLETED}),
    "refuse_report": (
        lambda b: b.refuse_report("why"),
        {S.PENDING, S.UPLOADING, S.REPORTED, S.FAILED},
    ),
    "lock": (
        lambda b: b.set_locked(locked=True),
        {S.PENDING, S.UPLOADING, S.REPORTED, S.COMPLETED},
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_transition_is_refused_from_other_states(db, name):
    server = ServerFactory()
    move, allowed = MOVES[name]
    for state in S:
        backup = make(server, state)
        before = Backup.objects.filter(pk=backup.pk).values().get()
        assert move(backup) is (state in allowed), state
        if state not in allowed:
            assert Backup.objects.filter(pk=backup.pk).values().get() == before, state


@pytest.mark.parametrize(
    ("state", "name"),
    [
        (S.UPLOADING, "start_upload"),
        (S.UPLOADING, "record_success"),
        (S.UPLOADING, "fail"),
        (S.UPLOADING, "complete_proven"),
        (S.FAILED, "complete_proven"),
        (S.FAILED, "forget_upload"),
    ],
)
def test_transition_requires_the_same_upload(db, state, name):
    server = ServerFactory()
    backup = make(server, state)
    Backup.objects.filter(pk=backup.pk).update(upload_id="newer", upload_mark="newer")

    assert not MOVES[name][0](backup)
    assert Backup.objects.get(pk=backup.pk).state is state


@pytest.mark.parametrize(
    "changes",
    [{"failed_in_silence": False}, {"deletion_started_at": timezone.now()}],
    ids=["failed for another reason", "being deleted"],
)
def test_failed_backup_is_opened_only_if_it_still_failed_in_silence(db, changes):
    backup = make(ServerFactory(), S.FAILED, upload_id="", failed_in_silence=True)
    Backup.objects.filter(pk=backup.pk).update(**changes)
    before = Backup.objects.filter(pk=backup.pk).values().get()

    assert not MOVES["start_upload"][0](backup)
    assert Backup.objects.filter(pk=backup.pk).values().get() == before


def test_checksum_is_adopted_by_what_was_recovered_without_one(db):
    server = ServerFactory()
    for state in S:
        for checksum in ("", "c"):
            backup = make(server, state, is_recovered=True, checksum=checksum, size=10)
            may = state is S.REPORTED or (state is S.COMPLETED and not checksum)
            before = Backup.objects.filter(pk=backup.pk).values().get()
            assert backup.adopt_checksum(REPORT) is may, (state, checksum)
            assert may or Backup.objects.filter(pk=backup.pk).values().get() == before


def test_recovery_takes_checksum_only_from_report_of_same_size(db):
    server = ServerFactory()
    backup = make(server, S.REPORTED, is_recovered=True)
    assert not backup.adopt_checksum(Report(successful=True, checksum="d", size=11))
    assert backup.adopt_checksum(REPORT)
    assert not backup.adopt_checksum(Report(successful=True, checksum="e", size=10))
    row = Backup.objects.get(pk=backup.pk)
    assert (row.checksum, row.is_recovered) == ("d", False)


def test_a_backup_that_is_claimed_is_not_claimed_again(db):
    server = ServerFactory()
    until = timezone.now() + timezone.timedelta(minutes=1)
    backup = make(server, S.REPORTED)
    assert backup.claim(until)
    assert not Backup.objects.get(pk=backup.pk).claim(until)


def test_a_locked_backup_is_not_deleted(db):
    server = ServerFactory()
    assert not make(server, S.COMPLETED, is_locked=True).begin_deletion()


@pytest.mark.parametrize("status", [None, "suspended", "installing", RESTORING])
def test_restore_needs_an_idle_server_and_clears_its_status(db, status):
    server = ServerFactory(status=status)
    backup = make(server, S.COMPLETED)
    assert Server.end_restore(server.pk, backup, EventKind.RESTORE_COMPLETED) is (
        status == RESTORING
    )
    Server.objects.filter(pk=server.pk).update(status=status)
    assert server.begin_restore(backup) is (status is None)
    server.refresh_from_db()
    assert server.status == (RESTORING if status is None else status)


def test_backup_of_another_node_is_not_found(db):
    before, owner, after = NodeFactory(), NodeFactory(), NodeFactory()
    backup = BackupFactory(server=ServerFactory(node=owner), disk="disk-0")

    for find in (lifecycle.find_backup_made_by, lifecycle.find_backup_restorable_on):
        assert find(owner, str(backup.uuid)).pk == backup.pk
        for node in (before, after):
            with pytest.raises(BackupNotFound):
                find(node, str(backup.uuid))


def test_unreadable_object_is_not_taken_for_missing(world, server, local, tiny):
    backup = world.uploading(server, local, tiny)
    world.complete_in_store(backup)

    def run():
        outcomes = lifecycle.sweep(older_than=timezone.timedelta(0), disk=local, workers=1)
        return [outcome.action for outcome in outcomes]

    for answer in [(500, "InternalError"), "drop"]:
        fault = Fault("head", str(backup.uuid), times=2, forward=False, answer=answer)
        with world.proxy.going_wrong(fault):
            assert run() == [SweepAction.ERROR]
    # The panel never sent a completion; still, the object is looked for again.
    refused = Fault("head", str(backup.uuid), times=9, forward=False, answer=(403, "AccessDenied"))
    with world.proxy.going_wrong(refused):
        assert run() == [SweepAction.FAILED]
        assert run() == []
    assert run() == [SweepAction.RECOVERED]
    assert world.violations(backup, tiny) == []


def test_abort_of_missing_upload_succeeds(world, server, local, tiny):
    backup = world.failed_with_open_upload(server, local, tiny)
    gone = Fault("abort", str(backup.uuid), forward=False, answer=(404, "NoSuchUpload"))
    with world.proxy.going_wrong(gone):
        outcomes = list(lifecycle.sweep(older_than=timezone.timedelta(0), disk=local))
    assert [outcome.action for outcome in outcomes] == [
        SweepAction.UPLOAD_ABORTED,
        SweepAction.ORPHAN_ABORTED,
    ]
    assert world.uploads(backup.object_key) == []


def test_row_is_kept_when_store_refuses_deletion(world, server, local, tiny):
    backup = world.completed(server, local, tiny)
    fault = Fault("delete", str(backup.uuid), times=2, forward=False, answer=(500, "InternalError"))

    with world.proxy.going_wrong(fault), pytest.raises(StorageUnavailable):
        lifecycle.delete_backup(backup)

    assert Backup.objects.get(pk=backup.pk).state is S.DELETING
    lifecycle.delete_backup(backup)
    assert world.read_object(world.key_of(backup)) is None


def test_atomic_requests_do_not_span_store_calls(world, server, node, local, monkeypatch):
    backup = world.pending(server, local)
    backend = get_backend(local)
    create, seen = backend.create_upload, []

    def watched(key, mark):
        seen.append(connections["default"].in_atomic_block)
        return create(key, mark)

    monkeypatch.setattr(backend, "create_upload", watched)
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    answer = Client().get(
        f"/api/remote/backups/{backup.uuid}",
        {"size": 10},
        headers={"Authorization": f"Bearer {node.bearer_token}"},
    )

    assert answer.status_code == 200
    assert seen == [False]
