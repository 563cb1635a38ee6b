"""URLs that paths are appended to, and addresses in internal networks."""

import pytest
from django.core.exceptions import ValidationError

from backups_remote.addresses import is_internal, validate_base_url


@pytest.mark.parametrize(
    "url",
    [
        "https://fra-1.example.com:8080",
        "https://node1:8080",
        "http://wings",
        "http://my_container:8080/",
        "http://10.0.0.1/node",
        "https://[2001:db8::1]:8080",
    ],
)
def test_url_of_a_daemon_is_valid(url):
    validate_base_url(url)


@pytest.mark.parametrize(
    "url",
    [
        *("", "URL", "node1:8080", "ftp://node1", "http://", "http:// node1", "http://no de"),
        *("https://user:pw@node1", "https://node1?x=1", "https://node1/#x", "http://node1:x"),
        *("http://node1:70000", "http://-node", "http://a..b", "http://[::1", "https://n\u00f6de"),
        *("http://node1/\n", "http://node1?", "http://" + "a" * 64),
    ],
)
def test_url_of_a_daemon_is_not_valid(url):
    with pytest.raises(ValidationError):
        validate_base_url(url)


@pytest.mark.parametrize(
    ("host", "internal"),
    [
        *[("127.0.0.1", True), ("10.1.2.3", True), ("192.168.0.1", True), ("172.16.0.1", True)],
        *[("100.64.0.1", True), ("198.18.0.1", True), ("169.254.1.1", True), ("::1", True)],
        *[("fd00::1", True), ("localhost", True), ("LOCALHOST.", True), ("minio", True)],
        *[("8.8.8.8", False), ("100.128.0.1", False), ("172.32.0.1", False)],
        *[("2606:4700::1", False), ("s3.example.com", False), ("s3.example.com.", False)],
    ],
)
def test_internal_addresses_are_those_that_daemons_refuse(host, internal):
    assert is_internal(host) is internal
