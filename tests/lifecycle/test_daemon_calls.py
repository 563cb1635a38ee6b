"""The verbs that call a node's daemon: what becomes of the row after each answer."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connections
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import (
    BackupConflict,
    BackupLimitReached,
    BackupNotFound,
    DaemonError,
    DaemonNotBegun,
    DaemonNotConfigured,
    DaemonRefused,
    DaemonUnclear,
    RestoreRefused,
)
from backups_remote.models import RESTORING, Backup, Server
from tests.support.factories import BackupFactory, NodeFactory
from tests.support.http import CLOSED
from tests.support.memory import (
    SIZE,
    completed_backup,
    put_part,
    remaining_uuids,
    row,
    success,
)
from tests.support.rows import remove
from tests.support.scripted import GONE, Answer, ScriptedServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory", "calls_daemons")]

S = Backup.State
REFUSED = Answer(400, {"error": "no such server"})
UNCLEAR = [Answer(502), Answer(None)]


@pytest.fixture
def daemon(scripted_daemon):
    return scripted_daemon


@pytest.fixture
def server(server_with_daemon):
    return server_with_daemon


def request_and_put(backup):
    lifecycle.request_upload(backup, SIZE)
    backup.etag = put_part(backup)


def restoring(backup):
    server = Server.objects.get(pk=backup.server_id)
    return server.status == RESTORING and server.restoring_backup_id == backup.pk


# Making a backup


def test_accepted_backup_waits_for_its_node(server, daemon):
    backup = lifecycle.back_up(server, name="Nightly", ignored_files=["logs/*"], is_locked=True)
    assert (row().uuid, row().state, row().name) == (backup.uuid, S.PENDING, "Nightly")
    assert row().is_locked
    assert daemon.calls[0].body["ignore"] == "logs/*"


def test_backup_that_was_refused_has_failed(server, daemon, commits, ends):
    daemon.answer = REFUSED
    with commits(), pytest.raises(DaemonRefused, match="no such server"):
        lifecycle.back_up(server, is_locked=True)
    assert (row().state, row().is_locked) == (S.FAILED, False)
    assert "no such server" in row().failure
    assert ends == [("failed", row().uuid)]


def test_backup_of_an_unreachable_node_has_failed(server):
    server.node.url = CLOSED
    server.node.save()
    with pytest.raises(DaemonNotBegun):
        lifecycle.back_up(server)
    assert row().state is S.FAILED


@pytest.mark.parametrize("answer", UNCLEAR)
def test_backup_without_a_clear_answer_waits_for_its_node(server, daemon, answer):
    daemon.answer = answer
    with pytest.raises(DaemonUnclear):
        lifecycle.back_up(server)
    backup = row()
    assert backup.state is S.PENDING
    # The daemon had begun: it asks, uploads and reports.
    request_and_put(backup)
    lifecycle.record_report(backup, success(backup))
    assert row().state is S.COMPLETED


@pytest.mark.django_db(transaction=True)
def test_daemon_that_calls_back_before_it_answers_is_heard(server, daemon):
    def call_back():
        backup = row()
        request_and_put(backup)
        lifecycle.record_report(backup, success(backup))

    failures = []

    def before():
        thread = threading.Thread(target=lambda: failures.append(_in_thread(call_back)))
        thread.start()
        thread.join()

    daemon.answer = Answer(202, before=before)
    lifecycle.back_up(server)
    assert failures == [None]
    assert row().state is S.COMPLETED


@pytest.mark.django_db(transaction=True)
def test_refusal_after_a_call_back_keeps_the_backup(server, daemon):
    def before():
        thread = threading.Thread(target=lambda: _in_thread(lambda: request_and_put(row())))
        thread.start()
        thread.join()

    daemon.answer = Answer(400, before=before)
    with pytest.raises(DaemonRefused):
        lifecycle.back_up(server)
    assert row().state is S.UPLOADING


def _in_thread(call):
    try:
        call()
    except Exception as error:  # noqa: BLE001 - looked at by the test
        return error
    finally:
        connections.close_all()
    return None


@pytest.mark.parametrize("missing", ["DAEMON", "url"])
def test_nothing_is_written_where_no_daemon_is_called(server, settings, missing):
    if missing == "url":
        server.node.url = ""
        server.node.save()
    else:
        settings.BACKUPS_REMOTE["DAEMON"] = None
    with pytest.raises(DaemonNotConfigured):
        lifecycle.back_up(server)
    assert not Backup.objects.exists()


def test_daemon_is_not_called_at_the_limit(server, daemon):
    server.backup_limit = 0
    server.save()
    with pytest.raises(BackupLimitReached):
        lifecycle.back_up(server)
    assert daemon.calls == []


# Restores


def test_accepted_restore_waits_for_its_report(server, daemon):
    backup = completed_backup(server)
    lifecycle.restore(backup, truncate=True)
    assert restoring(backup)
    (call,) = daemon.calls
    assert call.body["truncate_directory"] is True
    assert call.body["download_url"].startswith("memory:")


def test_restore_that_was_refused_is_taken_back(server, daemon):
    backup = completed_backup(server)
    daemon.answer = REFUSED
    with pytest.raises(DaemonRefused):
        lifecycle.restore(backup)
    assert Server.objects.get().status is None
    lifecycle.delete_backup(backup)  # not held any more


@pytest.mark.parametrize("answer", UNCLEAR)
def test_restore_without_a_clear_answer_protects_the_backup(server, daemon, answer):
    backup = completed_backup(server)
    daemon.answer = answer
    with pytest.raises(DaemonUnclear):
        lifecycle.restore(backup)
    assert restoring(backup)
    with pytest.raises(BackupConflict):
        lifecycle.delete_backup(backup)


def test_restore_calls_the_node_that_the_server_is_on_now(server, daemon):
    backup = completed_backup(server)
    with ScriptedServer() as other:
        Server.objects.update(node=NodeFactory(url=other.url))
        lifecycle.restore(backup)  # its own copy of the row names the old node
        assert len(other.calls) == 1
    assert daemon.calls == []


def test_refused_restore_calls_no_daemon(server, daemon):
    backup = completed_backup(server)
    lifecycle.restore(backup)
    with pytest.raises(RestoreRefused, match="busy"):
        lifecycle.restore(backup)
    assert len(daemon.calls) == 1
    assert restoring(backup)


# The node's own disk


@pytest.mark.parametrize("answer", [Answer(204), Answer(404, GONE)])
def test_archive_on_the_node_is_deleted_with_its_row(server, daemon, answer):
    backup = completed_backup(server, disk="wings")
    daemon.answer = answer
    lifecycle.delete_backup(backup)
    assert [call.method for call in daemon.calls] == ["DELETE"]
    assert not Backup.objects.exists()


@pytest.mark.parametrize("finish", ["the call", "the sweep"])
def test_failed_backup_on_the_nodes_disk_is_deleted_there_too(server, daemon, finish):
    """Its row knows of no archive, and the node may have one: only its report was lost."""
    backup = BackupFactory(server=server, disk="wings")
    assert backup.fail("why")
    daemon.answer = Answer(204)
    if finish == "the call":
        lifecycle.delete_backup(backup)
    else:
        assert backup.begin_deletion()
        assert [o.action for o in lifecycle.sweep()] == ["deleted"]
    assert [call.method for call in daemon.calls] == ["DELETE"]
    assert not Backup.objects.exists()


def test_row_stays_until_the_node_has_deleted_in_the_background(server, daemon):
    backup = completed_backup(server, disk="wings")
    daemon.answer = Answer(202)
    lifecycle.delete_backup(backup)
    assert row().state is S.DELETING
    (outcome,) = lifecycle.sweep()
    assert (outcome.action, row().state) == ("notice", S.DELETING)
    daemon.answer = Answer(404, GONE)
    (outcome,) = lifecycle.sweep()
    assert outcome.action == "deleted"
    assert not Backup.objects.exists()


@pytest.mark.parametrize("answer", [REFUSED, Answer(404), *UNCLEAR])
def test_row_stays_while_the_node_has_not_deleted(server, daemon, answer):
    backup = completed_backup(server, disk="wings")
    daemon.answer = answer
    with pytest.raises(DaemonError):
        lifecycle.delete_backup(backup)
    assert row().state is S.DELETING
    (outcome,) = lifecycle.sweep()
    assert outcome.action == "error"
    assert server.node.name in outcome.detail
    daemon.answer = Answer(204)
    assert [o.action for o in lifecycle.sweep()] == ["deleted"]


@pytest.mark.parametrize("missing", ["DAEMON", "url"])
def test_row_alone_is_deleted_where_no_daemon_is_called(server, daemon, settings, missing):
    backup = completed_backup(server, disk="wings")
    if missing == "url":
        backup.node.url = ""
        backup.node.save()
    else:
        settings.BACKUPS_REMOTE["DAEMON"] = None
    lifecycle.delete_backup(backup)
    assert daemon.calls == []
    assert not Backup.objects.exists()


def test_rotation_deletes_from_the_nodes_disk(server, daemon):
    old, new = (completed_backup(server, disk="wings") for _ in range(2))
    Server.objects.update(backup_limit=1)
    daemon.answer = Answer(204)
    assert lifecycle.rotate_backups(server) == [old.uuid]
    assert [call.path.rpartition("/")[2] for call in daemon.calls] == [str(old.uuid)]
    assert remaining_uuids(server) == {new.uuid}


def test_rotation_keeps_the_row_until_the_node_has_deleted(server, daemon):
    old, _ = (completed_backup(server, disk="wings") for _ in range(2))
    Server.objects.update(backup_limit=1)
    daemon.answer = Answer(202)
    assert lifecycle.rotate_backups(server) == [old.uuid]
    assert Backup.objects.get(pk=old.pk).state is S.DELETING


def test_rotation_goes_on_after_a_node_refused(server, daemon):
    backups = [completed_backup(server, disk="wings") for _ in range(3)]
    Server.objects.update(backup_limit=1)
    daemon.answer = REFUSED
    with pytest.raises(DaemonRefused):
        lifecycle.rotate_backups(server)
    assert len(daemon.calls) == 2
    states = [Backup.objects.get(pk=backup.pk).state for backup in backups]
    assert states == [S.DELETING, S.DELETING, S.COMPLETED]


def test_rotation_leaves_archives_of_nodes_that_are_not_called(server, settings):
    backups = [completed_backup(server, disk="wings") for _ in range(2)]
    Server.objects.update(backup_limit=1)
    settings.BACKUPS_REMOTE["DAEMON"] = None
    assert lifecycle.rotate_backups(server) == []
    assert remaining_uuids(server) == {backup.uuid for backup in backups}


# Downloads


def test_download_for_a_user_comes_from_the_store_or_the_node(server, daemon):
    stored = completed_backup(server)
    kept = completed_backup(server, disk="wings")
    assert lifecycle.download_link_for_user(stored) == lifecycle.download_link(stored)
    link = urlsplit(lifecycle.download_link_for_user(kept))
    assert f"{link.scheme}://{link.netloc}" == daemon.url
    assert parse_qs(link.query).keys() == {"token"}
    assert daemon.calls == []


def test_uncompleted_backup_has_no_download(server):
    backup = lifecycle.back_up(server)
    with pytest.raises(RestoreRefused):
        lifecycle.download_link_for_user(backup)


# The node restarts while it is called


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("answer", [202, 502])
def test_restart_during_the_call_for_a_restore_keeps_it(server, daemon, answer):
    """The restart ends all restores but this one, which may reach the daemon later."""
    backup = completed_backup(server)

    seen = []

    def restart():
        lifecycle.node_restarted(server.node)
        seen.append(restoring(backup))

    def before():
        thread = threading.Thread(target=lambda: _in_thread(restart))
        thread.start()
        thread.join()

    daemon.answer = Answer(answer, before=before)
    with contextlib.suppress(DaemonUnclear):
        lifecycle.restore(backup)
    assert seen == [True]
    assert restoring(backup)
    with pytest.raises(BackupConflict):
        lifecycle.delete_backup(backup)


@pytest.mark.parametrize("answer", [Answer(202), *UNCLEAR])
def test_restart_after_the_call_for_a_restore_ends_it(server, daemon, answer):
    backup = completed_backup(server)
    daemon.answer = answer
    with contextlib.suppress(DaemonUnclear):
        lifecycle.restore(backup)
    assert restoring(backup)
    assert lifecycle.node_restarted(server.node) == [(server, backup)]
    assert not restoring(backup)


@pytest.mark.parametrize(
    ("called", "began"),
    [
        pytest.param(dt.timedelta(minutes=11), dt.timedelta(minutes=11), id="dead panel"),
        pytest.param(dt.timedelta(minutes=2), dt.timedelta(minutes=1), id="older version"),
    ],
)
def test_restart_ends_a_restore_whose_call_is_not_under_way(server, daemon, called, began):
    """Its panel died, or a panel of an older version has begun another one since."""
    backup = completed_backup(server)
    lifecycle.start_restore(backup)
    now = timezone.now()
    Server.objects.update(restore_calling_since=now - called, restore_started_at=now - began)
    assert lifecycle.node_restarted(server.node) == [(server, backup)]
    assert Server.objects.get().restore_calling_since is None


@pytest.mark.django_db(transaction=True)
def test_restore_that_ended_before_its_answer_is_not_shown_again(server, daemon):
    backup = completed_backup(server)
    lifecycle.node_restarted(server.node)

    def before():
        report = lambda: lifecycle.record_restore(row(), successful=True)  # noqa: E731
        thread = threading.Thread(target=lambda: _in_thread(report))
        thread.start()
        thread.join()

    daemon.answer = Answer(202, before=before)
    lifecycle.restore(backup)
    assert not restoring(backup)


@pytest.mark.django_db(transaction=True)
def test_restart_while_the_store_is_asked_ends_no_later_restore(memory, server, daemon):
    """The daemon has reported the end by the time that its answer is handled."""
    backup = completed_backup(server)

    def restart(call):
        lifecycle.node_restarted(server.node)
        return call()

    def report():
        thread = threading.Thread(
            target=lambda: _in_thread(lambda: lifecycle.record_restore(row(), successful=True))
        )
        thread.start()
        thread.join()

    memory.instead["stat"] = restart
    daemon.answer = Answer(202, before=report)
    lifecycle.restore(backup)
    assert not restoring(backup)
    assert lifecycle.history(backup)[-1].kind == "restore_completed"


@pytest.mark.parametrize("verb", [lifecycle.back_up, "restore"])
def test_server_that_is_gone_is_named(server, daemon, verb):
    if verb == "restore":
        subject, verb = completed_backup(server), lifecycle.restore
    else:
        subject = server
    remove(Backup.objects.all())
    Server.objects.all().delete()
    with pytest.raises(BackupNotFound):
        verb(subject)
    assert daemon.calls == []


@pytest.mark.django_db(transaction=True)
def test_refused_restore_leaves_one_that_began_since(server, daemon):
    """A call that hangs is refused after that restore was ended, and the next one accepted."""
    backup = completed_backup(server)

    def begin_another():
        lifecycle.record_restore(row(), successful=False)
        daemon.answer = Answer(202)
        lifecycle.restore(row())

    def before():
        thread = threading.Thread(target=lambda: _in_thread(begin_another))
        thread.start()
        thread.join()

    daemon.answer = Answer(400, before=before)
    with pytest.raises(DaemonRefused):
        lifecycle.restore(backup)
    assert restoring(backup)
    with pytest.raises(BackupConflict):
        lifecycle.delete_backup(backup)
    lifecycle.cancel_restore(row())
    assert not restoring(backup)
