"""Presigning in bulk gives what botocore gives, URL by URL."""

import datetime as dt
import functools
from urllib.parse import parse_qs, parse_qsl, urlsplit

import boto3
import hypothesis
import pytest
from botocore.config import Config
from django.core.files.storage import storages
from hypothesis import example, given
from hypothesis import strategies as st

from backups_remote.storage.s3 import S3Backend
from backups_remote.storage.s3.presign import SigningKey, presign_part_urls
from tests.conftest import S3_BACKEND

pytestmark = pytest.mark.once

KEYS = {"access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
ACCESS_POINT = "arn:aws:s3:eu-west-1:123456789012:accesspoint/backups"

#: Every way of reaching a bucket that differs in host, path, region or credentials.
DISKS = {
    "aws, no region": {},
    "aws, virtual host": {"region_name": "eu-central-1", "addressing_style": "virtual"},
    "aws, path": {"region_name": "ap-southeast-2", "addressing_style": "path"},
    "aws, dotted bucket": {"region_name": "eu-central-1", "bucket_name": "my.backups.example"},
    "aws, session token": {"region_name": "eu-west-1", "security_token": "FwoG/Zx+IvYX=="},
    "own, path, port": {
        "endpoint_url": "http://127.0.0.1:8333",
        "region_name": "us-east-1",
        "addressing_style": "path",
    },
    "own, virtual host, port": {
        "endpoint_url": "http://store.example:9000",
        "region_name": "garage",
        "addressing_style": "virtual",
    },
    "own, default port said": {
        "endpoint_url": "https://store.example:443",
        "region_name": "auto",
        "addressing_style": "path",
    },
    "own, below a path": {
        "endpoint_url": "https://example.com/s3/",
        "region_name": "fr-par",
        "addressing_style": "path",
    },
    "accelerated": {
        "region_name": "us-west-2",
        "client_config": Config(s3={"use_accelerate_endpoint": True}),
    },
    "dual stack": {
        "region_name": "us-west-2",
        "client_config": Config(s3={"use_dualstack_endpoint": True}),
    },
    "access point": {"region_name": "eu-west-1", "bucket_name": ACCESS_POINT},
}

#: What an upload id or a key may hold; lone surrogates cannot be encoded at all.
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)


def make_backend(settings, **options):
    settings.STORAGES = {
        **settings.STORAGES,
        "s3": {"BACKEND": S3_BACKEND, "OPTIONS": {"bucket_name": "backups", **KEYS, **options}},
    }
    return S3Backend("s3")


@pytest.fixture(params=DISKS)
def backend(request, settings):
    return make_backend(settings, **DISKS[request.param])


def as_parameters(url):
    start, _, query = url.partition("?")
    return start, sorted(query.split("&"))


def test_urls_equal_those_of_botocore(backend):
    clients = backend._built
    bucket = backend._storage.bucket_name
    assert clients.target is not None, "the fast path covers all of these"

    # How long 300 URLs take says nothing here, least of all on a busy machine.
    @hypothesis.settings(deadline=None)
    @given(
        key=texts.map(lambda text: text.lstrip("/") or "key"),
        upload_id=texts,
        number=st.integers(1, 300),
        expires=st.integers(1, 604_800),
    )
    @example(key="key", upload_id="upload", number=10_000, expires=3600)
    def compare(key, upload_id, number, expires):
        theirs = clients.botocore_url(bucket, key, upload_id, number, expires)
        date = dict(parse_qsl(urlsplit(theirs).query))["X-Amz-Date"]
        ours = presign_part_urls(
            clients.target,
            clients.signing_key(),
            key=key,
            upload_id=upload_id,
            count=number,
            expires=expires,
            now=dt.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC),
        )
        assert len(ours) == number
        assert as_parameters(ours[-1]) == as_parameters(theirs)

    compare()


def test_urls_sign_only_the_host_and_carry_no_checksum(backend):
    for url in backend.presign_parts("k", "u", 3, dt.timedelta(hours=2)):
        query = parse_qs(urlsplit(url).query)
        assert query["X-Amz-SignedHeaders"] == ["host"]
        assert query["X-Amz-Expires"] == ["7200"]
        assert not [name for name in query if "checksum" in name.lower()]


def test_unsupported_signing_falls_back_to_botocore(settings, monkeypatch):
    """A resolver or signer of the project's own: here one that adds a parameter to sign."""
    real_client = boto3.Session.client

    def client(self, *args, **kwargs):
        made = real_client(self, *args, **kwargs)
        made.meta.events.register(
            "before-sign.s3.UploadPart", lambda request, **_: request.params.update(tenant="a")
        )
        return made

    monkeypatch.setattr(boto3.Session, "client", client)
    backend = make_backend(settings, region_name="eu-central-1")
    urls = backend.presign_parts("key", "upload", 3, dt.timedelta(hours=1))
    assert backend._built.target is None
    assert [parse_qs(urlsplit(url).query)["partNumber"] for url in urls] == [["1"], ["2"], ["3"]]
    assert all("tenant=a" in url and "X-Amz-Signature=" in url for url in urls)


def test_renewed_credentials_sign_the_next_urls(settings):
    backend = make_backend(settings, region_name="eu-west-1")
    sign = functools.partial(backend.presign_parts, "key", "upload", 1, dt.timedelta(hours=1))
    assert "AKIDEXAMPLE" in sign()[0]
    backend._built._credentials.access_key = "AKIDRENEWED"
    assert "AKIDRENEWED" in sign()[0]


def test_no_secret_is_in_a_repr():
    shown = repr(SigningKey("access", "hush", "token"))
    assert "hush" not in shown
    assert "token" not in shown.replace("session_token", "")
    assert "access'" not in shown


def test_one_client_serves_all_threads(settings):
    from concurrent.futures import ThreadPoolExecutor

    backend = make_backend(settings, region_name="eu-west-1")
    with ThreadPoolExecutor(8) as pool:
        clients = list(pool.map(lambda _: backend._client, range(64)))
    assert len(set(map(id, clients))) == 1
    assert storages["s3"] is backend._storage
