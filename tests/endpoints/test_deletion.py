"""POST /api/remote/backups/{uuid}/deletion: a node deleted an archive from its own disk."""

from __future__ import annotations

import uuid

import pytest

from backups_remote.models import Backup
from tests.support.daemon import Daemon
from tests.support.factories import BackupFactory, NodeFactory
from tests.support.http import details, errors, nothing_changes

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def deleting(daemon, server, disk):
    """A backup on the node's own disk whose deletion has begun."""
    backup = BackupFactory(server=server, disk="wings")
    assert daemon.report(backup, b"an archive", None).status_code == 204
    backup.refresh_from_db()
    assert backup.begin_deletion()
    return backup


def test_deleted_archive_ends_its_row(daemon, deleting):
    assert daemon.report_deletion(deleting, successful=False).status_code == 204
    deleting.refresh_from_db()
    assert deleting.state is Backup.State.DELETING
    assert "could not delete" in deleting.deletion_refusal
    assert daemon.report_deletion(deleting).status_code == 204
    assert not Backup.objects.exists()
    [error] = errors(daemon.report_deletion(deleting), 404)
    assert error["code"] == "backup_not_found"


def test_backup_that_is_not_being_deleted_is_left(daemon, server, backup):
    whole = BackupFactory(server=server, disk="wings")
    assert daemon.report(whole, b"an archive", None).status_code == 204
    for left in (whole, backup):
        with nothing_changes(left):
            for successful in (True, False):
                assert daemon.report_deletion(left, successful).status_code == 204


def test_another_nodes_backup_is_not_found(deleting, live_server):
    with Daemon(live_server.url, NodeFactory().bearer_token) as stranger, nothing_changes(deleting):
        assert errors(stranger.report_deletion(deleting), 404)


def test_a_body_without_a_boolean_is_refused(daemon, deleting):
    taken = {}
    with nothing_changes(deleting):
        for body in (b"", b"{}", b"[]", b'{"successful":null}', b'{"successful":1}', b"\xff"):
            answer = daemon.call("POST", f"{deleting.uuid}/deletion", data=body)
            if answer.status_code != 400 or not errors(answer, 400):
                taken[body] = answer.text
        assert taken == {}
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        path = f"{deleting.uuid}/deletion"
        assert errors(daemon.call("POST", path, data=b"successful=true", headers=form), 400)
    answer = daemon.call("POST", path, json={"successful": "yes"})
    assert details(answer, 400).startswith("successful: ")
    assert errors(daemon.call("POST", f"{uuid.uuid4()}/deletion", json={}), 400)


def test_other_calls_are_refused(daemon, deleting):
    with nothing_changes(deleting):
        path = f"{deleting.uuid}/deletion"
        assert errors(daemon.call("GET", path), 405)
        assert errors(daemon.report_deletion(Backup(uuid=uuid.uuid4())), 404)
        nobody = {"Authorization": None}
        assert errors(daemon.call("POST", path, json={"successful": True}, headers=nobody), 401)
