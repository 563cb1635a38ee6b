"""Which permission each page, verb and action needs: tried by direct POST."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from backups_remote import lifecycle
from backups_remote.models import Backup, BackupEvent, Node, Server
from backups_remote.testing import MemoryBackend
from tests.admin.pages import LIST, backup_in, listed, page_of, user_with
from tests.support.factories import ServerFactory

pytestmark = pytest.mark.django_db

State = Backup.State
#: Verb → the state of a backup that it is for, and what a POST says.
VERBS = {
    "restore": (State.COMPLETED, {}),
    "download": (State.COMPLETED, {}),
    "lock": (State.COMPLETED, {}),
    "unlock": (State.COMPLETED, {}),
    "expire": (State.PENDING, {}),
    "delete": (State.COMPLETED, {"post": "yes"}),
    "forget": (State.COMPLETED, {}),
}
EVERY_BACKUP_PERMISSION = {f"{verb}_backup" for verb in VERBS} | {
    "add_backup",
    "change_backup",
    "view_backup",
}
ACTIONS = {"lock": "lock", "unlock": "unlock", "expire": "expire", "delete": "delete_selected"}


@pytest.fixture
def calling(memory, settings):
    """A panel that calls daemons, with a store in memory."""
    settings.BACKUPS_REMOTE = {
        **settings.BACKUPS_REMOTE,
        "DAEMON": "backups_remote.daemon.WingsDaemon",
    }


def everything():
    """All that a verb could have changed."""
    return [
        list(model.objects.order_by("pk").values())
        for model in (Backup, Server, Node, BackupEvent, LogEntry)
    ]


def whole_backup(server):
    """A backup whose archive is in the store in memory."""
    backup = lifecycle.start_backup(server)
    ticket = lifecycle.request_upload(backup, 1000)
    MemoryBackend.put_part(ticket.urls[0], b"x" * 1000)
    assert [o.action for o in lifecycle.expire(Backup.objects.filter(pk=backup.pk))] == [
        "recovered"
    ]
    backup.refresh_from_db()
    return backup


@pytest.fixture
def backup_for(calling, server_with_daemon):
    def backup_for(verb):
        state, _ = VERBS[verb]
        if verb in {"restore", "delete"}:
            return whole_backup(server_with_daemon)
        fields = {"disk": {"forget": "retired", "download": "wings"}.get(verb, "memory")}
        if verb == "unlock":
            fields["is_locked"] = True
        return backup_in(state, server=server_with_daemon, **fields)

    return backup_for


def say(client, verb, backup):
    body = {"uuid": str(backup.uuid)} if verb == "forget" else VERBS[verb][1]
    return client.post(page_of(backup, verb), body)


@pytest.mark.parametrize("verb", VERBS)
def test_verb_needs_its_own_permission(client, backup_for, scripted_daemon, verb):
    backup = backup_for(verb)
    client.force_login(user_with(*(EVERY_BACKUP_PERMISSION - {f"{verb}_backup"})))
    before = everything()

    assert f'data-verb="{verb}"' not in client.get(page_of(backup)).content.decode()
    assert say(client, verb, backup).status_code == 403
    assert client.get(page_of(backup, verb)).status_code in {403, 405}
    if verb in ACTIONS:
        client.post(
            LIST,
            {"action": ACTIONS[verb], "_selected_action": [backup.pk], "post": "yes"},
        )

    assert everything() == before
    assert scripted_daemon.calls == []


@pytest.mark.parametrize("verb", VERBS)
def test_verb_needs_no_more_than_its_permission_and_the_view(client, backup_for, verb):
    backup = backup_for(verb)
    client.force_login(user_with("view_backup", f"{verb}_backup"))
    before = everything()

    offered = re.findall(r'data-verb="(\w+)"', client.get(page_of(backup)).content.decode())
    assert offered == [verb]
    assert say(client, verb, backup).status_code == 302
    assert everything() != before


# Deleting is Django's own: who may delete may see what is deleted.
@pytest.mark.parametrize("verb", sorted(VERBS.keys() - {"delete"}))
def test_verb_needs_the_view_permission_too(client, backup_for, scripted_daemon, verb):
    backup = backup_for(verb)
    client.force_login(user_with(f"{verb}_backup"))
    before = everything()

    assert say(client, verb, backup).status_code == 403
    assert everything() == before
    assert scripted_daemon.calls == []


@pytest.mark.parametrize("verb", VERBS)
def test_verb_is_not_carried_out_by_a_get(client, backup_for, scripted_daemon, verb):
    backup = backup_for(verb)
    client.force_login(user_with("view_backup", f"{verb}_backup"))
    before = everything()

    assert client.get(page_of(backup, verb)).status_code in {200, 405}

    assert everything() == before
    assert scripted_daemon.calls == []


def test_view_permission_sees_and_cannot_act(client):
    backup = backup_in(State.COMPLETED)
    client.force_login(user_with("view_backup"))

    answer = client.get(LIST)
    assert listed(answer) == {backup.pk}
    assert 'name="action"' not in answer.content.decode()
    assert client.get(page_of(backup)).status_code == 200
    assert client.get(page_of(backup, "progress")).status_code == 200
    assert client.post(page_of(backup), {"name": "x"}).status_code == 403
    assert Backup.objects.get().name == backup.name


def test_progress_needs_the_view_permission(client):
    backup = backup_in(State.UPLOADING)
    client.force_login(user_with(*(EVERY_BACKUP_PERMISSION - {"view_backup", "change_backup"})))
    assert client.get(page_of(backup, "progress")).status_code == 403


@pytest.mark.parametrize("verb", ACTIONS)
def test_list_offers_an_action_with_its_permission(client, verb):
    backup_in(State.COMPLETED)
    client.force_login(user_with("view_backup", f"{verb}_backup"))

    offered = set(re.findall(r'<option value="(\w+)">', client.get(LIST).content.decode()))

    assert offered & set(ACTIONS.values()) == {ACTIONS[verb]}


@pytest.mark.parametrize(
    ("model", "page", "permission", "body"),
    [
        ("server", "back_up", "back_up_server", {"name": "Now"}),
        ("node", "rotate_token", "rotate_node_token", {"remote": "https://panel.example.com"}),
        ("node", "probe", "probe_node", {}),
    ],
)
class TestServersAndNodes:
    def page(self, model, page, server):
        pk = server.pk if model == "server" else server.node_id
        return reverse(f"admin:backups_remote_{model}_{page}", args=[pk])

    def test_verb_needs_its_own_permission(
        self, client, calling, server_with_daemon, scripted_daemon, model, page, permission, body
    ):
        others = {"back_up_server", "rotate_node_token", "probe_node"} - {permission}
        changes = {
            f"{verb}_{kind}" for verb in ("add", "change", "view") for kind in ("node", "server")
        }
        client.force_login(user_with(*others, *changes))
        before = everything()

        assert client.post(self.page(model, page, server_with_daemon), body).status_code == 403

        assert everything() == before
        assert scripted_daemon.calls == []

    def test_verb_needs_the_view_permission(
        self, client, calling, server_with_daemon, scripted_daemon, model, page, permission, body
    ):
        client.force_login(user_with(permission))
        before = everything()

        assert client.post(self.page(model, page, server_with_daemon), body).status_code == 403

        assert everything() == before
        assert scripted_daemon.calls == []

    def test_verb_needs_no_more(
        self, client, calling, server_with_daemon, scripted_daemon, model, page, permission, body
    ):
        client.force_login(user_with(permission, f"view_{model}"))
        before = everything()

        url = self.page(model, page, server_with_daemon)
        assert client.get(url).status_code in {200, 405}
        assert everything() == before
        assert client.post(url, body).status_code in {200, 302}

        assert everything() != before or len(scripted_daemon.calls) == 1


def test_anonymous_users_are_sent_to_the_login(client, memory):
    backup = backup_in(State.COMPLETED, server=ServerFactory(), disk="memory")
    assert client.get(LIST)["Location"].startswith("/admin/login/")
    for verb in VERBS:
        assert client.post(page_of(backup, verb))["Location"].startswith("/admin/login/")
