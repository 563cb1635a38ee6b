"""Credentials that arrive late, that a role gives, or that expire before the URLs they sign."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sys
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.exceptions import CredentialRetrievalError
from django.core import checks
from storages.backends.s3 import S3Storage

from backups_remote import storage
from backups_remote.exceptions import (
    StorageUnavailable,
)
from backups_remote.storage import forget_backends, get_backend
from backups_remote.storage.s3.checks import _warn_of_temporary_credentials
from tests.support.http import change_disk_options

pytestmark = pytest.mark.once

HOUR = dt.timedelta(hours=1)


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


def test_late_credentials_are_found_without_restart(settings, monkeypatch, tmp_path):
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


def test_session_of_the_storage_class_signs(settings):
    backend = on_amazon(settings, f"{__name__}.AssumedRole", access_key="OWN", secret_key="secret")
    (url,) = backend.presign_parts("k", "u", 1, HOUR)
    link = backend.download_url("k", version_id="", filename="f", lifespan=HOUR)
    for signed in (url, link):
        assert "X-Amz-Credential=ASSUMED" in signed


class SlowToStart(S3Storage):
    """Its credentials come from a service that fails at first."""

    faults = 0

    def _create_session(self):
        session = boto3.Session(aws_access_key_id="SLOW", aws_secret_access_key="x")
        credentials = session.get_credentials()
        frozen = credentials.get_frozen_credentials

        def get_frozen_credentials():
            if SlowToStart.faults:
                SlowToStart.faults -= 1
                raise CredentialRetrievalError(provider="a role", error_msg="try again")
            return frozen()

        credentials.get_frozen_credentials = get_frozen_credentials
        return session


@pytest.mark.parametrize("faults", [1, 2, 3])
def test_passing_fault_of_credentials_does_not_end_the_fast_signing(settings, faults):
    backend = on_amazon(settings, f"{__name__}.SlowToStart", access_key="OWN", secret_key="secret")
    SlowToStart.faults = faults
    with contextlib.suppress(StorageUnavailable):
        for _ in range(faults):
            backend.presign_parts("k", "u", 1, HOUR)
    SlowToStart.faults = 0
    (url,) = backend.presign_parts("k", "u", 1, HOUR)
    assert "X-Amz-Credential=SLOW" in url
    assert backend._built.target is not None


KEY, UPLOAD = "server/backup.tar.gz", "upload"


WEEK = dt.timedelta(days=7)


@pytest.fixture
def role(settings, disk, store, tmp_path, monkeypatch):
    """The disk's credentials come from a process that says when they end, in so many minutes."""

    def ending_in(minutes, *, token="session-token"):
        ends_at = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=minutes)
        given = {
            "Version": 1,
            "AccessKeyId": store.access_key,
            "SecretAccessKey": store.secret_key,
            "Expiration": ends_at.isoformat(),
            **({"SessionToken": token} if token else {}),
        }
        script = tmp_path / "credentials.py"
        script.write_text(f"print({json.dumps(given)!r})")
        config = tmp_path / "config"
        process = f"{sys.executable} {script}"
        config.write_text(f"[profile role]\ncredential_process = {process}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        change_disk_options(settings, access_key=None, secret_key=None, session_profile="role")
        forget_backends()
        return get_backend(disk)

    yield ending_in
    forget_backends()


def lives(url):
    """The life of a presigned URL, in seconds."""
    return int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0])


def test_urls_are_not_signed_for_longer_than_their_credentials_live(role):
    backend = role(90)
    for url in (
        *backend.presign_parts(KEY, UPLOAD, 2, WEEK),
        backend.download_url(KEY, version_id="", filename="f", lifespan=WEEK),
    ):
        assert 85 * 60 < lives(url) <= 90 * 60
    [short] = backend.presign_parts(KEY, UPLOAD, 1, dt.timedelta(hours=1))
    assert lives(short) == 3600


def test_permanent_credentials_do_not_shorten_url_lifespan(disk):
    [url] = get_backend(disk).presign_parts(KEY, UPLOAD, 1, WEEK)
    assert lives(url) == WEEK.total_seconds()


def test_w102_warns_of_temporary_credentials(role):
    # The store knows no sessions, so the bucket itself cannot be asked with these.
    backend = role(90)
    [warning] = _warn_of_temporary_credentials("s3", backend._built)
    assert isinstance(warning, checks.Warning)
    assert warning.id == "backups_remote.W102"
    assert "in 89 minutes" in warning.msg
    assert "session-token" not in str(warning)


def test_w102_permanent_credentials_pass(disk):
    assert get_backend(disk).check_connection() == []
