"""Every option of S3Storage is honoured, refused or named: offline, before a node finds out."""

from __future__ import annotations

import socket

import pytest
from botocore.config import Config
from django.core import checks
from storages.backends.s3 import S3Storage

from backups_remote import checks as ours
from backups_remote.daemon.config import host_to_allow
from backups_remote.storage import get_backend
from backups_remote.storage.s3 import clients
from backups_remote.storage.s3.options import why_no_location

OPTIONS = {
    "bucket_name": "backups",
    "region_name": "eu-central-1",
    "access_key": "key",
    "secret_key": "the secret",
}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def found(settings):
    """What the checks say of a disk with these options."""

    def check(backend="storages.backends.s3.S3Storage", **options):
        settings.BACKUPS_REMOTE = {"DEFAULT_DISK": "s3"}
        storage = {"BACKEND": backend, "OPTIONS": {**OPTIONS, **options}}
        settings.STORAGES = {**settings.STORAGES, "s3": storage}
        messages = [m for m in checks.run_checks(databases=[]) if m.id.startswith("backups_remote")]
        assert all(message.hint for message in messages)
        assert not any("the secret" in f"{message.msg}{message.hint}" for message in messages)
        if any(message.is_serious() for message in messages):
            # Neither fails, nor says it again, nor asks the store.
            assert ours.check_internal_addresses(None) == ours.check_connections(None) == []
            assert host_to_allow("s3") == ""
        return messages

    return check


def one(messages, number):
    [message] = messages
    assert message.id == f"backups_remote.{number}"
    assert message.level == (checks.ERROR if number.startswith("E") else checks.WARNING)
    return message.msg


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"location": "panel/backups"},
        {"location": "backups/"},
        {"endpoint_url": "https://s3.example.com:9000"},
        {"addressing_style": "path", "signature_version": "s3v4"},
        {"object_parameters": {"ServerSideEncryption": "AES256"}},
        {"object_parameters": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"}},
        {
            "object_parameters": {
                "StorageClass": "GLACIER_IR",
                "Tagging": "a=b",
                "CacheControl": "x",
            }
        },
        {"object_parameters": {"Metadata": {"project": "x"}, "ACL": "private"}},
        {"default_acl": "bucket-owner-full-control"},
        {"client_config": Config(read_timeout=30, use_dualstack_endpoint=True)},
        {"client_config": Config(s3={"addressing_style": "virtual"})},
        {"verify": True},
        {"use_ssl": False, "endpoint_url": "http://127.0.0.1:8333"},
        {"bucket_name": "arn:aws:s3:eu-central-1:123456789012:accesspoint/panel"},
    ],
)
def test_what_works_passes(found, options):
    assert found(**options) == []


class ByTenant(S3Storage):
    def get_object_parameters(self, name):
        return {**super().get_object_parameters(name), "SSECustomerKey": "k" * 32}


class Failing(S3Storage):
    def get_object_parameters(self, name):
        raise LookupError("the secret")


class Nothing(S3Storage):
    def get_object_parameters(self, name):
        return None


def test_e102_a_customers_key_of_a_subclass(found):
    assert "SSE-C" in one(found(f"{__name__}.ByTenant"), "E102")
    assert "SSE-C" in one(
        found(object_parameters={"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "the secret"}),
        "E102",
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {"ObjectLockMode": "COMPLIANCE"},
        {"ObjectLockLegalHoldStatus": "ON"},
        {"ObjectLockRetainUntilDate": "2030-01-01T00:00:00Z"},
        {"RequestPayer": "requester"},
        {"ExpectedBucketOwner": "123456789012"},
    ],
)
def test_e105_a_header_that_nodes_do_not_send(found, parameters):
    [name] = parameters
    assert f"sets {name}" in one(found(object_parameters=parameters), "E105")


@pytest.mark.parametrize(
    "bucket",
    [
        "backups--euc1-az1--x-s3",
        "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap",
    ],
)
def test_e106_a_bucket_that_urls_cannot_upload_to(found, bucket):
    assert "backups_remote.E106" in [message.id for message in found(bucket_name=bucket)]


def test_e107_unknown_object_parameters(found):
    message = one(found(object_parameters={"ServerSideEncrypton": "AES256", "Y": 1}), "E107")
    assert "ServerSideEncrypton, Y" in message


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"object_parameters": None}, "object_parameters is None, not dict."),
        ({"object_parameters": {"Metadata": None}}, "Metadata is None, not dict."),
        (
            {"object_parameters": {"Metadata": {"a": 1}}},
            "Metadata has names or values that are not str.",
        ),
        (
            {"object_parameters": {"Metadata": {"a": "ü"}}},
            "Non ascii characters found in S3 metadata",
        ),
        ({"object_parameters": {"Tagging": {"a": "b"}}}, "Invalid type for parameter Tagging"),
        ({"client_config": {"read_timeout": 30}}, "client_config is of type dict, not Config."),
        ({"access_key": b"key"}, "access_key is of type bytes, not str."),
        ({"secret_key": b"the secret"}, "secret_key is of type bytes, not str."),
        ({"endpoint_url": "s3.example.com"}, "Invalid endpoint: s3.example.com"),
        ({"endpoint_url": "https://key:the secret@s3.example.com"}, "has credentials in it"),
        ({"endpoint_url": 7}, "endpoint_url is of type int, not str."),
        ({"bucket_name": "bucket/folder"}, 'Invalid bucket name "bucket/folder"'),
        ({"bucket_name": b"backups"}, "bucket_name is of type bytes, not str."),
        ({"region_name": "eu central"}, "'eu central' doesn't match a supported format"),
    ],
)
def test_e108_an_option_that_cannot_work(found, options, sentence):
    assert sentence in one(found(**options), "E108")


@pytest.mark.parametrize("name", ["Failing", "Nothing"])
def test_e108_a_subclass_that_gives_no_parameters(found, name):
    assert "get_object_parameters()" in one(found(f"{__name__}.{name}"), "E108")


@pytest.mark.parametrize(
    "location",
    ["./a", "..", "a/../b", "a//b", "a/./b", "a\nb", "a\x00", "a\u200bb", "ü" * 480, "x" * 944],
)
def test_e109_a_location_that_begins_no_key(found, location):
    assert repr(location) in one(found(location=location), "E109")


def test_longest_location(found):
    assert why_no_location("x" * 943) == ""
    assert why_no_location(None) == "it is of type NoneType, not str"


class Nowhere(S3Storage):
    """Its location is known later."""

    def __init__(self, **options):
        super().__init__(**options)
        self.location = None


def test_location_of_another_type_is_one_error_of_that_disk(found):
    assert one(found(location=None), "E100")
    assert "NoneType" in one(found(f"{__name__}.Nowhere"), "E100")


def test_option_that_django_storages_does_not_know(found):
    [error] = found(buckte_name="x")
    assert (error.id, "buckte_name" in error.msg) == ("backups_remote.E100", True)


def test_e110_a_client_certificate(found):
    message = one(found(client_config=Config(client_cert="/etc/panel.pem")), "E110")
    assert "client certificate" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"verify": False}, "verify=False"),
        ({"verify": "/etc/ssl/own.pem"}, "a CA of its own"),
        ({"proxies": {"https": "http://user:the secret@proxy:3128"}}, "a proxy"),
        ({"client_config": Config(proxies={"https": "http://proxy:3128"})}, "a proxy"),
    ],
)
def test_w105_what_only_the_panel_has(found, options, words):
    assert words in one(found(**options), "W105")


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_w106_a_class_from_which_nothing_can_be_fetched(found, storage_class):
    assert storage_class in one(found(object_parameters={"StorageClass": storage_class}), "W106")


def test_longer_timeouts_are_honoured(found, monkeypatch):
    def timeouts(config=None):
        found(**({} if config is None else {"client_config": config}))
        built = get_backend("s3")._built
        return [
            (made.meta.config.connect_timeout, made.meta.config.read_timeout)
            for made in (built.quick, built.patient)
        ]

    own = [
        (clients.CONNECT_TIMEOUT, clients.READ_TIMEOUT),
        (clients.CONNECT_TIMEOUT, clients.COMPLETE_TIMEOUT),
    ]
    assert timeouts() == own
    # A Config that says nothing of them has botocore's own values.
    assert timeouts(Config(use_dualstack_endpoint=True)) == own
    assert timeouts(Config(read_timeout=1, connect_timeout=1)) == own
    assert timeouts(Config(read_timeout=30, connect_timeout=20)) == [(20, 30), (20, 120)]
    assert timeouts(Config(read_timeout=300)) == [(5, 300), (5, 300)]
