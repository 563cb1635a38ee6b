"""The verbs on a node's page: its token, and whether its daemon answers."""

from __future__ import annotations

import datetime as dt
import logging

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from backups_remote.models import Node
from tests.admin.pages import said, text
from tests.support.factories import NodeFactory
from tests.support.http import CLOSED
from tests.support.scripted import Answer

pytestmark = pytest.mark.django_db


@pytest.fixture
def node(scripted_daemon):
    return NodeFactory(name="fra-1", url=scripted_daemon.url)


def page(node, view="change"):
    return reverse(f"admin:backups_remote_node_{view}", args=[node.pk])


def rotate(client, node, remote="https://panel.example.com/"):
    return client.post(page(node, "rotate_token"), {"remote": remote})


# The token


def test_replacing_a_token_asks_first(admin_client, node):
    before = Node.objects.values().get()
    answer = admin_client.get(page(node, "rotate_token"))
    assert "The token of fra-1 is replaced at once." in text(answer)
    assert 'value="http://testserver"' in answer.content.decode()
    assert Node.objects.values().get() == before


def test_new_token_is_shown_once(admin_client, node, caplog, settings, memory):
    caplog.set_level(logging.DEBUG)
    old = node.bearer_token

    answer = rotate(admin_client, node)

    new = Node.objects.get()
    assert new.bearer_token != old
    shown = answer.content.decode()
    assert [
        f"uuid: {node.uuid}",
        f"token_id: {new.token_id}",
        f"token: {new.token}",
        "remote: https://panel.example.com",
    ] == answer.context["config"].splitlines()[1:]
    assert f"token: {new.token}" in shown
    assert "no-store" in answer["Cache-Control"]
    assert LogEntry.objects.get().get_change_message() == "Token replaced."
    for later in (page(node), page(node, "history"), page(node, "rotate_token")):
        assert new.token not in admin_client.get(later).content.decode()
    assert new.token not in caplog.text


def test_new_configuration_names_the_internal_host_of_the_disk(admin_client, node, disk):
    shown = rotate(admin_client, node).content.decode()
    assert "restore_host_allowlist: [&quot;127.0.0.1&quot;]" in shown


@pytest.mark.parametrize(
    "remote", ["", "panel.example.com", "ftp://panel.example.com", "https://a b/"]
)
def test_wrong_address_replaces_nothing(admin_client, node, remote):
    before = Node.objects.values().get()
    answer = rotate(admin_client, node, remote)
    assert answer.status_code == 200
    assert list(answer.context["form"].errors) == ["remote"]
    assert Node.objects.values().get() == before
    assert not LogEntry.objects.exists()


# The daemon


@pytest.mark.parametrize(
    ("response", "start", "end"),
    [
        (
            Answer(200, {"version": "1.13.2"}),
            "The daemon of fra-1, version 1.13.2, answered within ",
            " ms and takes this panel's token.",
        ),
        (Answer(200), "The daemon of fra-1 answered within ", "takes this panel's token."),
        (
            Answer(403, {"error": "not authorized"}),
            "The daemon of fra-1 answered 403: ",
            "authorized",
        ),
        (Answer(None), "The daemon of fra-1: the connection broke", "came."),
    ],
    ids=["well", "silent about its version", "another token", "broken"],
)
def test_daemon_is_asked_how_it_is(
    admin_client, memory, calls_daemons, node, scripted_daemon, response, start, end
):
    scripted_daemon.answer = response
    (message,) = said(admin_client.post(page(node, "probe"), follow=True))
    assert message.startswith(start)
    assert message.endswith(end)
    assert [call.path for call in scripted_daemon.calls] == ["/api/system"]


def test_daemon_that_is_down(admin_client, memory, calls_daemons):
    node = NodeFactory(name="ams-1", url=CLOSED)
    (message,) = said(admin_client.post(page(node, "probe"), follow=True))
    assert message == "The daemon of ams-1: no connection could be made."


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:1"])
def test_daemon_that_the_panel_does_not_call(admin_client, memory, settings, url):
    if not url:
        settings.BACKUPS_REMOTE = {
            **settings.BACKUPS_REMOTE,
            "DAEMON": "backups_remote.daemon.WingsDaemon",
        }
    node = NodeFactory(name="ams-1", url=url)
    (message,) = said(admin_client.post(page(node, "probe"), follow=True))
    assert message in {
        "The node ams-1 has no URL.",
        "The setting DAEMON is not set: this project calls no daemon.",
    }


@pytest.mark.parametrize("verb", ["rotate_token", "probe"])
def test_node_that_is_gone(admin_client, node, verb):
    gone = page(node, verb).replace(f"/{node.pk}/", "/4711/")
    answer = admin_client.post(gone, follow=True)
    assert answer.redirect_chain[-1] == ("/admin/", 302)
    assert "doesn’t exist" in said(answer)[0]


# Last heard


@pytest.mark.parametrize(
    ("ago", "shown"), [(None, "never"), (dt.timedelta(minutes=3), "3 minutes ago")]
)
def test_list_and_page_say_when_the_daemon_called_last(admin_client, ago, shown):
    node = NodeFactory(heard_at=None if ago is None else timezone.now() - ago)
    for url in (reverse("admin:backups_remote_node_changelist"), page(node)):
        assert shown in text(admin_client.get(url))
