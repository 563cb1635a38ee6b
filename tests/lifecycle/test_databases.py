"""Projects with a replica, or with a database of this app's own."""

from __future__ import annotations

import datetime as dt

import pytest
import requests

from backups_remote import lifecycle
from backups_remote.models import Backup, Server
from backups_remote.types import Report
from tests.support.nested import assert_passes

pytestmark = [pytest.mark.databases, pytest.mark.django_db(transaction=True)]

ARCHIVE = b"a tiny archive"
NOW = dt.timedelta(0)


class LaggingReplica:
    """Reads go where nothing is, unless they follow a row that was read already."""

    def db_for_read(self, model, instance=None, **hints):
        return "replica" if instance is None else instance._state.db

    def db_for_write(self, model, **hints):
        return "default"


def test_rules_never_read_from_a_replica(backup, settings, client, node):
    """What a replica does not know yet would be an orphan, a spare backup, a free place."""
    settings.DATABASE_ROUTERS = [f"{__name__}.{LaggingReplica.__qualname__}"]
    Server.objects.using("default").update(backup_limit=2)
    server = Server.objects.using("default").get()
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


@pytest.mark.once
def test_app_works_on_a_separate_database():
    """Under settings that name two databases and a router."""
    assert_passes("tests/lifecycle/on_two_databases.py", "tests.support.two_databases")
