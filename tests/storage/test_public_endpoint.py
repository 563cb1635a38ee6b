"""A store that nodes reach under another address than the panel."""

from __future__ import annotations

import hashlib
import os
from urllib.parse import urlsplit

import pytest
import requests

from backups_remote import lifecycle
from backups_remote.storage import get_backend
from backups_remote.types import Report, ReportedPart
from tests.support.disks import with_disk
from tests.support.factories import BackupFactory

pytestmark = pytest.mark.django_db

ARCHIVE = b"archive"


@pytest.fixture
def public(settings, disk, store):
    """The store's address for nodes: another host name than the panel's."""
    address = urlsplit(store.endpoint)
    assert address.hostname == "127.0.0.1"
    url = f"http://localhost:{address.port}"
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "PUBLIC_ENDPOINTS": {"s3": url}}
    return url


@pytest.mark.parametrize("botocore_signs", [False, True])
def test_nodes_are_given_the_public_address(public, disk, botocore_signs, monkeypatch):
    backup = BackupFactory(disk=disk)
    clients = get_backend(disk)._built
    assert clients.target is not None
    if botocore_signs:
        monkeypatch.setattr(clients, "_target", None)
    ticket = lifecycle.request_upload(backup, len(ARCHIVE))
    assert ticket.urls[0].startswith(f"{public}/")
    answer = requests.put(ticket.urls[0], data=ARCHIVE, timeout=30)
    assert answer.status_code == 200, answer.text
    report = Report(
        successful=True,
        checksum=f"sha1:{hashlib.sha1(ARCHIVE).hexdigest()}",
        size=len(ARCHIVE),
        parts=(ReportedPart(1, answer.headers["ETag"]),),
    )
    lifecycle.record_report(backup, report)
    link = lifecycle.download_link(backup)
    assert link.startswith(f"{public}/")
    assert requests.get(link, timeout=30).content == ARCHIVE


def test_panel_keeps_to_its_own_address(public, disk, settings):
    settings.BACKUPS_REMOTE = {
        **settings.BACKUPS_REMOTE,
        "PUBLIC_ENDPOINTS": {"s3": "https://s3.node.invalid"},
    }
    backup = BackupFactory(disk=disk)
    ticket = lifecycle.request_upload(backup, len(ARCHIVE))
    assert ticket.urls[0].startswith("https://s3.node.invalid/")
    assert get_backend(disk).upload_exists(backup.object_key, backup.upload_id)


def test_virtual_addressing_puts_the_bucket_before_the_public_host(settings, store):
    settings.STORAGES = {
        **settings.STORAGES,
        "s3": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {**store.storage_options, "addressing_style": "virtual"},
        },
    }
    settings.BACKUPS_REMOTE = {"PUBLIC_ENDPOINTS": {"s3": "https://s3.example.com"}}
    target = get_backend("s3")._built.target
    assert target.base_url == f"https://{store.bucket}.s3.example.com"


@pytest.mark.parametrize(
    ("endpoints", "host"),
    [({}, "127.0.0.1"), ({"s3": "https://s3.example.com"}, "s3.example.com")],
)
def test_host_for_nodes_is_that_of_their_urls(settings, disk, endpoints, host):
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "PUBLIC_ENDPOINTS": endpoints}
    assert get_backend(disk).host_for_nodes() == host


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_host_for_nodes_may_come_from_boto3(settings, monkeypatch, variable):
    options = {"bucket_name": "b", "access_key": "k", "secret_key": "s", "region_name": "eu-west-1"}
    with_disk(settings, **options)
    assert get_backend("s3").host_for_nodes() == "s3.eu-west-1.amazonaws.com"
    monkeypatch.setenv(variable, "http://10.0.0.7:9000")
    assert get_backend("s3").host_for_nodes() == "s3.eu-west-1.amazonaws.com"
    with_disk(settings, **options)
    assert get_backend("s3").host_for_nodes() == "10.0.0.7"
    with_disk(settings, bucket_name="b")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    assert get_backend("s3").host_for_nodes() is None  # no credentials


@pytest.mark.parametrize(("host", "warned"), [("10.0.0.1", True), ("s3.example.com", False)])
def test_w003_warns_of_an_internal_address(settings, disk, host, warned):
    from django.core import checks

    settings.BACKUPS_REMOTE = {
        **settings.BACKUPS_REMOTE,
        "PUBLIC_ENDPOINTS": {"s3": f"http://{host}:9000"},
    }
    found = {m.id for m in checks.run_checks(include_deployment_checks=True, databases=[])}
    assert ("backups_remote.W003" in found) is warned
    assert "backups_remote.W003" not in {m.id for m in checks.run_checks(databases=[])}
