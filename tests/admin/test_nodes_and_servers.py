"""The pages of nodes and servers."""

from __future__ import annotations

import datetime as dt
import logging
import re
import shlex
import uuid
from html import unescape
from io import StringIO

import pytest
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.urls import path, reverse

from backups_remote.admin.nodes import NodeAdmin
from backups_remote.admin.servers import ServerAdmin
from backups_remote.models import RESTORING, Backup, Node, Server
from tests.admin.pages import LIST, backup_in, moment, page_of, queries_of, said, text
from tests.support.factories import BackupFactory, NodeFactory, ServerFactory

pytestmark = pytest.mark.django_db

State = Backup.State


def test_tokens_appear_nowhere_in_the_admin(admin_client, caplog):
    caplog.set_level(logging.DEBUG)
    add = reverse("admin:backups_remote_node_add")
    answers = [
        admin_client.get(add),
        admin_client.post(add, {"name": "born", "url": "nonsense nonsense"}),
        admin_client.post(add, {"name": "born", "url": "https://n.example"}),
    ]
    node = Node.objects.get()
    token, bearer = node.token, node.bearer_token
    server = ServerFactory(node=node)
    backup = backup_in(State.COMPLETED, server=server)
    change = reverse("admin:backups_remote_node_change", args=[node.pk])
    autocomplete = "?app_label=backups_remote&model_name=server&field_name=node&term="
    answers += [
        admin_client.get(reverse("admin:backups_remote_node_changelist")),
        admin_client.post(change, {"name": "", "url": "https://n.example"}),
        admin_client.post(
            change,
            {
                "name": "renamed",
                "url": "https://n.example",
                "token_id": "guessed",
                "encrypted_token": "guessed",
            },
        ),
        *(
            admin_client.get(url)
            for url in (
                reverse("admin:backups_remote_node_changelist"),
                change,
                reverse("admin:backups_remote_node_history", args=[node.pk]),
                reverse("admin:backups_remote_node_delete", args=[node.pk]),
                reverse("admin:backups_remote_server_change", args=[server.pk]),
                page_of(backup),
                reverse("admin:autocomplete") + autocomplete,
                reverse("admin:index"),
            )
        ),
        admin_client.get(f"{change[: -len('change/')]}token/", follow=True),
    ]

    assert {answer.status_code for answer in answers} == {200, 302}
    everywhere = [answer.content.decode() + answer.cookies.output() for answer in answers]
    everywhere += [entry.get_change_message() for entry in LogEntry.objects.all()]
    everywhere += [str(dict(admin_client.session)), caplog.text]
    assert LogEntry.objects.count() == 2
    for secret in (token, bearer, node.encrypted_token):
        assert not [place for place in everywhere if secret in place]
    node.refresh_from_db()
    assert (node.name, node.bearer_token) == ("renamed", bearer)


@pytest.mark.parametrize(
    ("model", "lookup"),
    [
        ("node", "encrypted_token__startswith"),
        ("node", "encrypted_token"),
        ("server", "node__encrypted_token__startswith"),
        ("backup", "node__encrypted_token__startswith"),
        ("backup", "server__node__encrypted_token__startswith"),
    ],
)
def test_tokens_cannot_be_guessed_by_filtering(admin_client, node, model, lookup):
    url = reverse(f"admin:backups_remote_{model}_changelist")

    assert admin_client.get(url, {lookup: "g"}).status_code == 400


def test_page_of_new_node_shows_the_token_command(admin_client):
    add = reverse("admin:backups_remote_node_add")
    form = text(admin_client.get(add))
    assert "Daemon URL" in form
    assert "UUID" not in form  # it would be that of no node

    answer = admin_client.post(add, {"name": "fra-1", "url": "https://n.example"}, follow=True)

    assert Node.objects.get().url == "https://n.example"
    assert "was added successfully" in said(answer)[0]
    command = "manage.py create_node --rotate --remote http://testserver fra-1"
    assert f"To print the daemon's config.yml, once, run {command}" in text(answer)


def test_page_of_node_and_server_offers_the_disks(admin_client, memory):
    server = ServerFactory(node=NodeFactory(disk="wings"))
    for name, row, inherited in (
        ("node", server.node, "as DEFAULT_DISK"),
        ("server", server, "that of its node"),
    ):
        url = reverse(f"admin:backups_remote_{name}_change", args=[row.pk])
        form = admin_client.get(url).context["adminform"].form
        choices = [str(label) for _, label in form.fields["disk"].choices]
        assert choices[0] == inherited
        assert {"wings", "memory", "bare"} <= set(choices)
        fields = {**form.initial, "disk": "bare"}
        sent = {key: value for key, value in fields.items() if value is not None}
        answer = admin_client.post(url, sent)
        assert answer.status_code == 302
        row.refresh_from_db()
        assert row.disk == "bare"
        refused = admin_client.post(url, {**sent, "disk": "gone"})
        assert "disk" in refused.context["adminform"].form.errors


def test_status_that_changed_since_the_form_was_shown_is_not_overwritten(admin_client, memory):
    server = ServerFactory()
    url = reverse("admin:backups_remote_server_change", args=[server.pk])
    form = admin_client.get(url).context["adminform"].form
    sent = {key: value for key, value in form.initial.items() if value is not None}

    save = Server.save

    def save_later(self, **kwargs):
        Server.objects.filter(pk=server.pk).update(status=RESTORING)
        save(self, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "save", save_later)
        answer = admin_client.post(url, {**sent, "status": "suspended", "name": "n"}, follow=True)

    assert said(answer) == ["The server's status has changed since it was read; nothing was saved."]
    server.refresh_from_db()
    # What happened meanwhile is undone with the request's transaction, as it was made in it.
    assert (server.status, server.name) == (None, form.initial["name"])


@pytest.mark.parametrize("name", ["fra-1", "-fra", "--url=x", "it's <b>$(one)</b>", "Größe 1"])
def test_command_on_the_page_gives_a_new_token(admin_client, name):
    NodeFactory(name="another")
    node = NodeFactory(name=name)

    page = admin_client.get(reverse("admin:backups_remote_node_change", args=[node.pk]))

    (command,) = re.findall(r'<code translate="no">(.*?)</code>', page.content.decode())
    program, *words = shlex.split(unescape(command))
    assert program == "manage.py"
    printed = StringIO()
    call_command(*words, stdout=printed)
    old = node.bearer_token
    node.refresh_from_db()
    assert node.bearer_token != old
    assert f"token: {node.token}\n" in printed.getvalue()


def test_servers_are_listed_with_their_counts(admin_client, django_assert_num_queries):
    busy, idle = ServerFactory(backup_limit=5), ServerFactory(status=RESTORING)
    for state in (State.COMPLETED, State.PENDING, State.FAILED, State.DELETING):
        backup_in(state, server=busy)
    url = reverse("admin:backups_remote_server_changelist")

    answer = admin_client.get(url)

    counts = {server: server.counted_backups for server in answer.context["cl"].result_list}
    assert counts == {busy: 2, idle: 0}
    assert RESTORING in text(answer)
    before = len(queries_of(admin_client, url))
    for server in ServerFactory.create_batch(10):
        backup_in(State.COMPLETED, server=server)
    assert len(queries_of(admin_client, url)) == before


def test_servers_are_added_and_edited(admin_client, node):
    add = reverse("admin:backups_remote_server_add")
    chosen = uuid.uuid4()
    form = {"name": "Valheim", "uuid": chosen, "node": node.pk, "status": "", "backup_limit": "3"}
    assert admin_client.post(add, form).status_code == 302
    server = Server.objects.get()
    assert (server.uuid, server.node, server.status, server.backup_limit) == (chosen, node, None, 3)

    change = reverse("admin:backups_remote_server_change", args=[server.pk])
    form |= {"uuid": uuid.uuid4(), "status": "transferring", "backup_limit": ""}
    assert admin_client.post(change, form).status_code == 302
    server.refresh_from_db()
    assert (server.uuid, server.status, server.backup_limit) == (chosen, "transferring", None)


def test_node_field_autocompletes(admin_client):
    NodeFactory(name="fra-1")
    NodeFactory(name="ams-1")
    query = {"app_label": "backups_remote", "model_name": "server", "field_name": "node"}

    answer = admin_client.get(reverse("admin:autocomplete"), {**query, "term": "fra"})

    assert [result["text"] for result in answer.json()["results"]] == ["fra-1"]


@pytest.mark.parametrize("kind", ["server", "node"])
def test_node_or_server_with_backups_is_not_deleted(admin_client, kind):
    backups = BackupFactory.create_batch(12, server=ServerFactory(), disk="wings")
    row = getattr(backups[0], kind)
    url = reverse(f"admin:backups_remote_{kind}_delete", args=[row.pk])
    changelist = reverse(f"admin:backups_remote_{kind}_changelist")
    action = {"action": "delete_selected", "_selected_action": [row.pk]}

    for page in (
        admin_client.get(url),
        admin_client.post(url, {"post": "yes"}),
        admin_client.post(changelist, action),
        admin_client.post(changelist, {**action, "post": "yes"}),
    ):
        assert page.status_code == 200
        assert f"Cannot delete {kind}" in text(page)
        assert text(page).count("Backup: ") == 10
        assert "and more backups" in text(page)
    assert Node.objects.count() == Server.objects.count() == 1


@pytest.mark.parametrize("factory", [ServerFactory, NodeFactory])
def test_node_or_server_without_backups_is_deleted(admin_client, factory):
    row = factory()
    url = reverse(f"admin:backups_remote_{row._meta.model_name}_delete", args=[row.pk])

    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert not type(row).objects.exists()


def test_pages_in_another_language(admin_client, settings):
    settings.LANGUAGE_CODE = "de"
    backup = backup_in(State.COMPLETED, created_at=moment(2024, 5, 3))
    backup_in(State.COMPLETED, created_at=moment(2024, 7, 3))

    page = text(admin_client.get(LIST))

    assert "Mai 2024" in page
    assert admin_client.get(page_of(backup)).status_code == 200


def test_page_of_a_node_shows_its_last_restart(admin_client, node):
    Node.objects.filter(pk=node.pk).update(
        restarted_at=dt.datetime(2031, 5, 4, 3, 2, tzinfo=dt.UTC)
    )

    page = text(admin_client.get(reverse("admin:backups_remote_node_change", args=[node.pk])))

    assert "Daemon restarted" in page
    assert "May 4, 2031, 3:02 a.m." in page


class OtherSite(AdminSite):
    """An admin that a host project made for its support staff: with servers, without backups."""

    def __init__(self):
        super().__init__("other")
        self.register(Server, ServerAdmin)
        self.register(Node, NodeAdmin)


other_site = OtherSite()
urlpatterns = [path("other/", other_site.urls)]


@pytest.mark.urls(__name__)
def test_site_without_backups_shows_servers(admin_client):
    server = ServerFactory(name="Skyblock", backup_limit=3)
    backup_in(State.COMPLETED, server=server)
    page = admin_client.get(reverse("other:backups_remote_server_changelist"))
    assert page.status_code == 200
    assert re.search(r'field-backups">1<', page.content.decode())
    page = admin_client.get(reverse("other:backups_remote_server_change", args=[server.pk]))
    assert page.status_code == 200
    assert "backup_changelist" not in page.content.decode()
    assert "All backups of this server" not in page.content.decode()


def test_url_of_a_daemon_loses_its_trailing_slash(admin_client):
    add = reverse("admin:backups_remote_node_add")
    admin_client.post(add, {"name": "fra-1", "url": "https://fra-1.example:8080/"})
    node = Node.objects.get()
    assert node.url == "https://fra-1.example:8080"
    node.url = "https://fra-2.example//"
    node.save()
    assert node.url == "https://fra-2.example"
    node.refresh_from_db()
    assert node.url == "https://fra-2.example"
    Node.objects.update(url="https://fra-3.example/wings/")
    assert Node.objects.get(url="https://fra-3.example/wings").pk == node.pk
