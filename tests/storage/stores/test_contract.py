"""The contract of all backends: on the store under test, and in memory."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import asdict
from functools import partial

import pytest

from backups_remote import storage
from backups_remote.exceptions import StorageError, UploadNotFound
from backups_remote.testing import MemoryBackend
from backups_remote.testing.contract import Answer, Limit, StoreContract, scenarios
from panel_site.seaweedfs import running_store
from tests.conftest import S3_BACKEND
from tests.storage.stores import ceph
from tests.storage.stores.conftest import KIND, NAME
from tests.storage.stores.processes import Processes, StoreOnDisk, StoreWithLimit
from tests.support.proxy import Fault, Proxy

pytestmark = pytest.mark.once


class S3Contract(StoreContract):
    """On whatever ``store`` is."""

    @pytest.fixture
    def backend(self, disk, store, settings, s3):
        self.store, self.settings, self.s3 = store, settings, s3
        return storage.get_backend(disk)

    @contextlib.contextmanager
    def losing_the_answer_to_complete(self, backend):
        options = self.settings.STORAGES["s3"]["OPTIONS"]
        with Proxy(options["endpoint_url"]) as proxy:
            losing = self.disk("losing", **self.permissions_of(backend), endpoint_url=proxy.url)
            with proxy.going_wrong(Fault("complete", answer="drop")) as fault:
                yield losing
            assert fault.hits == 1

    def permissions_of(self, backend):
        """The options that the access key of ``backend`` needs."""
        return {}

    def at_location(self, backend, location):
        return self.disk(f"at {location}", location=location)

    def keeping_versions(self, backend):
        bucket = f"versions-{uuid.uuid4().hex[:8]}"
        self.s3.create_bucket(Bucket=bucket)
        self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        return self.disk("versions", bucket_name=bucket)

    def without_permission(self, backend):
        return [
            self.disk("wrong", secret_key="wrong"),
            self.disk("unknown", access_key="unknown"),
        ]

    def without_room(self, backend):
        if isinstance(self.store, StoreOnDisk) and self.store.disk is None:
            pytest.skip("this machine mounts no disk of a store's own")
        if not isinstance(self.store, StoreWithLimit):
            raise NotImplementedError("cannot be made full")
        return self.store.filled()

    def disk(self, alias, **options):
        default = self.settings.STORAGES["s3"]["OPTIONS"]
        self.settings.STORAGES = {
            **self.settings.STORAGES,
            alias: {"BACKEND": S3_BACKEND, "OPTIONS": {**default, **options}},
        }
        return storage.get_backend(alias)


class TestStore(S3Contract):
    limits = KIND.limits


# The store of the session has no disk of its own: the test below starts another one.
if NAME == "seaweedfs":
    TestStore.test_without_room_nothing_is_called_whole = None

    class TestStoreOnASmallDisk(S3Contract):
        @pytest.fixture
        def store(self):
            with Processes("seaweedfs-small") as processes:
                disk = processes.mount("disk", 256 * 1024**2)
                with running_store(within=disk) as running:
                    yield StoreOnDisk(**asdict(running.address), disk=disk)

        @pytest.fixture
        def s3(self, store):
            with contextlib.closing(store.client()) as client:
                # Without a volume of the bucket it looks for room for half a minute.
                client.put_object(Bucket=store.bucket, Key="first", Body=b"x")
                yield client

    for _name in set(scenarios()) - {"without_room_nothing_is_called_whole"}:
        setattr(TestStoreOnASmallDisk, f"test_{_name}", None)


# The one store here that knows Amazon's bucket policies.
if NAME == "ceph":

    class TestStoreWithFewPermissions(S3Contract):
        """The key of docs/stores.md, which may do what the panel needs and no more."""

        limits = KIND.limits

        @pytest.fixture
        def backend(self, disk, store, settings, s3):
            self.store, self.settings, self.s3 = store, settings, s3
            return self.few_permissions(store.bucket)

        def permissions_of(self, backend):
            return ceph.FEW_PERMISSIONS

        def keeping_versions(self, backend):
            bucket = super().keeping_versions(backend)._bucket
            return self.few_permissions(bucket)

        def at_location(self, backend, location):
            return self.few_permissions(self.store.bucket, location=location)

        def few_permissions(self, bucket, *, without="", **options):
            keys = ceph.allow_few_permissions(self.s3, bucket, without=without)
            return self.disk(f"few permissions {options}", bucket_name=bucket, **keys, **options)

    @pytest.mark.parametrize("permission", [*ceph.ON_OBJECTS, *ceph.ON_BUCKET])
    def test_missing_permission_is_noticed(disk, store, settings, s3, permission):
        contract = TestStoreWithFewPermissions()
        contract.store, contract.settings, contract.s3 = store, settings, s3
        contract.few_permissions = partial(contract.few_permissions, without=permission)
        broken = []
        for scenario in (
            *("parts_become_an_object", "what_is_gone_counts_as_aborted"),
            *("open_uploads_are_listed", "what_is_deleted_is_gone_and_gone_counts_as_deleted"),
            "a_version_is_looked_at_and_deleted_by_itself",
        ):
            try:
                getattr(contract, f"test_{scenario}")(contract.few_permissions(store.bucket))
            except StorageError:
                broken.append(scenario)
        assert bool(broken) == (permission not in ceph.NOT_CHECKED)

    def test_without_permission_to_list_uploads_the_parts_are_listed(disk, store, settings, s3):
        contract = TestStoreWithFewPermissions()
        contract.store, contract.settings, contract.s3 = store, settings, s3
        backend = contract.few_permissions(store.bucket, without="s3:ListBucketMultipartUploads")
        key = backend.object_key(uuid.uuid4(), uuid.uuid4())
        upload_id = backend.create_upload(key, "mark")
        assert backend.upload_exists(key, upload_id)
        backend.abort_upload(key, upload_id)
        assert not backend.upload_exists(key, upload_id)
        with pytest.raises(StorageError, match="AccessDenied"):
            backend.open_uploads_of(key)


class MemoryContract(StoreContract):
    part_size = 8

    @pytest.fixture
    def backend(self):
        MemoryBackend.clear()
        yield MemoryBackend("memory")
        MemoryBackend.clear()

    def put(self, url, body):
        try:
            return Answer(200, {"etag": MemoryBackend.put_part(url, body)})
        except UploadNotFound:
            return Answer(404)
        except StorageError:
            return Answer(501)

    def get(self, link):
        try:
            return Answer(200, {"content-type": "application/gzip"}, MemoryBackend.fetch(link))
        except StorageError:
            return Answer(409)

    @contextlib.contextmanager
    def losing_the_answer_to_complete(self, backend):
        MemoryBackend.time_out("complete_upload", outcome="done")
        yield backend

    def complete_and_abort(self, backend, key, upload_id, etags):
        MemoryBackend.abort_beside_complete(upload_id)
        backend.complete_upload(key, upload_id, etags)

    def keeping_versions(self, backend):
        MemoryBackend.keeps_versions = True
        return backend


class TestMemory(MemoryContract):
    limits = {
        "a_url_is_good_for_its_part_alone": Limit("does not name its part", "it signs nothing"),
        "a_url_expires": Limit("expired URL was answered 200", "it signs nothing"),
        "a_link_names_the_file": Limit("content disposition is none", "its links are no HTTP"),
        "a_location_is_any_text_and_keeps_to_itself": Limit("no key prefixes"),
        "without_permission_nothing_is_gone": Limit("no permissions"),
        "without_room_nothing_is_called_whole": Limit("cannot be made full"),
        "parts_below_the_least_size_are_rejected": Limit("DID NOT RAISE", "it takes any size"),
    }
