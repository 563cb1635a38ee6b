"""The checks that ask the store."""

from __future__ import annotations

import datetime as dt
import socket
import uuid

import pytest
from botocore.awsrequest import AWSResponse
from django.core import checks

from backups_remote import checks as ours
from backups_remote.storage import get_backend
from tests.support.disks import with_disk
from tests.support.http import change_disk_options

pytestmark = pytest.mark.once


def test_e103_a_store_that_does_not_answer_shows_under_deploy(settings, store):
    with_disk(settings, **{**store.storage_options, "endpoint_url": "http://127.0.0.1:1"})
    assert ours.check_disks(None) == []
    (error,) = ours.check_connections(None)
    assert error.id == "backups_remote.E103"
    assert store.secret_key not in error.msg


def test_reachable_store_passes_the_check(settings, disk):
    assert ours.check_connections(None) == []


def w103(settings, **ours_set):
    settings.BACKUPS_REMOTE = {"DEFAULT_DISK": "s3", **ours_set}
    return [m for m in ours.check_connections(None) if m.id == "backups_remote.W103"]


@pytest.mark.parametrize(
    ("set_so", "hours"),
    [
        ({}, 7 * 24 + 6),
        ({"URL_LIFESPAN": dt.timedelta(hours=18)}, None),
        ({"URL_LIFESPAN": dt.timedelta(hours=19)}, 25),
        ({"URL_LIFESPAN": 3600, "STALE_AFTER": dt.timedelta(hours=24)}, 25),
    ],
)
def test_w103_known_store_drops_uploads_early(settings, disk, set_so, hours):
    """MinIO by its Server header; how long it keeps an upload is in storage.differences."""

    def answer(request, **_):
        body = type("Body", (), {"stream": lambda *_, **__: iter([b""])})()
        return AWSResponse(request.url, 200, {"Server": "MinIO"}, body)

    settings.BACKUPS_REMOTE = {"DEFAULT_DISK": "s3", **set_so}
    get_backend("s3")._client.meta.events.register("before-send.s3.HeadBucket", answer)
    found = [m for m in ours.check_connections(None) if m.id == "backups_remote.W103"]
    assert len(found) == (hours is not None)
    assert all("24 hours" in m.msg and f"{hours} hours" in m.msg for m in found)


def test_w103_lifecycle_rule_drops_uploads_early(settings, store, s3, disk):
    def rule(days, status="Enabled"):
        return {
            "ID": f"r{days}{status}",
            "Status": status,
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days},
        }

    bucket = f"rules-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    change_disk_options(settings, bucket_name=bucket)
    early = {"STALE_AFTER": dt.timedelta(days=2), "URL_LIFESPAN": dt.timedelta(days=5)}
    for rules, found in (([rule(7)], 0), ([rule(7), rule(1)], 1), ([rule(1, "Disabled")], 0)):
        s3.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": rules}
        )
        assert len(w103(settings, **early)) == found, rules
    # URLs live for up to seven days, and the upload is left alone for six hours more.
    for days, found in ((7, 1), (8, 0)):
        s3.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": [rule(days)]}
        )
        assert len(w103(settings)) == found


def test_a_plain_check_touches_no_network(settings, monkeypatch, disk):
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    checks.run_checks(databases=[])
