"""The S3 backend against a real store, and what it makes of a store's errors."""

import datetime as dt
import os
import uuid

import boto3
import pytest
import requests
from botocore import exceptions as boto
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from storages.backends.s3 import S3Storage

from backups_remote import storage
from backups_remote.exceptions import (
    DiskNotConfigured,
    StorageUnavailable,
    UploadNotFound,
    UploadRejected,
)
from backups_remote.storage import s3 as s3_module
from backups_remote.storage.s3 import S3Backend, translated_errors
from backups_remote.types import ArchiveKey
from tests.http import reached_by
from tests.reliability.proxy import Fault, Proxy

MIB = 1024**2
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def backend(disk):
    return storage.get_backend(disk)


@pytest.fixture
def key(backend):
    return backend.object_key(uuid.uuid4(), uuid.uuid4())


class Body:
    """What botocore reads an answer's body from."""

    def __init__(self, content=b""):
        self.content = content

    def stream(self, **_):
        yield self.content


def put_parts(backend, key, upload_id, *bodies):
    urls = backend.presign_parts(key, upload_id, len(bodies), HOUR)
    for url, body in zip(urls, bodies, strict=True):
        assert requests.put(url, data=body, timeout=30).status_code == 200


@pytest.mark.once
@pytest.mark.parametrize("name", ["plain", "gär tén/+&=?#%20~!'()*", "日本/ "])
def test_the_store_accepts_every_url(backend, location, name):
    key = f"{location}/{name}/archive.tar.gz"
    upload_id = backend.create_upload(key, "mark")
    urls = backend.presign_parts(key, upload_id, 150, HOUR)
    with requests.Session() as session:
        assert {session.put(url, data=b"x", timeout=30).status_code for url in urls} == {200}
    assert [part.number for part in backend.list_parts(key, upload_id)] == list(range(1, 151))
    backend.abort_upload(key, upload_id)


def test_parts_become_an_object_that_proves_itself(backend, key):
    bodies = os.urandom(5 * MIB), os.urandom(5 * MIB), b"the rest"
    upload_id = backend.create_upload(key, "the mark")
    assert backend.stat(key) is None
    put_parts(backend, key, upload_id, *bodies)
    parts = backend.list_parts(key, upload_id)
    assert [(part.number, part.size) for part in parts] == [(1, 5 * MIB), (2, 5 * MIB), (3, 8)]
    etag = backend.complete_upload(key, upload_id, [part.etag for part in parts])
    found = backend.stat(key)
    assert (found.size, found.mark) == (10 * MIB + 8, "the mark")
    assert found.content_type == "application/x-gzip"
    assert found.etag == etag == backend.etag_of([part.etag for part in parts])


def test_a_link_forces_type_and_name(backend, key):
    upload_id = backend.create_upload(key, "m")
    put_parts(backend, key, upload_id, b"archive")
    backend.complete_upload(key, upload_id, [p.etag for p in backend.list_parts(key, upload_id)])
    link = backend.download_url(key, version_id="", filename="a.tar.gz", lifespan=HOUR)
    answer = requests.get(link, timeout=30)
    assert answer.content == b"archive"
    assert answer.headers["Content-Type"] == "application/x-gzip"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="a.tar.gz"'


def test_a_url_is_good_for_its_part_alone_and_expires(backend, key):
    upload_id = backend.create_upload(key, "m")
    (url,) = backend.presign_parts(key, upload_id, 1, dt.timedelta(seconds=1))
    tampered = url.replace("partNumber=1", "partNumber=2")
    assert requests.put(tampered, data=b"x", timeout=30).status_code == 403
    assert requests.put(url[:-1] + ("0" if url[-1] != "0" else "1"), timeout=30).status_code == 403
    import time

    time.sleep(2.1)
    assert requests.put(url, data=b"x", timeout=30).status_code == 403


def test_wrong_parts_are_rejected(backend, key):
    upload_id = backend.create_upload(key, "m")
    put_parts(backend, key, upload_id, b"x")
    with pytest.raises(UploadRejected, match="InvalidPart"):
        backend.complete_upload(key, upload_id, ['"00000000000000000000000000000000"'])
    assert len(backend.list_parts(key, upload_id)) == 1


def test_an_upload_that_is_gone_counts_as_aborted(backend, key):
    upload_id = backend.create_upload(key, "m")
    backend.abort_upload(key, upload_id)
    backend.abort_upload(key, upload_id)
    with pytest.raises(UploadNotFound):
        backend.list_parts(key, upload_id)


def test_an_object_that_is_gone_counts_as_deleted(backend, key):
    backend.delete(key, version_id="")
    backend.delete(key, version_id="")


def test_a_proxys_own_404_does_not_say_that_an_object_is_gone(backend, key):
    """A proxy that has lost its way to the store answers 404 to anything."""

    def answer(request, **_):
        body = Body(b"default backend - 404")
        return AWSResponse(request.url, 404, {"Content-Type": "text/plain"}, body)

    backend._client.meta.events.register("before-send.s3.DeleteObject", answer)
    for version_id in ("", "v1"):
        with pytest.raises(StorageUnavailable, match="404"):
            backend.delete(key, version_id=version_id)


@pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchVersion"])
def test_a_store_that_names_a_missing_object_says_that_it_is_gone(store, disk, settings, code):
    with Proxy(store.endpoint) as proxy:
        reached_by(settings, endpoint_url=proxy.url)
        with proxy.going_wrong(Fault("delete", forward=False, answer=(404, code))) as fault:
            storage.get_backend(disk).delete("k", version_id="")
        assert fault.hits == 1


def test_a_versioned_bucket_loses_that_very_version(settings, store, s3, location):
    bucket = f"versions-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    settings.STORAGES = {
        **settings.STORAGES,
        "versioned": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {**store.storage_options, "bucket_name": bucket},
        },
    }
    backend = storage.get_backend("versioned")
    key = backend.object_key(uuid.uuid4(), uuid.uuid4())
    upload_id = backend.create_upload(key, "m")
    put_parts(backend, key, upload_id, b"archive")
    backend.complete_upload(key, upload_id, [p.etag for p in backend.list_parts(key, upload_id)])
    version = backend.stat(key).version_id
    assert version
    backend.delete(key, version_id=version)
    left = s3.list_object_versions(Bucket=bucket)
    assert left.get("Versions", []) == []
    assert left.get("DeleteMarkers", []) == []


def test_a_look_is_at_that_very_version(settings, store, s3):
    bucket = f"versions-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    settings.STORAGES = {
        **settings.STORAGES,
        "versioned": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {**store.storage_options, "bucket_name": bucket},
        },
    }
    backend = storage.get_backend("versioned")
    versions = {
        body: s3.put_object(Bucket=bucket, Key="k", Body=body, Metadata={"backup-mark": mark})[
            "VersionId"
        ]
        for body, mark in ((b"first", "1"), (b"the second", "2"))
    }
    first = backend.stat("k", version_id=versions[b"first"])
    assert (first.size, first.mark, first.version_id) == (5, "1", versions[b"first"])
    assert backend.stat("k").mark == "2"

    s3.delete_object(Bucket=bucket, Key="k", VersionId=versions[b"first"])
    assert backend.stat("k", version_id=versions[b"first"]) is None
    assert backend.stat("k").mark == "2"


@pytest.mark.parametrize(
    ("headers", "is_readable"),
    [
        ({}, True),
        ({"x-amz-storage-class": "STANDARD_IA"}, True),
        ({"x-amz-storage-class": "GLACIER_IR"}, True),
        ({"x-amz-storage-class": "GLACIER"}, False),
        ({"x-amz-storage-class": "DEEP_ARCHIVE"}, False),
        ({"x-amz-storage-class": "GLACIER", "x-amz-restore": 'ongoing-request="true"'}, False),
        (
            {
                "x-amz-storage-class": "GLACIER",
                "x-amz-restore": 'ongoing-request="false", expiry-date="Fri, 1 Jan 2027 00:00:00 GMT"',
            },
            True,
        ),
        (
            {
                "x-amz-storage-class": "INTELLIGENT_TIERING",
                "x-amz-archive-status": "ARCHIVE_ACCESS",
            },
            False,
        ),
    ],
)
def test_what_the_store_has_to_thaw_first_is_not_readable(backend, key, headers, is_readable):
    """No store at hand has archive classes: the answer is Amazon's, put in place of its own."""

    def answer(request, **_):
        found = {"Content-Length": "7", "ETag": '"e"', "x-amz-meta-backup-mark": "m", **headers}
        return AWSResponse(request.url, 200, found, Body())

    backend._client.meta.events.register("before-send.s3.HeadObject", answer)
    assert backend.stat(key).is_readable is is_readable


def test_keys_are_under_the_location_and_read_back(backend, location):
    server, backup = uuid.uuid4(), uuid.uuid4()
    key = backend.object_key(server, backup)
    assert key == f"{location}/{server}/{backup}.tar.gz"
    assert backend.parse_key(key) == ArchiveKey(server, backup)


@pytest.mark.parametrize(
    "foreign",
    ["media/a.png", "{0}/{0}.tar.gz", "L/{0}/{0}.tar", "L/x/{0}/{0}.tar.gz", "L/{0}/{0}.tar.gz\n"],
)
def test_foreign_keys_are_not_ours(backend, location, foreign):
    assert backend.parse_key(foreign.format(uuid.uuid4()).replace("L/", f"{location}/")) is None


def test_every_open_upload_is_listed_and_no_other_prefixs(backend, s3, store, location):
    ids = {backend.create_upload(backend.object_key(uuid.uuid4(), uuid.uuid4()), "m") for _ in "12"}
    other = f"{location}-other/k"
    s3.create_multipart_upload(Bucket=store.bucket, Key=other)
    assert {upload.upload_id for upload in backend.open_uploads()} == ids


def test_lists_are_read_to_their_last_page(backend, key):
    """Pages of a thousand are expensive to fill: the client is made to ask for small ones."""
    ids = {
        backend.create_upload(backend.object_key(uuid.uuid4(), uuid.uuid4()), "m") for _ in "123"
    }
    upload_id = backend.create_upload(key, "m")
    put_parts(backend, key, upload_id, *[bytes([n]) for n in range(5)])

    def small_pages(params, **_):
        params["MaxUploads" if "UploadId" not in params else "MaxParts"] = 2

    events = backend._client.meta.events
    for operation in ("ListParts", "ListMultipartUploads"):
        events.register(f"provide-client-params.s3.{operation}", small_pages)
    assert [part.number for part in backend.list_parts(key, upload_id)] == [1, 2, 3, 4, 5]
    assert {upload.upload_id for upload in backend.open_uploads()} == ids | {upload_id}


def test_object_parameters_and_metadata_of_the_alias_are_kept(settings, store, s3, location):
    settings.STORAGES = {
        **settings.STORAGES,
        "s3": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                **store.storage_options,
                "location": location,
                "default_acl": "private",
                "object_parameters": {
                    "StorageClass": "STANDARD_IA",
                    "CacheControl": "no-store",
                    "ContentType": "text/plain",
                    "ChecksumAlgorithm": "CRC32",
                    "NoSuchParameter": 1,
                    "Metadata": {"panel": "eu"},
                },
            },
        },
    }
    backend = storage.get_backend("s3")
    sent = backend._object_parameters("key", "the mark")
    assert sent == {
        "ACL": "private",
        "StorageClass": "STANDARD_IA",
        "CacheControl": "no-store",
        "Metadata": {"panel": "eu", "backup-mark": "the mark"},
    }
    key = backend.object_key(uuid.uuid4(), uuid.uuid4())
    upload_id = backend.create_upload(key, "the mark")
    put_parts(backend, key, upload_id, b"x")
    backend.complete_upload(key, upload_id, [p.etag for p in backend.list_parts(key, upload_id)])
    head = s3.head_object(Bucket=store.bucket, Key=key)
    assert head["Metadata"] == {"panel": "eu", "backup-mark": "the mark"}
    assert head["ContentType"] == "application/x-gzip"
    assert head["CacheControl"] == "no-store"


# Errors


def client_error(code, status=400):
    answer = {"Error": {"Code": code, "Message": "https://u?X-Amz-Signature=secret"}}
    return ClientError({**answer, "ResponseMetadata": {"HTTPStatusCode": status}}, "Operation")


@pytest.mark.parametrize(("code", "kind"), list(s3_module.ERROR_CODES.items()))
def test_a_known_code_has_its_error(code, kind):
    with pytest.raises(kind, match=code), translated_errors("a test"):
        raise client_error(code)


@pytest.mark.parametrize(
    "code", ["AccessDenied", "403", "SlowDown", "InternalError", "NoSuchBucket"]
)
def test_any_other_code_says_that_the_store_cannot_be_used(code):
    with pytest.raises(StorageUnavailable, match=code) as caught, translated_errors("a test"):
        raise client_error(code)
    assert "Signature" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ClientError)


def every_boto_error():
    for name, kind in vars(boto).items():
        if isinstance(kind, type) and issubclass(kind, boto.BotoCoreError | boto.HTTPClientError):
            yield name, kind


@pytest.mark.parametrize(("name", "kind"), list(every_boto_error()))
def test_no_error_of_boto_gets_through(name, kind):
    error = kind.__new__(kind)
    with pytest.raises(StorageUnavailable), translated_errors("a test"):
        raise error


def test_a_refused_look_is_not_an_absent_object(settings, store, disk, location):
    options = {**store.storage_options, "location": location, "secret_key": "wrong"}
    settings.STORAGES = {
        **settings.STORAGES,
        "s3": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options},
    }
    with pytest.raises(StorageUnavailable, match="403"):
        storage.get_backend("s3").stat("key")


# Credentials


def on_amazon(settings, backend="storages.backends.s3.S3Storage", **options):
    """A disk that is never asked: all that is looked at is how it signs."""
    settings.STORAGES = {
        **settings.STORAGES,
        "s3": {
            "BACKEND": backend,
            "OPTIONS": {"bucket_name": "backups", "region_name": "us-east-1", **options},
        },
    }
    return storage.get_backend("s3")


def test_credentials_that_are_late_are_found_without_a_restart(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    backend = on_amazon(settings)
    for _ in "12":
        with pytest.raises(StorageUnavailable, match="no credentials"):
            backend.presign_parts("k", "u", 1, HOUR)
    (error,) = backend.check_connection()
    assert error.id == "backups_remote.E103"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "LATE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (url,) = backend.presign_parts("k", "u", 1, HOUR)
    assert "X-Amz-Credential=LATE" in url


class AssumedRole(S3Storage):
    """Signs as a role that it takes on, not as OPTIONS say."""

    def _create_session(self):
        return boto3.Session(aws_access_key_id="ASSUMED", aws_secret_access_key="x")


def test_a_storage_classs_own_session_signs(settings):
    backend = on_amazon(settings, f"{__name__}.AssumedRole", access_key="OWN", secret_key="secret")
    (url,) = backend.presign_parts("k", "u", 1, HOUR)
    link = backend.download_url("k", version_id="", filename="f", lifespan=HOUR)
    for signed in (url, link):
        assert "X-Amz-Credential=ASSUMED" in signed


# Which backend serves which disk


def test_the_word_wings_is_the_nodes_own_disk():
    assert not storage.get_backend("wings").presigned_uploads


@pytest.mark.parametrize("disk", ["nowhere", "staticfiles"])
def test_a_disk_that_nobody_serves_is_not_configured(disk):
    with pytest.raises(DiskNotConfigured, match=disk):
        storage.get_backend(disk)


def test_backends_are_built_once_and_follow_the_settings(settings, disk):
    first = storage.get_backend(disk)
    assert storage.get_backend(disk) is first
    settings.STORAGES = dict(settings.STORAGES)
    assert storage.get_backend(disk) is not first


class OtherStorage:
    """A Django storage class of another project."""


class ChildOfOther(OtherStorage):
    """And one built on it."""


def test_a_registration_serves_a_storage_class_and_its_children(settings, monkeypatch):
    from backups_remote.storage import registry

    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    storage.register_backend(f"{__name__}.OtherStorage", "backups_remote.testing.MemoryBackend")
    settings.STORAGES = {
        **settings.STORAGES,
        "other": {"BACKEND": f"{__name__}.ChildOfOther"},
    }
    assert type(storage.get_backend("other")).__name__ == "MemoryBackend"
    assert "other" in storage.configured_disks()


def test_a_dotted_path_serves_a_disk(settings):
    settings.BACKUPS_REMOTE = {"BACKENDS": {"ram": "backups_remote.testing.MemoryBackend"}}
    assert repr(storage.get_backend("ram")) == "<MemoryBackend 'ram'>"


def test_a_fork_shares_no_client_with_its_parent(disk):
    before = storage.get_backend(disk)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"other" if storage.get_backend(disk) is not before else b"same")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 10) == b"other"
    os.close(reader)
    os.close(writer)
    assert storage.get_backend(disk) is before


def test_a_backend_shows_no_secret(backend, store):
    assert store.secret_key not in repr(backend)
    assert isinstance(backend, S3Backend)
