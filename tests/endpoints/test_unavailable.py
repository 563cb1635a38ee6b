"""Calls while the store, the disk or the database is unavailable."""

from __future__ import annotations

import contextlib
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection, connections, transaction

from backups_remote.models import Backup
from tests.support.daemon import Daemon
from tests.support.factories import BackupFactory, NodeFactory
from tests.support.http import (
    CLOSED,
    change_disk_options,
    details,
    errors,
    nothing_changes,
    upload,
)
from tests.support.proxy import Fault, Proxy

pytestmark = pytest.mark.django_db(transaction=True)

ARCHIVE = b"a tiny archive"
State = Backup.State
FAULTS = {
    "closed port": {"endpoint_url": CLOSED},
    "wrong secret": {"secret_key": "a-wrong-secret"},
    "unknown access key": {"access_key": "nobody"},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_call_without_store_returns_503(
    daemon, backup, server, store, node, settings, caplog, fault
):
    caplog.set_level("INFO")
    caplog.set_level("DEBUG", "backups_remote")
    started = BackupFactory(server=server)
    ticket = daemon.ask(started, len(ARCHIVE)).json()
    parts = daemon.upload(ticket["parts"], ARCHIVE, ticket["part_size"])
    whole = settings.STORAGES

    change_disk_options(settings, **FAULTS[fault])
    with nothing_changes(backup), nothing_changes(started):
        answers = [
            daemon.ask(backup, 5),
            daemon.ask(started, 5),
            daemon.report(started, ARCHIVE, parts),
            daemon.report(started, ARCHIVE, None),
        ]
        for answer in answers:
            [error] = errors(answer, 503)
            assert error["code"] == "storage_unavailable"
            assert error["detail"].startswith("The store ")

    settings.STORAGES = whole
    assert daemon.ask(backup, 5).status_code == 200
    assert daemon.report(started, ARCHIVE, parts).status_code == 204
    started.refresh_from_db()
    assert started.state is State.COMPLETED
    # The node reads the answer, an operator the log, and others both.
    signature = parse_qs(urlsplit(ticket["parts"][0]).query)["X-Amz-Signature"][0]
    said = caplog.text + "".join(answer.text for answer in answers)
    assert "A node is told to try again" in said
    for secret in (
        signature,
        "X-Amz-",
        store.secret_key,
        "a-wrong-secret",
        node.token,
        node.encrypted_token,
    ):
        assert secret not in said


def test_call_without_bucket_returns_503(daemon, backup, server, store, settings):
    """The embedded store makes a bucket that it is asked for; others say that there is none."""
    started = BackupFactory(server=server)
    with Proxy(store.endpoint) as proxy:
        change_disk_options(settings, endpoint_url=proxy.url)
        parts = upload(daemon, started)
        gone = [
            Fault(call, forward=False, times=99, answer=(404, "NoSuchBucket"))
            for call in ("create", "list_parts", "complete", "abort", "head")
        ]
        with proxy.going_wrong(*gone), nothing_changes(backup), nothing_changes(started):
            for answer in (daemon.ask(backup, 5), daemon.report(started, ARCHIVE, parts)):
                [error] = errors(answer, 503)
                assert error["code"] == "storage_unavailable"
                assert "NoSuchBucket" in error["detail"]
        assert daemon.ask(backup, 5).status_code == 200
        assert daemon.report(started, ARCHIVE, parts).status_code == 204


@pytest.mark.parametrize("fault", FAULTS)
def test_failure_report_is_recorded_without_store(daemon, backup, settings, open_uploads, fault):
    """The upload is left for the sweep: the row keeps what it needs for that."""
    upload(daemon, backup)
    change_disk_options(settings, **FAULTS[fault])
    assert daemon.report_failure(backup).status_code == 204
    backup.refresh_from_db()
    assert backup.state is State.FAILED
    assert [upload_id for _, upload_id in open_uploads()] == [backup.upload_id]


def test_unconfigured_disk_returns_503(daemon, backup, settings):
    parts = upload(daemon, backup)
    whole = settings.STORAGES
    settings.STORAGES = {name: disk for name, disk in whole.items() if name != "s3"}
    with nothing_changes(backup):
        for answer in (daemon.ask(backup, 5), daemon.report(backup, ARCHIVE, parts)):
            [error] = errors(answer, 503)
            assert error["code"] == "disk_not_configured"
    settings.STORAGES = whole
    assert daemon.report(backup, ARCHIVE, parts).status_code == 204


@pytest.mark.parametrize(
    "wrong",
    [{"client_config": {}}, {"object_parameters": 3}, {"bucket": "misspelt"}],
    ids=["no client", "no parameters", "no such option"],
)
def test_disk_with_wrong_options_returns_503(daemon, backup, settings, wrong):
    """The server's checks name them, but a panel behind gunicorn runs no checks."""
    whole = settings.STORAGES
    change_disk_options(settings, **wrong)
    with nothing_changes(backup):
        [error] = errors(daemon.ask(backup, 5), 503)
        assert error["code"] == "disk_not_configured"
        assert error["detail"].startswith("The disk 's3' cannot be set up")
    settings.STORAGES = whole
    assert daemon.ask(backup, 5).status_code == 200


@contextlib.contextmanager
def impatient_connections():
    """New connections wait for a lock for a moment only."""
    database = connections.settings["default"]
    options = database.setdefault("OPTIONS", {})
    before = dict(options)
    options.update(
        {
            "sqlite": {"timeout": 0.2},
            "postgresql": {"options": "-c lock_timeout=200"},
            "mysql": {"init_command": "SET SESSION innodb_lock_wait_timeout=1"},
        }[connection.vendor]
    )
    try:
        yield
    finally:
        options.clear()
        options.update(before)


@contextlib.contextmanager
def rows_locked(*rows):
    """Another connection has these rows (on SQLite: the whole file) to itself."""
    with transaction.atomic():
        for locked in rows:
            type(locked)._base_manager.filter(pk=locked.pk).update(name="locked")
        yield
        transaction.set_rollback(True)


def test_database_lock_timeout_returns_503(daemon, server, disk, backup, open_uploads, caplog):
    """Each verb that writes: nothing is changed, and the repeat succeeds."""
    started, failing = BackupFactory(server=server), BackupFactory(server=server)
    own_disk = BackupFactory(server=server, disk="wings")
    streaming = BackupFactory(server=server)
    parts = upload(daemon, started)
    upload(daemon, failing)
    daemon.ask_parts(streaming, 1)
    server.status = "restoring_backup"
    server.save()

    def calls():
        yield daemon.ask(backup, 5)
        yield daemon.report(started, ARCHIVE, parts)
        yield daemon.report_failure(failing)
        yield daemon.report(own_disk, ARCHIVE, None)
        yield daemon.report_restore(backup)
        yield daemon.ask_parts(streaming, 51)
        yield daemon.reset()

    touched = (backup, started, failing, own_disk, streaming)
    with contextlib.ExitStack() as stack:
        for one in touched:
            stack.enter_context(nothing_changes(one))
        with impatient_connections(), rows_locked(server, server.node, *touched):
            for answer in calls():
                [error] = errors(answer, 503)
                assert error["code"] == "database_unavailable"
    # Failing was not recorded: its parts are still there.
    failing.refresh_from_db()
    assert failing.upload_id in {upload_id for _, upload_id in open_uploads()}
    assert "The database did not answer a node's call." in caplog.text
    assert [answer.status_code for answer in calls()] == [200, 204, 204, 204, 204, 200, 204]


def test_call_without_database_returns_503(daemon, backup, node, caplog, monkeypatch, open_uploads):
    parts = upload(daemon, backup)
    gone = {"sqlite": ("NAME", "/nowhere/panel.sqlite3")}.get(connection.vendor, ("PORT", "1"))
    with nothing_changes(backup, open_uploads), monkeypatch.context() as patched:
        patched.setitem(connections.settings["default"], *gone)
        for answer in (
            daemon.ask(backup, 5),
            daemon.report(backup, ARCHIVE, parts),
            daemon.report_failure(backup),
            daemon.report_restore(backup),
            daemon.report_deletion(backup),
            daemon.ask_parts(backup, 1),
            daemon.reset(),
        ):
            [error] = errors(answer, 503)
            assert error["code"] == "database_unavailable"
            assert "sqlite" not in answer.text
            assert "nowhere" not in answer.text
    assert node.token not in caplog.text
    assert daemon.report(backup, ARCHIVE, parts).status_code == 204


def test_error_for_one_node_does_not_affect_another(daemon, live_server, server, backup, settings):
    """One disk that cannot be reached leaves the others alone."""
    own_disk = BackupFactory(server=server, disk="wings")
    change_disk_options(settings, endpoint_url=CLOSED)
    assert errors(daemon.ask(backup, 5), 503)
    assert daemon.report(own_disk, ARCHIVE, None).status_code == 204
    with Daemon(live_server.url, NodeFactory().bearer_token) as other:
        assert details(other.ask(backup, 5), 404)
