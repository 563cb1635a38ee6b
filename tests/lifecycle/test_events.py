"""No change without its event, no event without its change: who did what, and why."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re

import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, models, transaction
from django.utils import timezone

from backups_remote import lifecycle, signals
from backups_remote.actors import ActorKind, acting_as, current_actor
from backups_remote.exceptions import (
    BackupLimitReached,
    BackupLocked,
    ReportRefused,
    RestoreRefused,
    UploadRejected,
)
from backups_remote.models import RESTORING, Backup, BackupEvent, EventKind, Server
from backups_remote.models import changes as models_changes
from backups_remote.models import servers as models_servers
from backups_remote.testing import MemoryBackend
from backups_remote.types import Report, ReportedPart
from tests.support.factories import NodeFactory, ServerFactory
from tests.support.memory import (
    ARCHIVE,
    complete_in_store,
    completed_backup,
    put_foreign_object,
    put_part,
    reported,
    set_age,
    success,
    uploaded,
    uploading_backup,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

K = EventKind
NOW = dt.timedelta(0)
HOUR = dt.timedelta(hours=1)


def kinds(backup):
    return [event.kind for event in lifecycle.history(backup.uuid)]


def last(backup):
    return lifecycle.history(backup.uuid)[-1]


def said(backup):
    event = last(backup)
    return event.kind, event.detail


# Both or neither


def broken(*_, **__):
    raise DatabaseError


def fail_and_break_off(backup):
    with transaction.atomic():
        assert backup.fail("why")
        raise ZeroDivisionError


def test_change_is_undone_if_its_event_cannot_be_written(monkeypatch):
    backup = uploading_backup()
    before = Backup.objects.values().get(), kinds(backup)
    monkeypatch.setattr(models_changes, "record", broken)
    for move in (
        lambda: backup.fail("why"),
        lambda: backup.set_locked(locked=True),
        lambda: backup.refuse_report("why"),
    ):
        with pytest.raises(DatabaseError):
            move()
        assert (Backup.objects.values().get(), kinds(backup)) == before
        assert backup.state is Backup.State.UPLOADING


def test_row_and_the_event_of_its_removal_are_one_change(monkeypatch):
    backup = completed_backup()
    assert backup.begin_deletion()
    with monkeypatch.context() as failing:
        failing.setattr(models_changes, "record", broken)
        with pytest.raises(DatabaseError):
            backup.remove_deleted("gone")
    assert Backup.objects.get().state is Backup.State.DELETING
    monkeypatch.setattr(models.Model, "delete", broken)
    with pytest.raises(DatabaseError):
        backup.remove_deleted("gone")
    assert K.DELETED not in kinds(backup)


def test_no_backup_is_created_if_its_event_cannot_be_written(monkeypatch):
    from backups_remote.models import backups

    monkeypatch.setattr(backups, "record", broken)
    with pytest.raises(DatabaseError):
        Backup.objects.create(server=ServerFactory(), disk="memory")
    assert not Backup.objects.exists()


def test_no_restore_begins_or_ends_if_its_event_cannot_be_written(monkeypatch):
    backup = completed_backup()
    monkeypatch.setattr(models_servers, "record", broken)
    with pytest.raises(DatabaseError):
        lifecycle.start_restore(backup)
    assert Server.objects.get().status is None
    monkeypatch.undo()
    lifecycle.start_restore(backup)
    monkeypatch.setattr(models_servers, "record", broken)
    with pytest.raises(DatabaseError):
        lifecycle.record_restore(backup, successful=True)
    assert Server.objects.get().status == RESTORING


def test_change_that_is_rolled_back_leaves_no_event_and_no_log_line(caplog, commits):
    backup = uploading_backup()
    before = kinds(backup)
    caplog.set_level(logging.INFO, "backups_remote.events")
    with commits() as callbacks, pytest.raises(ZeroDivisionError):
        fail_and_break_off(backup)
    assert kinds(backup) == before
    assert callbacks == []
    assert caplog.messages == []


def test_loser_of_a_race_writes_no_event():
    backup = uploading_backup()
    loser = Backup.objects.get()
    assert backup.start_upload(upload_id="newer", mark="m", key="k", size=1, part_size=1)
    before = kinds(backup)
    assert not loser.fail("why")
    assert not loser.start_upload(upload_id="late", mark="m", key="k", size=1, part_size=1)
    assert not loser.record_success(checksum="c", size=1, etags=[], claimed_until=timezone.now())
    assert kinds(backup) == before


def test_of_two_that_remove_a_row_one_writes_the_event(backup_in_deletion):
    other = Backup.objects.get()
    assert backup_in_deletion.remove_deleted("gone")
    assert not other.remove_deleted("gone")
    assert kinds(backup_in_deletion).count("deleted") == 1


@pytest.fixture
def backup_in_deletion():
    backup = completed_backup()
    assert backup.begin_deletion()
    return backup


def test_only_a_deletion_that_has_begun_removes_the_row():
    backup = completed_backup()
    assert not backup.remove_deleted("gone")
    assert Backup.objects.get().state is Backup.State.COMPLETED
    assert "deleted" not in kinds(backup)


def test_locked_backup_is_not_forgotten():
    backup = completed_backup()
    assert backup.set_locked(locked=True)
    assert not backup.remove_forgotten("left")
    assert kinds(backup)[-1] == "locked"


def test_signs_of_life_and_claims_write_no_event():
    backup = reported(held_for=-HOUR)
    before = kinds(backup)
    assert backup.claim(timezone.now() + HOUR)
    assert backup.renew_claim(timezone.now() + HOUR)
    assert backup.release()
    assert kinds(backup) == before
    asking = uploading_backup()
    before = kinds(asking)
    lifecycle.request_upload(asking, asking.upload_size)
    assert kinds(asking) == before


def test_restore_report_about_nothing_writes_no_event():
    backup = completed_backup()
    before = kinds(backup)
    lifecycle.record_restore(backup, successful=True)
    lifecycle.cancel_restore(backup)
    assert kinds(backup) == before


# What is written


def test_events_of_a_backup_are_in_order():
    server = ServerFactory(name="Survival", node=NodeFactory(name="fra-1"))
    backup = lifecycle.start_backup(server)
    ticket = lifecycle.request_upload(backup, len(ARCHIVE) + 1)
    ticket = lifecycle.request_upload(backup, len(ARCHIVE))
    etag = MemoryBackend.put_part(ticket.urls[0], ARCHIVE)
    wrong = Report(True, "sha1:abc", len(ARCHIVE), (ReportedPart(1, "0" * 32),))
    with pytest.raises(ReportRefused):
        lifecycle.record_report(backup, wrong)
    right = Report(True, "sha1:abc", len(ARCHIVE), (ReportedPart(1, etag),))
    lifecycle.record_report(backup, right)
    lifecycle.lock_backup(backup)
    lifecycle.lock_backup(backup)
    lifecycle.unlock_backup(backup)
    lifecycle.download_link(backup)
    lifecycle.start_restore(backup)
    lifecycle.record_restore(backup, successful=True)
    key = backup.object_key
    lifecycle.delete_backup(backup)

    told = [(event.kind, event.detail) for event in lifecycle.history(backup)]
    assert told == [
        (K.CREATED, "on the disk memory"),
        (K.UPLOAD_STARTED, "8 bytes in parts of 134,217,728 bytes"),
        (K.UPLOAD_REPLACED, "7 bytes in parts of 134,217,728 bytes"),
        (K.REPORT_REFUSED, "parts: the etag of part 1 is not the store's."),
        (K.REPORTED, "7 bytes, sha1:abc"),
        (K.COMPLETED, "7 bytes"),
        (K.LOCKED, ""),
        (K.UNLOCKED, ""),
        (K.DOWNLOAD_LINK_ISSUED, "valid for 1 h"),
        (K.RESTORE_STARTED, f"{key}, 7 bytes on the disk memory"),
        (K.RESTORE_COMPLETED, ""),
        (K.DELETION_STARTED, f"{key}, 7 bytes on the disk memory"),
        (K.DELETED, f"{key}, 7 bytes on the disk memory"),
    ]
    # The row is gone, and its events tell whose backup it was.
    assert not Backup.objects.exists()
    assert list(backup.events) == lifecycle.history(backup.uuid)
    for event in backup.events:
        named = (event.server_uuid, event.server_name, event.node_name)
        assert named == (server.uuid, "Survival", "fra-1")


def test_part_size_in_an_event_is_the_plan(settings):
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "MAX_PART_SIZE": 5 * 1024**2}
    backup = lifecycle.start_backup(ServerFactory())
    lifecycle.request_upload(backup, 11 * 1024**2)
    assert said(backup) == (K.UPLOAD_STARTED, "11,534,336 bytes in parts of 5,242,880 bytes")


def test_failure_that_the_node_reports_is_the_reason():
    backup = uploading_backup()
    lifecycle.record_report(backup, Report(successful=False))
    assert kinds(backup)[-2:] == [K.FAILED, K.UPLOAD_ABORTED]
    assert Backup.objects.get().failure == "the node reported failure"


def test_failure_that_the_project_reports_has_its_reason():
    backup = lifecycle.start_backup(ServerFactory())
    lifecycle.record_report(backup, Report(successful=False, reason="the daemon was not reached"))
    assert said(backup) == (K.FAILED, "the daemon was not reached")
    assert Backup.objects.get().failure == "the daemon was not reached"


def test_silent_backup_says_how_long_and_how_much_had_arrived(settings):
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "MAX_PART_SIZE": 5 * 1024**2}
    backup = lifecycle.start_backup(ServerFactory())
    ticket = lifecycle.request_upload(backup, 56 * 1024**2)
    for url in ticket.urls[:3]:
        MemoryBackend.put_part(url, b"x" * 5 * 1024**2)
    set_age(backup, hours=7, minutes=5)
    reason = "silent for 7 h: 3 of 12 parts had arrived"

    [would] = lifecycle.sweep(dry_run=True)
    assert would.detail == f"{reason}; its upload is aborted"
    assert Backup.objects.get().failure == ""
    [outcome] = lifecycle.sweep()

    assert outcome == would
    assert Backup.objects.get().failure == reason
    events = lifecycle.history(backup)[-2:]
    assert [(event.kind, event.detail) for event in events] == [
        (K.FAILED, reason),
        (K.UPLOAD_ABORTED, ""),
    ]


def test_a_part_that_arrived_late_shortens_the_silence():
    backup = uploading_backup(size=len(ARCHIVE) + 1)
    put_part(backup)
    set_age(backup, days=3)
    [upload] = MemoryBackend.uploads.values()
    upload.uploaded_at = {1: timezone.now() - 8 * HOUR}
    list(lifecycle.sweep())
    assert Backup.objects.get().failure == "silent for 8 h: 1 of 1 parts had arrived"


@pytest.mark.parametrize("disk", ["memory", "wings"])
def test_node_that_never_called_is_the_reason(disk):
    backup = lifecycle.start_backup(ServerFactory(), disk=disk)
    Backup.objects.update(created_at=timezone.now() - dt.timedelta(days=3))
    list(lifecycle.sweep())
    assert said(backup) == (K.FAILED, "silent for 3 days: its node never called")


def test_refusal_is_the_reason_of_the_failure():
    backup = uploaded()
    wrong = success(parts=(ReportedPart(1, "0" * 32),))
    with pytest.raises(ReportRefused):
        lifecycle.record_report(backup, wrong)
    set_age(backup, hours=1)
    Backup.objects.update(refused_at=timezone.now() - dt.timedelta(minutes=11))
    list(lifecycle.sweep(recover=False))
    assert Backup.objects.get().failure == "refused: the etag of part 1 is not the store's"


def test_reported_archive_that_is_not_in_the_store_is_the_reason():
    backup = reported(held_for=-HOUR)
    MemoryBackend.uploads.clear()
    Backup.objects.update(reported_at=timezone.now() - dt.timedelta(days=3))
    list(lifecycle.sweep())
    assert said(backup) == (K.FAILED, "reported, but not in the store")
    assert Backup.objects.get().failure == "reported, but not in the store"


def test_upload_that_the_store_rejects_is_the_reason(memory):
    def rejecting(_call):
        raise UploadRejected("InvalidPart")

    backup = uploaded()
    memory.instead["complete_upload"] = rejecting
    list(lifecycle.sweep(older_than=NOW))
    assert kinds(backup)[-4:] == [
        K.RECOVERY_STARTED,
        K.REPORT_TAKEN_BACK,
        K.FAILED,
        K.UPLOAD_ABORTED,
    ]
    assert "the store rejected them" in Backup.objects.get().failure


def test_completion_after_all_clears_the_reason():
    backup = uploaded()
    complete_in_store(backup)
    assert backup.fail("why")
    list(lifecycle.sweep(older_than=NOW))
    row = Backup.objects.get()
    assert (row.state, row.failure) == (Backup.State.COMPLETED, "")
    assert kinds(backup)[-2:] == [K.FAILED, K.RECOVERED]


def test_long_reason_is_cut_to_its_column():
    backup = uploading_backup()
    assert backup.fail("x" * 5000)
    assert len(Backup.objects.get().failure) == 1024


def test_recovery_is_recorded():
    backup = uploaded()
    list(lifecycle.sweep(older_than=NOW))
    assert kinds(backup)[-2:] == [K.RECOVERY_STARTED, K.RECOVERED]


def test_deletion_of_a_foreign_object_says_that_it_was_left():
    backup = completed_backup()
    put_foreign_object(backup)
    lifecycle.delete_backup(backup)
    assert last(backup).kind == K.DELETED
    assert "not this backup's was left" in last(backup).detail


def test_rotation_says_why_and_what_it_deleted():
    server = ServerFactory()
    old = completed_backup(server)
    completed_backup(server)
    Server.objects.update(backup_limit=1)
    lifecycle.rotate_backups(server)
    events = {event.kind: event.detail for event in lifecycle.history(old)}
    assert events[K.DELETION_STARTED] == (
        f"rotated out at a limit of 1: {old.object_key}, 7 bytes on the disk memory"
    )
    assert K.DELETED in events


def test_forgotten_backup_says_where_its_archive_was_left(settings):
    backup = completed_backup()
    Backup.objects.update(disk="gone")
    backup.refresh_from_db()
    lifecycle.forget_backup(backup)
    assert said(backup) == (K.FORGOTTEN, "its archive, if any, was left on the disk gone")


def test_accepted_copy_is_recorded():
    backup = completed_backup()
    MemoryBackend.objects[backup.object_key].etag = "of-the-copy"
    lifecycle.accept_copies("memory", dry_run=True)
    assert last(backup).kind == K.COMPLETED
    lifecycle.accept_copies("memory")
    assert said(backup) == (K.COPY_ACCEPTED, "an object with the ETag of-the-copy")


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (lambda b: lifecycle.record_restore(b, successful=True), (K.RESTORE_COMPLETED, "")),
        (
            lambda b: lifecycle.record_restore(b, successful=False),
            (K.RESTORE_FAILED, "the node reported failure"),
        ),
        (lifecycle.cancel_restore, (K.RESTORE_CANCELLED, "")),
        (
            lambda b: lifecycle.cancel_restore(b, reason="not begun: why"),
            (K.RESTORE_CANCELLED, "not begun: why"),
        ),
        (lambda b: list(lifecycle.sweep()), (K.RESTORE_FAILED, "no end was reported for 25 h")),
    ],
)
def test_every_end_of_a_restore_is_recorded_once(end, expected):
    server = ServerFactory(node=NodeFactory(name="made-it"))
    backup = completed_backup(server)
    server.node = NodeFactory(name="restores-it")
    server.save()
    backup = Backup.objects.get()
    lifecycle.start_restore(backup)
    assert [event.kind for event in lifecycle.history(backup)][-1] == K.RESTORE_STARTED
    Server.objects.filter(pk=server.pk).update(restore_started_at=timezone.now() - 25 * HOUR)
    Server.objects.filter(pk=server.pk).update(restoring_backup=backup)
    backup = Backup.objects.get()
    end(backup)
    end(backup)
    assert said(backup) == expected
    assert last(backup).node_name == "restores-it"
    assert kinds(backup).count(K.RESTORE_STARTED) == 1
    assert len([kind for kind in kinds(backup) if kind.startswith("restore_")]) == 2


def test_overdue_restore_of_an_unknown_backup_is_recorded_for_its_server():
    server = ServerFactory(status=RESTORING)
    Server.objects.update(restore_started_at=timezone.now() - 25 * HOUR)
    list(lifecycle.sweep())
    [event] = BackupEvent.objects.filter(server_uuid=server.uuid)
    assert (event.kind, event.backup_uuid) == (K.RESTORE_FAILED, None)


# By whom


def who(event):
    return event.actor, event.actor_name


def test_code_of_the_project_acts_unless_it_names_somebody():
    backup = lifecycle.start_backup(ServerFactory())
    assert who(last(backup)) == ("code", "")
    with acting_as(ActorKind.USER, "ada"):
        lifecycle.lock_backup(backup)
        with acting_as(ActorKind.COMMAND, "nightly"):
            lifecycle.unlock_backup(backup)
        lifecycle.lock_backup(backup)
    assert [who(event) for event in lifecycle.history(backup)[1:]] == [
        ("user", "ada"),
        ("command", "nightly"),
        ("user", "ada"),
    ]
    assert current_actor().kind is ActorKind.CODE


def test_long_name_of_an_actor_is_cut_to_its_column():
    with acting_as(ActorKind.USER, "a" * 500):
        backup = lifecycle.start_backup(ServerFactory())
    assert last(backup).actor_name == "a" * 191


def test_calling_node_acts(client):
    server = ServerFactory(node=NodeFactory(name="fra-1"))
    backup = lifecycle.start_backup(server)

    def call(method, path="", **more):
        answer = client.generic(
            method,
            f"/api/remote/backups/{backup.uuid}{path}",
            headers={"Authorization": f"Bearer {server.node.bearer_token}"},
            **more,
        )
        assert answer.status_code in {200, 204}, answer.content

    call("GET", query_params={"size": 7})
    call("POST", data='{"successful": false}', content_type="application/json")
    assert server.begin_restore(backup)
    call("POST", "/restore", data='{"successful": true}', content_type="application/json")
    events = {event.kind: who(event) for event in lifecycle.history(backup)}
    assert events[K.CREATED] == events[K.RESTORE_STARTED] == ("code", "")
    for kind in (K.UPLOAD_STARTED, K.FAILED, K.UPLOAD_ABORTED, K.RESTORE_COMPLETED):
        assert events[kind] == ("node", "fra-1"), kind


def test_sweep_acts_where_nobody_is_named():
    backups = [uploading_backup() for _ in range(2)]
    outcomes = lifecycle.sweep(older_than=NOW)
    next(outcomes)
    # Between two outcomes the reader of the sweep acts as itself.
    between = lifecycle.start_backup(ServerFactory())
    list(outcomes)
    assert who(last(between)) == ("code", "")
    assert {who(last(backup)) for backup in backups} == {("sweep", "")}


def test_named_caller_of_a_sweep_acts():
    backup = uploading_backup()
    with acting_as(ActorKind.COMMAND, "nightly"):
        outcomes = lifecycle.sweep(older_than=NOW)
    list(outcomes)
    assert who(last(backup)) == ("command", "nightly")


def test_commands_act_under_their_names():
    swept, copied = uploading_backup(), completed_backup()
    MemoryBackend.objects[copied.object_key].etag = "of the copy"
    call_command("accept_copies", "memory", verbosity=0)
    call_command("expire_stale_uploads", older_than="0s")
    assert who(last(copied)) == ("command", "accept_copies")
    assert who(last(swept)) == ("sweep", "expire_stale_uploads")


# Append-only


def test_events_are_neither_changed_nor_deleted():
    backup = lifecycle.start_backup(ServerFactory())
    event = last(backup)
    event.detail = "a lie"
    again = BackupEvent(pk=event.pk, kind="failed", server_uuid=backup.server.uuid)
    for attempt in (
        event.save,
        lambda: event.save(update_fields=["detail"]),
        event.delete,
        lambda: BackupEvent.objects.update(detail="a lie"),
        lambda: BackupEvent.objects.filter(pk=event.pk).update(detail="a lie"),
        BackupEvent.objects.all().delete,
        lambda: BackupEvent.objects.bulk_update([event], ["detail"]),
        lambda: BackupEvent.objects.update_or_create({"detail": "a lie"}, pk=event.pk),
        lambda: BackupEvent.objects.bulk_create(
            [again], update_conflicts=True, update_fields=["kind"], unique_fields=["id"]
        ),
    ):
        with pytest.raises(TypeError, match="only ever added"):
            attempt()
    with pytest.raises(IntegrityError), transaction.atomic():
        again.save()
    assert said(backup) == (K.CREATED, "on the disk memory")


# The log


def test_each_event_is_logged_on_commit_with_stable_names(caplog, commits):
    caplog.set_level(logging.INFO, "backups_remote.events")
    server = ServerFactory(name="Survival", node=NodeFactory(name="fra-1"))
    with commits(), acting_as(ActorKind.NODE, "fra-1"):
        backup = lifecycle.start_backup(server)
        assert caplog.messages == []
    [line] = caplog.messages
    assert line == (
        f"event=created backup={backup.uuid} server={server.uuid} server_name=Survival "
        'node=fra-1 actor=node:fra-1 detail="on the disk memory"'
    )
    [entry] = caplog.records
    assert entry.levelname == "INFO"
    assert (entry.event, entry.backup, entry.actor) == ("created", str(backup.uuid), "node:fra-1")


@pytest.mark.parametrize(
    "name", ["a\nevent=deleted", 'a" event="deleted', "a event=deleted", "a\u2028event=deleted"]
)
def test_name_cannot_forge_a_log_line(caplog, commits, name):
    caplog.set_level(logging.INFO, "backups_remote.events")
    with commits(), acting_as(ActorKind.USER, name):
        lifecycle.start_backup(ServerFactory(name=name))
    [line] = caplog.messages
    assert len(line.splitlines()) == 1
    fields = dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line))
    assert fields["event"] == "created"
    assert json.loads(fields["server_name"]) == name
    assert json.loads(fields["actor"]) == f"user:{name}"
    assert list(fields) == [
        "event",
        "backup",
        "server",
        "server_name",
        "node",
        "actor",
        "detail",
    ]


def test_no_secret_reaches_an_event_or_its_log_line(caplog, commits):
    caplog.set_level(logging.INFO, "backups_remote.events")
    server = ServerFactory()
    with commits():
        backup = uploaded(server)
        lifecycle.record_report(backup, success(backup))
        link = lifecycle.download_link(backup)
        lifecycle.start_restore(backup)
    told = caplog.text + repr(list(BackupEvent.objects.values()))
    for secret in (server.node.token, backup.upload_mark, backup.upload_id, link, "memory://"):
        assert secret not in told


# Signals


@pytest.fixture
def heard():
    """The signals in the order in which they are sent: name, uuid, and what else they say."""
    names = {
        signal: name for name, signal in vars(signals).items() if isinstance(signal, signals.Signal)
    }
    said = []

    def hear(sender, backup, signal, **more):
        said.append((names[signal], backup.uuid, more))

    for signal in names:
        signal.connect(hear)
    yield said
    for signal in names:
        signal.disconnect(hear)


def test_signals_are_sent_on_commit(heard, commits):
    with commits():
        backup = lifecycle.start_backup(ServerFactory(), disk="wings")
        assert heard == []
    with commits():
        lifecycle.record_report(backup, success())
    with commits():
        lifecycle.start_restore(backup)
        lifecycle.record_restore(backup, successful=True)
    with commits():
        lifecycle.delete_backup(backup)
        lifecycle.delete_backup(backup)
    assert heard == [
        ("backup_created", backup.uuid, {}),
        ("backup_completed", backup.uuid, {}),
        ("restore_started", backup.uuid, {}),
        ("restore_reported", backup.uuid, {"successful": True}),
        ("backup_deleted", backup.uuid, {"forgotten": False}),
    ]


def test_refused_start_and_restore_send_no_signal(heard, commits):
    server = ServerFactory(backup_limit=1)
    with commits():
        backup = completed_backup(server)
    heard.clear()
    Server.objects.update(status="installing")
    with commits():
        with pytest.raises(BackupLimitReached):
            lifecycle.start_backup(server)
        with pytest.raises(RestoreRefused):
            lifecycle.start_restore(backup)
        lifecycle.lock_backup(backup)
        with pytest.raises(BackupLocked):
            lifecycle.delete_backup(backup)
    assert heard == []


@pytest.mark.parametrize("how", ["rotated", "swept", "forgotten"])
def test_every_way_to_remove_a_row_sends_the_signal(heard, commits, how):
    server = ServerFactory()
    with commits():
        backup = completed_backup(server)
        completed_backup(server)
    Server.objects.update(backup_limit=1)
    heard.clear()
    with commits():
        if how == "rotated":
            lifecycle.rotate_backups(server)
        elif how == "swept":
            assert backup.begin_deletion()
            list(lifecycle.sweep())
        else:
            Backup.objects.filter(pk=backup.pk).update(disk="gone")
            backup.refresh_from_db()
            lifecycle.forget_backup(backup)
    assert heard == [("backup_deleted", backup.uuid, {"forgotten": how == "forgotten"})]
