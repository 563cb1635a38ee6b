"""Error answers that mean "gone" or a fault: another call tells."""

import uuid

import pytest

from backups_remote.exceptions import StorageUnavailable, UploadNotFound
from backups_remote.storage import get_backend
from tests.conftest import S3_BACKEND
from tests.support.proxy import Fault


@pytest.fixture
def backend(proxy, disk):
    return get_backend(disk)


@pytest.fixture
def key(backend):
    return backend.object_key(uuid.uuid4(), uuid.uuid4())


INTERNAL_ERROR = Fault("complete", forward=False, answer=(500, "InternalError"))
ETAG = '"00000000000000000000000000000000"'


def test_an_internal_error_to_complete_is_no_lost_upload_while_parts_are_listed(
    proxy, backend, key
):
    upload_id = backend.create_upload(key, "mark")
    with (
        proxy.going_wrong(INTERNAL_ERROR.on("complete")),
        pytest.raises(StorageUnavailable, match="InternalError"),
    ):
        backend.complete_upload(key, upload_id, [ETAG])


def test_an_internal_error_to_complete_is_a_lost_upload_where_no_parts_are_listed(
    proxy, backend, key
):
    upload_id = backend.create_upload(key, "mark")
    backend.abort_upload(key, upload_id)
    with proxy.going_wrong(INTERNAL_ERROR.on("complete")), pytest.raises(UploadNotFound):
        backend.complete_upload(key, upload_id, [ETAG])


def test_an_internal_error_to_complete_stays_one_where_the_list_fails_too(proxy, backend, key):
    upload_id = backend.create_upload(key, "mark")
    unclear = Fault("list_parts", forward=False, answer=(503, "SlowDown"), times=9)
    with (
        proxy.going_wrong(INTERNAL_ERROR.on("complete"), unclear),
        pytest.raises(StorageUnavailable, match="InternalError"),
    ):
        backend.complete_upload(key, upload_id, [ETAG])


@pytest.fixture
def versioned(proxy, settings, store, s3):
    bucket = f"versions-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    options = {**store.storage_options, "bucket_name": bucket, "endpoint_url": proxy.url}
    settings.STORAGES = {
        **settings.STORAGES,
        "versioned": {"BACKEND": S3_BACKEND, "OPTIONS": options},
    }
    return get_backend("versioned")


REFUSED = Fault("delete", forward=False, answer=(400, "InvalidArgument"))


def test_a_deletion_that_is_refused_is_a_fault_while_the_version_is_listed(proxy, versioned, s3):
    kept = s3.put_object(Bucket=versioned._bucket, Key="k", Body=b"archive")["VersionId"]
    with (
        proxy.going_wrong(REFUSED.on("delete")),
        pytest.raises(StorageUnavailable, match="InvalidArgument"),
    ):
        versioned.delete("k", version_id=kept)
    assert versioned.stat("k", version_id=kept) is not None


def test_a_deletion_that_is_refused_is_done_where_the_version_is_not_listed(proxy, versioned, s3):
    gone = s3.put_object(Bucket=versioned._bucket, Key="k", Body=b"archive")["VersionId"]
    other = s3.put_object(Bucket=versioned._bucket, Key="k", Body=b"another")["VersionId"]
    s3.delete_object(Bucket=versioned._bucket, Key="k", VersionId=gone)
    with proxy.going_wrong(REFUSED.on("delete")):
        versioned.delete("k", version_id=gone)
    assert versioned.stat("k", version_id=other) is not None


def test_a_deletion_that_is_refused_without_a_version_is_a_fault(proxy, backend, key):
    with (
        proxy.going_wrong(REFUSED.on("delete")),
        pytest.raises(StorageUnavailable, match="InvalidArgument"),
    ):
        backend.delete(key, version_id="")
