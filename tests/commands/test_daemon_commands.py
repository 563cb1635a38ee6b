"""The commands backup, restore and list_backups."""

from __future__ import annotations

import io
import threading
import uuid
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from backups_remote import lifecycle
from backups_remote.management.commands import backup as backup_command
from backups_remote.management.commands import restore as restore_command
from backups_remote.models import Backup, Server
from tests.support.factories import NodeFactory, ServerFactory
from tests.support.http import CLOSED
from tests.support.memory import SIZE, completed_backup, put_part, row, success
from tests.support.scripted import Answer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory", "calls_daemons")]

S = Backup.State


@pytest.fixture
def daemon(scripted_daemon):
    return scripted_daemon


@pytest.fixture
def server(server_with_daemon):
    return server_with_daemon


def make(backup):
    """What the node does for a backup that it has accepted."""
    lifecycle.request_upload(backup, SIZE)
    backup.etag = put_part(backup)
    lifecycle.record_report(backup, success(backup))


def in_background(call):
    """Run ``call`` a moment after the daemon has answered."""

    def work():
        try:
            call()
        finally:
            connections.close_all()

    def start():
        timer = threading.Timer(0.1, work)
        _background.append(timer)
        timer.start()

    return start


_background = []


def call(*arguments, **streams):
    """Run a command, and wait until what it began in the background has ended too."""
    try:
        call_command(*arguments, **streams)
    finally:
        while _background:
            _background.pop().join()


def run(*arguments):
    out = io.StringIO()
    call(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_backup_prints_the_uuid_of_what_was_begun(server, daemon):
    printed = run(
        "backup", str(server.uuid), "--name", "Before the update", "--ignore", "logs/*",
        "--ignore", "*.tmp", "--lock", "--disk", "wings",
    )  # fmt: skip
    backup = row()
    assert printed == f"{backup.uuid}\n"
    assert (backup.name, backup.ignored_files) == ("Before the update", ["logs/*", "*.tmp"])
    assert (backup.is_locked, backup.disk, backup.state) == (True, "wings", S.PENDING)
    assert daemon.calls[0].body["adapter"] == "wings"


@pytest.mark.parametrize("command", ["backup", "restore"])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(400, {"error": "cannot do that"}), "answered 400: cannot do that"),
        (Answer(502), "answered 502"),
        (Answer(None), "the connection broke"),
    ],
)
def test_fault_of_the_daemon_is_one_clear_line(server, daemon, command, answer, said):
    daemon.answer = answer
    subject = server if command == "backup" else completed_backup(server)
    with pytest.raises(CommandError) as caught:
        run(command, str(subject.uuid))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (str(row().uuid) in str(caught.value)) is (command == "backup")
    assert caught.value.returncode == 1


@pytest.mark.parametrize("command", ["backup", "restore", "list_backups"])
@pytest.mark.parametrize("subject", ["nonsense", str(uuid.UUID(int=1))])
def test_unknown_subject_is_named(command, subject):
    with pytest.raises(CommandError, match=r"^(SERVER|BACKUP): .*" + subject):
        run(command, subject)


def test_server_at_its_limit_is_one_clear_line(server):
    Server.objects.update(backup_limit=0)
    with pytest.raises(CommandError, match="limit"):
        run("backup", str(server.uuid))


def test_rotate_starts_a_backup_and_deletes_the_excess(server, daemon):
    Server.objects.update(backup_limit=1)
    first = completed_backup(server)
    run("backup", str(server.uuid), "--rotate")
    make(Backup.objects.exclude(pk=first.pk).get())
    # Cron runs again: the surplus of the earlier run goes, and one more begins.
    printed = run("backup", str(server.uuid), "--rotate")
    assert f"rotated out: {first.uuid}" in printed
    assert [backup.state for backup in Backup.objects.order_by("pk")] == [S.COMPLETED, S.PENDING]


@pytest.mark.django_db(transaction=True)
def test_wait_ends_with_the_backup(server, daemon):
    daemon.answer = Answer(before=in_background(lambda: make(row())))
    printed = run("backup", str(server.uuid), "--wait")
    assert printed.endswith(f"completed: {SIZE} bytes\n")


@pytest.mark.django_db(transaction=True)
def test_wait_rotates_when_the_backup_is_whole(server, daemon):
    Server.objects.update(backup_limit=1)
    old = completed_backup(server)
    daemon.answer = Answer(before=in_background(lambda: make(Backup.objects.latest("pk"))))
    printed = run("backup", str(server.uuid), "--wait", "--rotate")
    assert f"rotated out: {old.uuid}" in printed
    assert row().state is S.COMPLETED


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.django_db(transaction=True)
def test_old_backup_that_cannot_be_deleted_costs_no_new_one(server, daemon, wait):
    """Its node is gone; the other old ones are deleted, and named."""
    gone = NodeFactory(name="gone", url=CLOSED)
    old = [completed_backup(server, disk="wings") for _ in range(2)]
    Backup.objects.filter(pk=old[0].pk).update(node=gone)
    completed_backup(server)
    Server.objects.update(backup_limit=1)

    def make_what_is_asked_for():
        if daemon.calls[-1].method == "POST":
            in_background(lambda: make(Backup.objects.latest("pk")))()

    daemon.answer = Answer(204, before=make_what_is_asked_for)
    printed = run("backup", str(server.uuid), "--rotate", "--disk", "memory", *["--wait"] * wait)
    assert "Not all were rotated out: The daemon of gone" in printed
    assert f"rotated out: {old[1].uuid}" in printed
    assert [call.method for call in daemon.calls] == ["DELETE", "POST"]


def test_backup_that_may_have_begun_is_named(server, daemon):
    daemon.answer = Answer(502)
    with pytest.raises(CommandError, match="answered 502") as caught:
        run("backup", str(server.uuid))
    assert str(row().uuid) in str(caught.value)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("size", [SIZE, None], ids=["of known size", "streamed"])
def test_wait_shows_the_parts(server, daemon, monkeypatch, size):
    monkeypatch.setattr(backup_command, "_POLL", 0.01)
    monkeypatch.setattr(backup_command, "_PARTS_EVERY", 0)
    shown = Terminal()

    def upload():
        backup = row()
        if size is None:
            lifecycle.request_parts(backup, 1)
        else:
            lifecycle.request_upload(backup, size)
        wait_until(lambda: "\x1b[K0" in shown.getvalue(), "a look before the first part")
        backup.etag = put_part(backup)
        wait_until(lambda: "\x1b[K1" in shown.getvalue(), "a look after it")
        lifecycle.record_report(backup, success(backup))

    daemon.answer = Answer(before=in_background(upload))
    call("backup", str(server.uuid), "--wait", stdout=io.StringIO(), stderr=shown)
    assert ("1 of 1 (100%)" in shown.getvalue()) is (size is not None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda: row().fail("of a test"), r"failed: of a test\.$"),
        (lambda: row().delete(), "was deleted meanwhile"),
    ],
)
def test_wait_fails_with_the_backup(server, daemon, end, said):
    daemon.answer = Answer(before=in_background(end))
    with pytest.raises(CommandError, match=said):
        run("backup", str(server.uuid), "--wait")


def test_restore_says_that_it_is_under_way(server, daemon):
    backup = completed_backup(server)
    printed = run("restore", str(backup.uuid), "--truncate")
    assert printed == f"restoring {backup.uuid} onto {server.uuid}\n"
    assert Server.objects.get().restoring_backup_id == backup.pk
    assert daemon.calls[-1].body["truncate_directory"] is True


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("successful", [True, False])
def test_restore_waits_for_its_own_end(server, daemon, successful):
    backup = completed_backup(server)
    lifecycle.restore(backup)
    lifecycle.record_restore(backup, successful=not successful)  # an earlier one
    end = lambda: lifecycle.record_restore(backup, successful=successful)  # noqa: E731
    daemon.answer = Answer(before=in_background(end))
    if successful:
        assert run("restore", str(backup.uuid), "--wait").endswith("\nrestored\n")
    else:
        with pytest.raises(CommandError, match="the node reported failure"):
            run("restore", str(backup.uuid), "--wait")


@pytest.mark.django_db(transaction=True)
def test_restore_on_a_terminal_shows_for_how_long(server, daemon):
    backup = completed_backup(server)
    shown = Terminal()

    def end():
        wait_until(lambda: "restoring for 0:" in shown.getvalue(), "the line")
        lifecycle.record_restore(row(), successful=True)

    daemon.answer = Answer(before=in_background(end))
    call("restore", str(backup.uuid), "--wait", stdout=io.StringIO(), stderr=shown)
    assert shown.getvalue().endswith("\r\x1b[K")


@pytest.mark.django_db(transaction=True)
def test_restore_is_waited_for_beyond_a_restart_of_the_daemon(server, daemon, monkeypatch):
    """The daemon restarts while it is called, and accepts the call after that."""
    backup = completed_backup(server)

    def restart():
        lifecycle.node_restarted(server.node)
        connections.close_all()

    def end(_seconds):
        lifecycle.record_restore(row(), successful=True)

    daemon.answer = Answer(before=restart)
    monkeypatch.setattr(restore_command, "time", SimpleNamespace(sleep=end))
    assert run("restore", str(backup.uuid), "--wait").endswith("\nrestored\n")
    kinds = [event.kind for event in lifecycle.history(backup.uuid)]
    assert kinds[-2:] == ["restore_started", "restore_completed"]


def test_events_name_the_command(server, daemon):
    run("backup", str(server.uuid))
    make(row())
    run("restore", str(row().uuid))
    told = {event.kind: (event.actor, event.actor_name) for event in lifecycle.history(row())}
    assert told["created"] == ("command", "backup")
    assert told["restore_started"] == ("command", "restore")


def test_restore_of_a_failed_backup_is_one_clear_line(server, daemon):
    backup = lifecycle.back_up(server)
    backup.fail("of a test")
    with pytest.raises(CommandError, match="Only a completed backup"):
        run("restore", str(backup.uuid))
    assert len(daemon.calls) == 1


def test_list_shows_the_newest_first(server):
    old, new = completed_backup(server), lifecycle.back_up(server, name="two\nlines")
    other = completed_backup(ServerFactory())
    lines = run("list_backups", str(server.uuid)).splitlines()
    assert lines[0].split() == [
        "BACKUP",
        "STATE",
        "BYTES",
        "CREATED",
        "(UTC)",
        "LOCKED",
        "SERVER",
        "NAME",
    ]
    assert [line.split()[0] for line in lines[1:]] == [str(new.uuid), str(old.uuid)]
    assert "two lines" in lines[1]
    assert "completed" in lines[2]
    everything = run("list_backups")
    assert str(other.uuid) in everything
    assert len(run("list_backups", "--state", "pending").splitlines()) == 2
    assert len(run("list_backups", "--limit", "1").splitlines()) == 2


def test_list_refuses_a_limit_below_one():
    with pytest.raises(CommandError, match="--limit"):
        run("list_backups", "--limit", "0")
