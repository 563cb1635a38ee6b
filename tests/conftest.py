"""A real store for the whole run, and a disk on it for each test."""

from __future__ import annotations

import uuid

import pytest

from panel_site.seaweedfs import running_store
from tests.daemon import Daemon
from tests.factories import BackupFactory, NodeFactory, ServerFactory

S3_BACKEND = "storages.backends.s3.S3Storage"


@pytest.fixture(scope="session")
def store():
    """SeaweedFS, running for the whole session."""
    with running_store() as running:
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
