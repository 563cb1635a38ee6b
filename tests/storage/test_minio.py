"""A sweep through the S3 backend on a store that answers as MinIO does."""

import datetime as dt
import time
from dataclasses import replace

import pytest

from backups_remote import lifecycle
from backups_remote.storage import get_backend
from backups_remote.testing import DIALECTS
from tests.storage.stores.speaking import Speaking
from tests.support.factories import BackupFactory
from tests.support.http import change_disk_options

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("server_header", ["MinIO", "nginx"])
def test_orphans_are_found_by_their_keys(store, disk, settings, server, server_header):
    """Behind a proxy that replaces the header, an open upload of a backup gives it away."""
    dialect = replace(DIALECTS["minio"], server_header=server_header)
    with Speaking(store.endpoint, dialect) as proxy:
        change_disk_options(settings, endpoint_url=proxy.url)
        backend = get_backend(disk)
        ended = BackupFactory(server=server, disk=disk)
        key = backend.object_key(server.uuid, ended.uuid)
        backend.create_upload(key, "mark")
        assert ended.fail("why")
        time.sleep(3.1)
        if server_header == "nginx":
            lifecycle.request_upload(BackupFactory(server=server, disk=disk), 7)
        proxy.has_restarted = True
        outcomes = lifecycle.sweep(older_than=dt.timedelta(seconds=2), disk=disk)
        assert [(outcome.action, outcome.subject) for outcome in outcomes] == [
            ("orphan aborted", key),
            ("notice", disk),
        ]
        assert backend.open_uploads_of(key) == []
