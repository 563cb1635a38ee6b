"""The S3 backend against a real store."""

from __future__ import annotations

import datetime as dt
import os
import time
import uuid

import pytest
import requests
from botocore.awsrequest import AWSResponse

from backups_remote import storage
from backups_remote.exceptions import (
    StorageUnavailable,
    UploadNotFound,
    UploadRejected,
)
from backups_remote.storage.s3 import S3Backend
from backups_remote.storage.s3.parameters import object_parameters
from backups_remote.types import ArchiveKey
from tests.support.disks import new_bucket, with_disk
from tests.support.http import change_disk_options
from tests.support.proxy import Fault, Proxy

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


def test_completed_object_has_mark_size_and_etag(backend, key):
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


def test_link_sets_content_type_and_filename(backend, key):
    upload_id = backend.create_upload(key, "m")
    put_parts(backend, key, upload_id, b"archive")
    backend.complete_upload(key, upload_id, [p.etag for p in backend.list_parts(key, upload_id)])
    link = backend.download_url(key, version_id="", filename="a.tar.gz", lifespan=HOUR)
    answer = requests.get(link, timeout=30)
    assert answer.content == b"archive"
    assert answer.headers["Content-Type"] == "application/x-gzip"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="a.tar.gz"'


def test_link_overrides_the_content_type_of_the_object(backend, key, s3, store):
    """As after a copy of the bucket that lost it. Daemons unpack nothing else."""
    s3.put_object(Bucket=store.bucket, Key=key, Body=b"archive", ContentType="text/plain")
    link = backend.download_url(key, version_id="", filename="a.tar.gz", lifespan=HOUR)
    assert requests.get(link, timeout=30).headers["Content-Type"] == "application/x-gzip"


def test_url_is_valid_for_its_part_and_expires(backend, key):
    upload_id = backend.create_upload(key, "m")
    (url,) = backend.presign_parts(key, upload_id, 1, dt.timedelta(seconds=1))
    tampered = url.replace("partNumber=1", "partNumber=2")
    assert requests.put(tampered, data=b"x", timeout=30).status_code == 403
    assert requests.put(url[:-1] + ("0" if url[-1] != "0" else "1"), timeout=30).status_code == 403
    time.sleep(2.1)
    assert requests.put(url, data=b"x", timeout=30).status_code == 403


def test_wrong_parts_are_rejected(backend, key):
    upload_id = backend.create_upload(key, "m")
    put_parts(backend, key, upload_id, b"x")
    with pytest.raises(UploadRejected, match="InvalidPart"):
        backend.complete_upload(key, upload_id, ['"00000000000000000000000000000000"'])
    assert len(backend.list_parts(key, upload_id)) == 1


def test_missing_upload_counts_as_aborted(backend, key):
    upload_id = backend.create_upload(key, "m")
    backend.abort_upload(key, upload_id)
    backend.abort_upload(key, upload_id)
    with pytest.raises(UploadNotFound):
        backend.list_parts(key, upload_id)


def test_missing_object_counts_as_deleted(backend, key):
    backend.delete(key, version_id="")
    backend.delete(key, version_id="")


def test_404_of_a_proxy_is_not_a_missing_object(backend, key):
    """A proxy that has lost its way to the store answers 404 to anything."""

    def answer(request, **_):
        body = Body(b"default backend - 404")
        return AWSResponse(request.url, 404, {"Content-Type": "text/plain"}, body)

    backend._client.meta.events.register("before-send.s3.DeleteObject", answer)
    for version_id in ("", "v1"):
        with pytest.raises(StorageUnavailable, match="404"):
            backend.delete(key, version_id=version_id)


@pytest.mark.parametrize("version_id", ["", "v1"])
def test_404_to_stat_is_confirmed_before_object_counts_as_missing(
    store, disk, settings, s3, location, version_id
):
    """A HEAD's 404 has no code: of an unknown access key, say, or a proxy that has lost its way."""
    with Proxy(store.endpoint) as proxy:
        change_disk_options(settings, endpoint_url=proxy.url)
        backend = storage.get_backend("s3")
        absent = Fault("head", forward=False, answer=(404, "NoSuchKey"), times=9)
        for code in ("XAdminUserNotFound", "NoSuchBucket", "default backend"):
            asked = Fault("get", forward=False, answer=(404, code))
            with (
                proxy.going_wrong(absent, asked),
                pytest.raises(StorageUnavailable, match=code.partition(" ")[0]),
            ):
                backend.stat(f"{location}/k", version_id=version_id)
        assert absent.hits == 3


def test_object_that_appears_during_stat_is_found(store, disk, settings, s3, location):
    s3.put_object(Bucket=store.bucket, Key=f"{location}/k", Body=b"12345")
    with Proxy(store.endpoint) as proxy:
        change_disk_options(settings, endpoint_url=proxy.url)
        with proxy.going_wrong(Fault("head", forward=False, answer=(404, "NoSuchKey"))):
            assert storage.get_backend("s3").stat(f"{location}/k").size == 5


@pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchVersion"])
def test_error_code_of_missing_object_means_missing(store, disk, settings, code):
    with Proxy(store.endpoint) as proxy:
        change_disk_options(settings, endpoint_url=proxy.url)
        with proxy.going_wrong(Fault("delete", forward=False, answer=(404, code))) as fault:
            storage.get_backend(disk).delete("k", version_id="")
        assert fault.hits == 1


@pytest.fixture
def versioned(settings, store, s3):
    """A backend on a bucket that keeps versions, and the bucket."""
    bucket = new_bucket(s3, versioned=True)
    with_disk(settings, **{**store.storage_options, "bucket_name": bucket})
    return storage.get_backend("s3"), bucket


def test_delete_removes_the_given_version(versioned, s3):
    backend, bucket = versioned
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


def test_stat_reads_the_given_version(versioned, s3):
    backend, bucket = versioned
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
def test_object_in_cold_storage_is_not_readable(backend, key, headers, is_readable):
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
def test_keys_of_other_layout_are_not_recognised(backend, location, foreign):
    assert backend.parse_key(foreign.format(uuid.uuid4()).replace("L/", f"{location}/")) is None


def test_open_uploads_lists_all_of_the_prefix_only(backend, s3, store, location):
    ids = {backend.create_upload(backend.object_key(uuid.uuid4(), uuid.uuid4()), "m") for _ in "12"}
    other = f"{location}-other/k"
    s3.create_multipart_upload(Bucket=store.bucket, Key=other)
    assert {upload.upload_id for upload in backend.open_uploads()} == ids


@pytest.mark.parametrize("answer", ["empty", "cut"])
def test_invalid_listing_is_an_error(store, disk, settings, key, answer):
    with Proxy(store.endpoint) as proxy:
        change_disk_options(settings, endpoint_url=proxy.url)
        through = storage.get_backend("s3")
        upload_id = through.create_upload(key, "m")
        with (
            proxy.going_wrong(Fault("list_uploads", answer=answer, times=9)),
            pytest.raises(StorageUnavailable),
        ):
            through.upload_exists(key, upload_id)


def test_all_pages_of_lists_are_read(backend, key):
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
    sent = object_parameters(backend._storage, backend._client, "key", "the mark")
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


def test_refused_stat_is_not_a_missing_object(settings, store, disk, location):
    options = {**store.storage_options, "location": location, "secret_key": "wrong"}
    settings.STORAGES = {
        **settings.STORAGES,
        "s3": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options},
    }
    with pytest.raises(StorageUnavailable, match="403"):
        storage.get_backend("s3").stat("key")


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
