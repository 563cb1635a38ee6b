"""A real store for the whole run, and a disk on it for each test."""

from __future__ import annotations

import functools
import json
import os
import signal
import uuid
from pathlib import Path

import botocore.session
import hypothesis
import pytest
from django.core.servers.basehttp import WSGIRequestHandler
from django.db import connections

from backups_remote import signals
from panel_site.seaweedfs import Store, running_store
from tests.support.daemon import Daemon
from tests.support.factories import BackupFactory, NodeFactory, ServerFactory
from tests.support.memory import EventfulBackend
from tests.support.scripted import ScriptedServer
from tests.support.watchdog import watched

S3_BACKEND = "storages.backends.s3.S3Storage"

# The live server sends headers and body apart: without this each answer waits 40 ms for an
# acknowledgement that the client delays.
WSGIRequestHandler.disable_nagle_algorithm = True

# The same examples in every run, however slow the machine is. The torture asks for others.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True)
hypothesis.settings.load_profile("tests")

# Every test has a disk of its own, and so a boto session, which would read the same megabytes of
# JSON anew.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)


def pytest_configure():
    """Shells ignore interrupts in the background, and so would this run; the watchdog needs them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings):
    """Remove what SQLite leaves beside the test database when Django has removed that."""
    yield
    for alias in connections:
        database = connections[alias]
        if database.vendor == "sqlite" and (path := database.settings_dict["TEST"]["NAME"]):
            for ending in ("-wal", "-shm"):
                Path(f"{path}{ending}").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def store(pytestconfig):
    """SeaweedFS, running for the whole session; the one of TEST_STORE if that names any."""
    if "TEST_STORE" in os.environ:
        yield Store(**json.loads(os.environ["TEST_STORE"]))
        return
    with running_store() as running, watched(running, pytestconfig):
        yield running


@pytest.fixture(scope="session")
def s3(store):
    """A plain boto client: what the store itself says."""
    client = store.client()
    yield client
    client.close()


@pytest.fixture
def location():
    """A key prefix of the test's own."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def disk(settings, store, location):
    """The disk ``s3`` on the real store, the default one, with the smallest parts there are."""
    settings.STORAGES = {
        **settings.STORAGES,
        "s3": {
            "BACKEND": S3_BACKEND,
            "OPTIONS": {**store.storage_options, "location": location},
        },
    }
    settings.BACKUPS_REMOTE = {"DEFAULT_DISK": "s3", "MAX_PART_SIZE": 5 * 1024**2}
    return "s3"


@pytest.fixture
def open_uploads(s3, store, location):
    """Asks the store which uploads are open under the test's prefix."""

    def ask():
        answer = s3.list_multipart_uploads(Bucket=store.bucket, Prefix=f"{location}/")
        return [(u["Key"], u["UploadId"]) for u in answer.get("Uploads", ())]

    return ask


@pytest.fixture
def memory(settings):
    """The disk ``memory``, the default one, on a store in memory whose calls can go wrong."""
    settings.BACKUPS_REMOTE = {
        "DEFAULT_DISK": "memory",
        "BACKENDS": {
            "memory": "tests.support.memory.EventfulBackend",
            "bare": "tests.support.memory.BareBackend",
        },
    }
    EventfulBackend.clear()
    yield EventfulBackend
    EventfulBackend.clear()


@pytest.fixture
def commits(django_capture_on_commit_callbacks):
    """A block whose signals are sent at its end, as after a commit."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


@pytest.fixture
def ends():
    """The signals about a backup's end: (name, uuid)."""
    said = []

    def completed(backup, **_):
        said.append(("completed", backup.uuid))

    def failed(backup, **_):
        said.append(("failed", backup.uuid))

    signals.backup_completed.connect(completed)
    signals.backup_failed.connect(failed)
    yield said
    signals.backup_completed.disconnect(completed)
    signals.backup_failed.disconnect(failed)


@pytest.fixture
def restore_ends():
    """The ``restore_reported`` signals: (uuid, successful)."""
    said = []

    def restored(backup, successful, **_):
        said.append((backup.uuid, successful))

    signals.restore_reported.connect(restored)
    yield said
    signals.restore_reported.disconnect(restored)


@pytest.fixture
def node(db):
    return NodeFactory()


@pytest.fixture
def server(node):
    return ServerFactory(node=node)


@pytest.fixture
def backup(server, disk):
    """A pending backup on the real store."""
    return BackupFactory(server=server, disk=disk)


@pytest.fixture
def daemon(live_server, node):
    """The node's daemon, speaking real HTTP to the panel."""
    with Daemon(live_server.url, node.bearer_token) as speaking:
        yield speaking


@pytest.fixture
def calls_daemons(settings):
    """The panel calls its nodes' daemons. Ask for it after what configures the disks."""
    settings.BACKUPS_REMOTE = {
        **settings.BACKUPS_REMOTE,
        "DAEMON": "backups_remote.daemon.WingsDaemon",
    }


@pytest.fixture
def scripted_daemon():
    """A daemon that answers as it is told."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def server_with_daemon(scripted_daemon):
    """A server on the node of that daemon."""
    return ServerFactory(node=NodeFactory(url=scripted_daemon.url))
