"""A store that refuses a call for good, as it is heard over HTTP."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from backups_remote import lifecycle
from backups_remote.exceptions import StorageRefused, StorageUnavailable
from backups_remote.models import Backup
from backups_remote.storage import get_backend
from tests.support.factories import BackupFactory
from tests.support.http import change_disk_options, upload
from tests.support.proxy import Fault, Proxy

pytestmark = pytest.mark.django_db(transaction=True)

NOW = dt.timedelta(0)
#: For each operation of the proxy: how it is called, and the permission that an error names.
CALLS = {
    "create": (lambda b, key: b.create_upload(key, "mark"), "s3:PutObject"),
    "list_parts": (lambda b, key: b.list_parts(key, "x"), "s3:ListMultipartUploadParts"),
    "complete": (lambda b, key: b.complete_upload(key, "x", ["e"]), "s3:PutObject"),
    "abort": (lambda b, key: b.abort_upload(key, "x"), "s3:AbortMultipartUpload"),
    "list_uploads": (
        lambda b, key: list(b.open_uploads()),
        "s3:ListBucketMultipartUploads",
    ),
    "head": (lambda b, key: b.stat(key), "s3:ListBucket"),
    "get": (lambda b, key: b.is_intact(key), "s3:GetObject"),
    "delete": (lambda b, key: b.delete(key, version_id=""), "s3:DeleteObject"),
}


@pytest.fixture
def proxy(store, disk, settings):
    with Proxy(store.endpoint) as between:
        change_disk_options(settings, endpoint_url=between.url)
        yield between


def refusing(operation, **more):
    return Fault(operation, forward=False, answer=(403, "AccessDenied"), times=99, **more)


@pytest.mark.parametrize("operation", CALLS)
def test_refused_call_names_the_right_that_may_be_missing(proxy, disk, operation):
    backend = get_backend(disk)
    key = backend.object_key(uuid.uuid4(), uuid.uuid4())
    call, permission = CALLS[operation]
    with proxy.going_wrong(refusing(operation)), pytest.raises(StorageRefused) as caught:
        call(backend, key)
    assert permission in str(caught.value)


def test_object_under_a_retention_period_of_minio_is_a_refusal(proxy, disk):
    backend = get_backend(disk)
    refusal = Fault("delete", forward=False, answer=(400, "InvalidRequest"), times=9)
    with proxy.going_wrong(refusal), pytest.raises(StorageRefused, match="InvalidRequest"):
        backend.delete("key", version_id="v")


def test_refusal_of_a_second_try_proves_nothing_about_the_first(proxy, disk):
    """The client repeats a call whose answer is lost; the first one may succeed late."""
    backend = get_backend(disk)
    with (
        proxy.going_wrong(
            Fault("delete", forward=False, answer="drop"),
            refusing("delete", nth=2),
        ),
        pytest.raises(StorageUnavailable, match="second try") as caught,
    ):
        backend.delete("key", version_id="")
    assert not isinstance(caught.value, StorageRefused)


def test_failed_backup_ends_for_a_key_that_may_not_list_the_bucket(proxy, disk, server):
    backup = BackupFactory(server=server, disk=disk)
    lifecycle.request_upload(backup, 7)
    with proxy.going_wrong(refusing("head")):
        assert [o.action for o in lifecycle.sweep(older_than=NOW)] == ["failed"]
        lifecycle.delete_backup(backup)
    assert not Backup.objects.exists()


def test_node_is_told_which_permission_is_missing(proxy, disk, daemon, backup):
    with proxy.going_wrong(refusing("create")):
        answer = daemon.ask(backup, 7)
    assert answer.status_code == 503
    (error,) = answer.json()["errors"]
    assert error["code"] == "storage_refused"
    assert "s3:PutObject" in error["detail"]
    assert upload(daemon, backup)
