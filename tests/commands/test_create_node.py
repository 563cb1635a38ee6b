"""The command create_node."""

from __future__ import annotations

import pytest
import yaml
from django.core.management import CommandError
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.test import APIRequestFactory

from backups_remote.authentication import NodeAuthentication
from backups_remote.models import Node
from tests.support.commands import run

pytestmark = pytest.mark.django_db

REMOTE = ("--remote", "https://panel.example.com")


def test_create_node_prints_what_the_daemon_needs():
    printed = run("create_node", "fra-1", "--url", "https://fra-1.example.com:8080", *REMOTE)
    node = Node.objects.get(name="fra-1")
    assert node.url == "https://fra-1.example.com:8080"
    for line in (f"token_id: {node.token_id}", f"token: {node.token}", f"remote: {REMOTE[1]}"):
        assert line in printed


@pytest.mark.parametrize(
    ("args", "field"),
    [
        (["fra-1"], "name"),
        (["x" * 192], "name"),
        (["a", "--url", "nonsense"], "url"),
        (["a", "--disk", "nowhere"], "disk"),
        (["a", "--remote", "panel.example.com"], "--remote"),
        (["a", "--remote", "ftp://panel.example.com"], "--remote"),
        (["a", "--remote", "URL"], "--remote"),
    ],
)
def test_create_node_names_the_bad_argument_and_creates_nothing(args, field):
    Node.objects.create(name="fra-1")
    with pytest.raises(CommandError, match=f"{field}:"):
        run("create_node", *([] if "--remote" in args else REMOTE), *args)
    assert Node.objects.count() == 1


def test_create_node_insists_on_the_panels_address():
    with pytest.raises(CommandError, match="--remote"):
        run("create_node", "fra-1")
    assert not Node.objects.exists()


def test_create_node_keeps_the_disk():
    run("create_node", "fra-1", "--disk", "wings", *REMOTE)
    assert Node.objects.get().disk == "wings"


@pytest.mark.parametrize(
    ("endpoint", "public", "host"),
    [
        ("http://10.0.0.5:9000", None, "10.0.0.5"),
        ("https://s3.example.com", "http://100.64.1.2:9000", "100.64.1.2"),
        ("http://10.0.0.5:9000", "https://s3.example.com", None),
        ("https://s3.example.com", None, None),
    ],
)
def test_create_node_names_an_internal_store_for_restores(settings, endpoint, public, host):
    options = {"bucket_name": "b", "endpoint_url": endpoint, "access_key": "a", "secret_key": "s"}
    backend = "storages.backends.s3.S3Storage"
    settings.STORAGES = {**settings.STORAGES, "s3": {"BACKEND": backend, "OPTIONS": options}}
    settings.BACKUPS_REMOTE = {"PUBLIC_ENDPOINTS": {} if public is None else {"s3": public}}
    printed = run("create_node", "fra-1", "--disk", "s3", *REMOTE)
    assert (f'restore_host_allowlist: ["{host}"]' in printed) is (host is not None)
    assert set(yaml.safe_load(printed)) == {"uuid", "token_id", "token", "remote"}


def test_create_node_with_rotate_replaces_the_token():
    others = Node.objects.create(name="ams-1").bearer_token
    old = Node.objects.create(name="fra-1", url="https://fra-1.example.com")

    printed = run("create_node", "fra-1", "--rotate", "--remote", "https://panel.example.com/")

    new = Node.objects.get(name="fra-1")
    assert (new.pk, new.uuid, new.url) == (old.pk, old.uuid, old.url)
    assert printed == (
        "# The daemon's config.yml; the token is not shown again.\n"
        f"uuid: {new.uuid}\n"
        f"token_id: {new.token_id}\n"
        f"token: {new.token}\n"
        "remote: https://panel.example.com\n"
    )
    assert caller(new.bearer_token) == new
    assert caller(others).name == "ams-1"
    for dead in (old.bearer_token, f"{new.token_id}.{old.token}", f"{old.token_id}.{new.token}"):
        with pytest.raises(AuthenticationFailed):
            caller(dead)


def caller(bearer):
    """Which node authentication takes the bearer of this token for."""
    request = APIRequestFactory().get("/", headers={"Authorization": f"Bearer {bearer}"})
    return NodeAuthentication().authenticate(request)[1]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["fra-1"], "^name: .*already exists.*\nTo give it a new token, use --rotate.$"),
        (["fra-2", "--rotate"], "^name: There is no node 'fra-2'.$"),
        (["", "--rotate"], "^name: There is no node ''.$"),
        (["fra-1", "--rotate", "--url", "https://x.example"], "^--url: not with --rotate"),
        (["fra-1", "--rotate", "--url", ""], "^--url: not with --rotate"),
        (["fra-1", "--rotate", "--disk", "wings"], "^--disk: not with --rotate"),
        (["fra-2", "--rotate", "--url", "https://x.example"], "^--url: not with --rotate"),
    ],
)
def test_create_node_explains_rotate_and_changes_nothing(args, said):
    Node.objects.create(name="fra-1", url="https://fra-1.example.com")
    before = list(Node.objects.values())

    with pytest.raises(CommandError, match=said):
        run("create_node", *REMOTE, *args)

    assert list(Node.objects.values()) == before


def test_create_node_mentions_rotate_for_a_taken_name_only():
    with pytest.raises(CommandError) as refused:
        run("create_node", "x" * 192, *REMOTE)
    assert "--rotate" not in str(refused.value)
