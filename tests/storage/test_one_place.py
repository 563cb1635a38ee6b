"""A disk is in one place: its bucket and its location are read once, and nothing else is served."""

from __future__ import annotations

import functools
from contextvars import ContextVar

import pytest
from storages.backends.s3 import S3Storage

from backups_remote import checks as ours
from backups_remote import lifecycle
from backups_remote.exceptions import DiskNotConfigured
from backups_remote.models import Backup
from backups_remote.storage import get_backend
from tests.support.disks import new_bucket, with_disk
from tests.support.factories import BackupFactory

pytestmark = pytest.mark.django_db

TENANT = ContextVar("tenant", default="a")


class LocationPerTenant(S3Storage):
    """Archives of each tenant under a prefix of its own."""

    base = ""

    @property
    def location(self):
        return f"{self.base}/{TENANT.get()}"


class BucketPerTenant(S3Storage):
    """Archives of each tenant in a bucket of its own."""

    buckets: dict

    @property
    def bucket_name(self):
        return self.buckets[TENANT.get()]


class NowhereWithoutTenant(S3Storage):
    """What a tenant's storage may do outside of a request."""

    @property
    def location(self):
        raise LookupError("no tenant")


class SetOncePerProcess(S3Storage):
    """A location that is computed once stays what it is."""

    @functools.cached_property
    def location(self):
        return "computed"


@pytest.fixture
def serve(settings, store):
    def serve(storage_class, **options):
        options = {**store.storage_options, **options}
        if storage_class is BucketPerTenant:
            del options["bucket_name"]
        with_disk(settings, f"{__name__}.{storage_class.__qualname__}", **options)
        return get_backend("s3")

    return serve


@pytest.fixture
def as_tenant():
    tokens = []
    yield lambda name: tokens.append(TENANT.set(name))
    for token in reversed(tokens):
        TENANT.reset(token)


@pytest.fixture
def in_two_places(request, serve, s3, monkeypatch, location):
    if request.param is LocationPerTenant:
        monkeypatch.setattr(LocationPerTenant, "base", location)
    else:
        buckets = {"a": new_bucket(s3), "b": new_bucket(s3)}
        monkeypatch.setattr(BucketPerTenant, "buckets", buckets, raising=False)
    serve(request.param)
    return request.param


def open_uploads(backend):
    return [upload.upload_id for upload in backend.open_uploads()]


@pytest.mark.parametrize("in_two_places", [LocationPerTenant, BucketPerTenant], indirect=True)
def test_archive_of_one_tenant_is_never_put_beside_anothers(in_two_places, as_tenant, server):
    first = BackupFactory(server=server, disk="s3")
    lifecycle.request_upload(first, 10)
    as_tenant("b")
    second = BackupFactory(server=server, disk="s3")
    for backup in (first, second):
        with pytest.raises(DiskNotConfigured, match=r"(location|bucket_name) changed"):
            lifecycle.request_upload(backup, 10)
    (said,) = [o for o in lifecycle.sweep() if o.subject == "s3"]
    assert said.action == "error"
    as_tenant("a")
    assert open_uploads(get_backend("s3")) == [first.upload_id]
    assert Backup.objects.get(pk=second.pk).upload_id == ""


@pytest.mark.parametrize(
    ("in_two_places", "name"),
    [(LocationPerTenant, "location"), (BucketPerTenant, "bucket_name")],
    indirect=["in_two_places"],
)
def test_e104_storage_class_that_computes_its_place(in_two_places, name):
    (error,) = [m for m in ours.check_disks(None) if m.id == "backups_remote.E104"]
    assert name in error.msg
    assert "alias for each place" in error.hint


def test_class_without_a_known_place_is_not_configured(settings, store, daemon, server):
    with_disk(settings, f"{__name__}.{NowhereWithoutTenant.__qualname__}", **store.storage_options)
    backup = BackupFactory(server=server, disk="s3")
    assert daemon.ask(backup, 10).status_code == 503
    assert {o.action for o in lifecycle.sweep()} == {"error"}
    assert "cannot be set up" in str([m.msg for m in ours.check_disks(None)])


def test_location_that_is_computed_once_is_served(serve, server):
    serve(SetOncePerProcess)
    assert [m for m in ours.check_disks(None) if m.id == "backups_remote.E104"] == []
    backup = BackupFactory(server=server, disk="s3")
    lifecycle.request_upload(backup, 10)
    assert backup.object_key.startswith("computed/")


@pytest.mark.parametrize("name", ["location", "bucket_name", "endpoint_url", "region_name"])
def test_attribute_that_is_set_later_is_refused(serve, location, name):
    backend = serve(S3Storage, location=location)
    setattr(backend._storage, name, "another")
    with pytest.raises(DiskNotConfigured, match=name):
        open_uploads(backend)
