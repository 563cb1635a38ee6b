"""Searching the list of backups."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from django.db import connection
from django.utils import timezone

from backups_remote.admin import changelist, search
from backups_remote.models import Backup
from tests.admin.pages import LIST, backup_in, listed, queries_of, text
from tests.support.factories import BackupFactory, NodeFactory, ServerFactory

pytestmark = [pytest.mark.databases, pytest.mark.django_db]

State = Backup.State


@pytest.mark.parametrize(
    "written",
    [str, lambda u: u.hex, lambda u: str(u).upper(), lambda u: u.hex.upper(), lambda u: f" {u}  "],
)
def test_search_by_uuid(admin_client, written):
    BackupFactory(disk="wings", name=str(uuid.uuid4()))
    wanted = BackupFactory(disk="wings")

    assert listed(admin_client.get(LIST, {"q": written(wanted.uuid)})) == {wanted.pk}
    assert listed(admin_client.get(LIST, {"q": written(wanted.server.uuid)})) == {wanted.pk}
    assert listed(admin_client.get(LIST, {"q": written(wanted.node.uuid)})) == {wanted.pk}
    assert listed(admin_client.get(LIST, {"q": written(uuid.uuid4())})) == set()


def test_search_by_uuid_uses_its_index(admin_client):
    backup = BackupFactory(disk="wings")
    queries = queries_of(admin_client, f"{LIST}?q={backup.uuid}")
    assert not [sql for sql in queries if "LIKE" in sql]
    if connection.vendor == "sqlite":
        asked = next(sql for sql in queries if '"backups_remote_backup"."uuid" = ' in sql)
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + asked)
            plan = str(cursor.fetchall())
        assert "SCAN" not in plan
        assert "uuid=?" in plan


def test_search_by_name(admin_client):
    valheim = ServerFactory(name="Valheim 7", node=NodeFactory(name="fra-1"))
    survival = ServerFactory(name="Survival", node=NodeFactory(name="ams-1"))
    a = BackupFactory(server=valheim, disk="wings", name="Before the boss")
    b = BackupFactory(server=survival, disk="wings", name="Before 1.21")
    c = BackupFactory(server=survival, disk="wings", name="100% done_now")

    def found(phrase):
        return listed(admin_client.get(LIST, {"q": phrase}))

    assert found("valheim") == {a.pk}
    assert found("Valheim 7") == {a.pk}
    assert found("fra-1") == {a.pk}
    assert found("-1") == {a.pk, b.pk, c.pk}
    assert found("before") == {a.pk, b.pk}
    assert found("before survival") == {b.pk}
    assert found("ams 1.21") == {b.pk}
    assert found("1.21 valheim") == set()
    assert found("   ") == {a.pk, b.pk, c.pk}
    assert found("%") == {c.pk}
    assert found("_") == {c.pk}


@pytest.mark.parametrize(
    "phrase", ["nonsense", "'", '"', "\\", "{}", "a\x00b", "💾", "0" * 32, "'; DROP TABLE x --"]
)
def test_search_for_invalid_phrase_finds_nothing(admin_client, phrase):
    BackupFactory(disk="wings", name="Nightly")

    answer = admin_client.get(LIST, {"q": phrase})

    assert answer.status_code == 200
    assert "\x00" in phrase or listed(answer) == set()


def test_search_combines_with_filters(admin_client):
    failed = backup_in(State.FAILED, name="Nightly")
    backup_in(State.COMPLETED, name="Nightly")

    assert listed(admin_client.get(LIST, {"q": "nightly", "state": "failed"})) == {failed.pk}


@pytest.mark.parametrize("one_by_one", [0, 1000])
def test_search_finds_old_backups_by_server_and_newest_by_name(
    admin_client, monkeypatch, one_by_one
):
    monkeypatch.setattr(search, "READ_FOR_NAMES", 2)
    monkeypatch.setattr(search, "_LISTED_KEYS", one_by_one)
    server = ServerFactory(name="Valheim", node=NodeFactory(name="fra-1"))
    old, *newer = BackupFactory.create_batch(3, server=server, disk="wings", name="Nightly")
    BackupFactory(disk="wings", created_at=timezone.now() - dt.timedelta(days=9), name="Nightly")

    assert listed(admin_client.get(LIST, {"q": "nightly"})) == {b.pk for b in newer}
    for phrase in ("valheim", "fra-1"):
        assert listed(admin_client.get(LIST, {"q": phrase})) == {b.pk for b in (old, *newer)}


def test_search_lists_the_first_in_either_order(admin_client, monkeypatch):
    for module in (search, changelist):
        monkeypatch.setattr(module, "LISTED", 2)
    monkeypatch.setattr(search, "READ_FOR_NAMES", 4)
    server = ServerFactory(name="Valheim")
    backups = BackupFactory.create_batch(6, server=server, disk="wings")

    newest_first = admin_client.get(LIST, {"q": "valheim"})
    oldest_first = admin_client.get(LIST, {"q": "valheim", "o": 7})

    assert listed(newest_first) == {b.pk for b in backups[-2:]}
    assert listed(oldest_first) == {b.pk for b in backups[:2]}
    assert "There are more than these 2" in text(newest_first)
