"""Projects with a replica, or with a database of this app's own."""

from __future__ import annotations

import copy
import datetime as dt

import pytest
import requests

from backups_remote import lifecycle
from backups_remote.exceptions import AlreadyCompleted, DaemonNotConfigured
from backups_remote.models import Backup, Server
from backups_remote.types import Report
from tests.support.factories import NodeFactory, ServerFactory
from tests.support.memory import completed_backup, reported, success, upload_and_report
from tests.support.nested import assert_passes

pytestmark = [pytest.mark.databases, pytest.mark.django_db(transaction=True)]

ARCHIVE = b"a tiny archive"
NOW = dt.timedelta(0)


class LaggingReplica:
    """Reads go where nothing is."""

    def db_for_read(self, model, **hints):
        return "replica"

    def db_for_write(self, model, **hints):
        return "default"


def test_rules_never_read_from_a_replica(backup, settings, client, node):
    """What a replica does not know yet would be an orphan, a spare backup, a free place."""
    settings.DATABASE_ROUTERS = [f"{__name__}.{LaggingReplica.__qualname__}"]
    Server.written.update(backup_limit=2)
    server = Server.written.get()
    ticket = lifecycle.request_upload(backup, len(ARCHIVE))
    assert requests.put(ticket.urls[0], data=ARCHIVE, timeout=30).ok
    assert list(lifecycle.sweep()) == []
    lifecycle.record_report(backup, Report(True, "sha1:abc", len(ARCHIVE)))

    assert lifecycle.count_stale(older_than=NOW) == 0
    assert list(lifecycle.sweep(older_than=NOW)) == []
    assert lifecycle.start_restore(backup) is not None
    lifecycle.record_restore(backup, successful=True)
    second = lifecycle.start_backup(server, rotating=True)
    assert [o.action for o in lifecycle.expire(Backup.objects.filter(pk=second.pk))] == ["failed"]
    assert lifecycle.rotate_backups(server) == []
    headers = {"Authorization": f"Bearer {node.bearer_token}"}
    path = f"/api/remote/backups/{backup.uuid}"
    assert client.get(path, {"size": 10}, headers=headers).status_code == 409
    lifecycle.delete_backup(backup)


def stale_copy(row):
    """``row`` as a replica has it, before whatever comes next."""
    return copy.deepcopy(row)


def test_limit_is_read_where_it_was_raised(server, memory):
    """A receiver that rotates passes the server that it has."""
    Server.objects.update(backup_limit=2)
    for _ in range(2):
        completed_backup(server)
    stale = Server.objects.get()
    Server.objects.update(backup_limit=10)
    completed_backup(server)
    assert lifecycle.rotate_backups(stale) == []
    lifecycle.start_backup(stale)
    assert Backup.objects.count() == 4


def test_etags_of_a_report_are_read_where_they_were_written(memory, settings):
    """They are loaded when they are needed, and a replica has none yet."""
    backup = reported(held_for=-NOW)
    settings.DATABASE_ROUTERS = [f"{__name__}.{LaggingReplica.__qualname__}"]
    lifecycle.record_report(backup, success(backup))
    assert backup.state is Backup.State.COMPLETED


@pytest.mark.parametrize(
    "verb",
    [
        lifecycle.start_restore,
        lifecycle.download_link,
        lifecycle.delete_backup,
    ],
    ids=["restore", "download", "delete"],
)
def test_passed_instance_is_not_trusted(memory, verb):
    """It was read before the upload began; the row is whole."""
    backup = lifecycle.start_backup(ServerFactory())
    stale = stale_copy(backup)
    upload_and_report(backup)
    verb(stale)


@pytest.mark.parametrize(
    "ask",
    [
        lambda backup: lifecycle.request_upload(backup, len(ARCHIVE)),
        lambda backup: lifecycle.request_parts(backup, 1),
        lambda backup: lifecycle.record_report(backup, success()),
    ],
    ids=["size", "parts", "report"],
)
def test_store_is_not_asked_about_an_instance_that_ended_since(memory, ask):
    backup = lifecycle.start_backup(ServerFactory())
    stale = stale_copy(backup)
    upload_and_report(backup)
    memory.calls.clear()
    with pytest.raises(AlreadyCompleted):
        ask(stale)
    assert not memory.calls


@pytest.mark.usefixtures("memory", "calls_daemons", "server_with_daemon")
def test_node_of_a_passed_server_is_read_again():
    """A server that has moved is backed up by the node that it is on."""
    stale = Server.objects.select_related("node").get()
    Server.objects.update(node=NodeFactory(url=""))
    with pytest.raises(DaemonNotConfigured):
        lifecycle.back_up(stale)
    assert not Backup.objects.exists()


@pytest.mark.once
def test_app_works_on_a_separate_database():
    """Under settings that name two databases and a router."""
    assert_passes("tests/lifecycle/on_two_databases.py", "tests.support.two_databases")
