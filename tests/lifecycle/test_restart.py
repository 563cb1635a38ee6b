"""A daemon restarted: what it was doing is over, and what it begins from then on is not."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.models import RESTORING, Backup, Node, Server
from backups_remote.testing import MemoryBackend
from tests.support.factories import NodeFactory, ServerFactory
from tests.support.memory import (
    complete_in_store,
    completed_backup,
    put_part,
    reported,
    success,
    sweep_actions,
    uploaded,
    uploading_backup,
)
from tests.support.streaming import streamed

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

S = Backup.State


@pytest.fixture
def server(node):
    return ServerFactory(node=node)


def restoring(server):
    backup = completed_backup(server)
    lifecycle.start_restore(backup)
    return backup


def status(server):
    return Server.objects.get(pk=server.pk).status


def row(backup):
    return Backup.objects.get(pk=backup.pk)


# Restores


def test_restores_on_the_node_end_as_failed(node, server, restore_ends, commits):
    backup = restoring(server)
    elsewhere = restoring(ServerFactory())
    with commits():
        assert lifecycle.node_restarted(node) == [(server, backup)]
        assert lifecycle.node_restarted(node) == []
    assert restore_ends == [(backup.uuid, False)]
    assert status(server) is None
    assert status(elsewhere.server) == RESTORING
    lifecycle.start_restore(row(backup))
    assert status(server) == RESTORING


def test_restore_onto_a_server_that_moved_here_ends(node, restore_ends, commits):
    """The node that has the server restores, whichever made the backup."""
    backup = completed_backup(ServerFactory())
    Server.objects.filter(pk=backup.server_id).update(node=node)
    lifecycle.start_restore(row(backup))
    with commits():
        lifecycle.node_restarted(NodeFactory())
        assert status(backup.server) == RESTORING
        lifecycle.node_restarted(node)
    assert restore_ends == [(backup.uuid, False)]


def test_restore_of_an_unknown_backup_ends_without_a_signal(node, restore_ends, commits):
    server = ServerFactory(node=node, status=RESTORING)
    with commits():
        assert lifecycle.node_restarted(node) == [(server, None)]
    assert status(server) is None
    assert restore_ends == []


def test_other_statuses_are_left(node):
    server = ServerFactory(node=node, status="installing")
    lifecycle.node_restarted(node)
    assert status(server) == "installing"


# Backups under way


def test_silent_uploads_are_judged_by_the_next_sweep(node, server):
    """All of them are minutes old; one is whole, one is reported."""
    pending = lifecycle.start_backup(server)
    empty, whole, in_store = uploading_backup(server), uploaded(server), uploaded(server)
    complete_in_store(in_store)
    partly, stream = uploading_backup(server, size=6 * 1024**2), streamed(10, 3, server=server)[0]
    put_part(partly, bytes(5 * 1024**2))
    known = reported(server, held_for=dt.timedelta(0))
    assert sweep_actions() == ["completed"]
    lifecycle.node_restarted(node)
    assert lifecycle.count_stale() == 6
    assert sorted(sweep_actions()) == ["failed"] * 4 + ["recovered"] * 2
    states = {row(b).state for b in (pending, empty, partly, stream)}
    assert states == {S.FAILED}
    words = "its node's daemon restarted: "
    assert [row(b).failure for b in (pending, empty, partly, stream)] == [
        f"{words}it had not called",
        f"{words}0 of 1 parts had arrived",
        f"{words}1 of 1 parts had arrived",
        f"{words}2 parts of a stream had arrived",
    ]
    assert {row(b).state for b in (whole, in_store, known)} == {S.COMPLETED}
    assert MemoryBackend.uploads == {}
    assert sweep_actions() == []


def test_dry_run_shows_what_would_be_judged(node, server):
    backup = uploading_backup(server)
    lifecycle.node_restarted(node)
    assert sweep_actions(dry_run=True) == ["failed"]
    assert row(backup).state is S.UPLOADING


def test_uploads_of_other_nodes_are_waited_for(node):
    backup = uploading_backup()
    lifecycle.node_restarted(node)
    assert lifecycle.count_stale() == 0
    assert sweep_actions() == []
    assert row(backup).state is S.UPLOADING


def test_backup_of_a_server_that_left_is_judged_by_its_own_node(node, server):
    """The node that makes a backup has forgotten it, whichever has the server now."""
    backup = uploading_backup(server)
    Server.objects.filter(pk=server.pk).update(node=NodeFactory())
    lifecycle.node_restarted(Server.objects.get(pk=server.pk).node)
    assert sweep_actions() == []
    lifecycle.node_restarted(node)
    assert sweep_actions() == ["failed"]
    assert row(backup).state is S.FAILED


def test_work_that_begins_after_the_restart_is_waited_for(node, server):
    before = lifecycle.start_backup(server)
    asked_again, goes_on = uploading_backup(server), streamed(10, server=server)[0]
    lifecycle.node_restarted(node)
    # A daemon that had not forgotten after all asks again.
    lifecycle.request_upload(row(asked_again), 7)
    lifecycle.request_parts(row(goes_on), 51)
    begun = lifecycle.start_backup(server)
    asked = uploading_backup(server)
    assert lifecycle.count_stale() == 1
    assert sweep_actions() == ["failed"]
    assert row(before).state is S.FAILED
    assert row(begun).state is S.PENDING
    assert {row(b).state for b in (asked, asked_again, goes_on)} == {S.UPLOADING}


def test_parts_that_arrive_after_the_restart_are_a_sign_of_life(node, server):
    backup = uploading_backup(server, size=6 * 1024**2)
    put_part(backup)
    lifecycle.node_restarted(node)
    MemoryBackend.put_part(f"memory://{backup.upload_id}/2", b"x")
    assert sweep_actions() == []
    assert row(backup).state is S.UPLOADING


def test_report_after_the_restart_is_accepted(node, server):
    backup = uploaded(server)
    lifecycle.node_restarted(node)
    lifecycle.record_report(backup, success(backup))
    assert row(backup).state is S.COMPLETED


def test_the_last_restart_counts(node, server):
    lifecycle.node_restarted(node)
    uploading_backup(server)
    assert sweep_actions() == []
    lifecycle.node_restarted(Node.objects.get(pk=node.pk))
    assert sweep_actions() == ["failed"]


def test_restart_is_compared_without_use_tz(settings, node, server):
    settings.USE_TZ = False
    backup = uploaded(server)
    lifecycle.node_restarted(node)
    asked = uploading_backup(server)
    with timezone.override("Pacific/Honolulu"):
        assert sweep_actions(recover=False) == ["failed"]
    assert row(backup).state is S.FAILED
    assert row(asked).state is S.UPLOADING
