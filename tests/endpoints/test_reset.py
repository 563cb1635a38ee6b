"""POST /api/remote/servers/reset: a daemon has started, and forgotten what it was doing."""

from __future__ import annotations

import json

import pytest
from django.db import DatabaseError, connection

from backups_remote import lifecycle
from backups_remote.models import RESTORING, Backup, Node, Server
from tests.support.factories import NodeFactory, ServerFactory
from tests.support.http import errors

pytestmark = pytest.mark.django_db(transaction=True)

State = Backup.State


@pytest.mark.parametrize("body", [None, b"", b"{}", b"[", b"x" * 5_000_000])
def test_restart_ends_restores_and_has_uploads_judged(
    daemon, backup, server, node, restore_ends, open_uploads, body
):
    whole = backup
    assert daemon.back_up(whole, b"an archive").status_code == 204
    lifecycle.start_restore(Backup.objects.get(pk=whole.pk))
    silent = lifecycle.start_backup(server)
    assert daemon.ask(silent, 10).status_code == 200
    answer = daemon.reset(data=body)
    assert (answer.status_code, answer.content) == (204, b"")
    assert restore_ends == [(whole.uuid, False)]
    ended = lifecycle.history(whole)[-1]
    assert (ended.kind, ended.detail) == ("restore_failed", "the node's daemon restarted")
    assert (ended.actor, ended.actor_name) == ("node", node.name)
    server.refresh_from_db()
    assert server.status is None
    assert [str(outcome.action) for outcome in lifecycle.sweep(disk="s3")] == ["failed"]
    assert open_uploads() == []
    whole.refresh_from_db()
    assert whole.state is State.COMPLETED


def test_restart_of_another_node_has_no_effect(daemon, node):
    other = ServerFactory(node=NodeFactory(), status=RESTORING)
    assert daemon.reset().status_code == 204
    other.refresh_from_db()
    assert other.status == RESTORING
    restarted = Node.objects.exclude(restarted_at=None)
    assert list(restarted) == [node]


def test_a_node_must_say_who_it_is(daemon, node):
    assert errors(daemon.reset(headers={"Authorization": None}), 401)
    assert errors(daemon.reset(headers={"Authorization": "Bearer a.b"}), 401)
    for method in ("GET", "PUT"):
        assert errors(daemon.call(method, "../servers/reset"), 405)
    assert daemon.call("POST", "../servers/reset/").status_code == 404
    assert not Node.objects.exclude(restarted_at=None).exists()


def test_database_that_does_not_answer_is_a_503(client, node):
    def fail(execute, sql, *args):
        if sql.startswith("UPDATE"):
            raise DatabaseError("Down.")
        return execute(sql, *args)

    server = ServerFactory(node=node, status=RESTORING)
    with connection.execute_wrapper(fail):
        answer = client.post(
            "/api/remote/servers/reset", headers={"Authorization": f"Bearer {node.bearer_token}"}
        )
    assert answer.status_code == 503
    assert json.loads(answer.content)["errors"][0]["code"] == "database_unavailable"
    assert Server.objects.get(pk=server.pk).status == RESTORING
