"""Starting a backup from a server's page."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connections
from django.urls import reverse

from backups_remote.models import Backup
from tests.admin.pages import backup_in, page_of, said, text, user_with
from tests.support.scripted import Answer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory", "calls_daemons")]

State = Backup.State


@pytest.fixture
def server(server_with_daemon):
    return server_with_daemon


def page(server, view="change"):
    return reverse(f"admin:backups_remote_server_{view}", args=[server.pk])


def start(client, server, **fields):
    return client.post(page(server, "back_up"), fields, follow=True)


def test_page_of_a_server_shows_its_backups(admin_client, server):
    server.backup_limit = 3
    server.save()
    for number in range(12):
        backup_in(State.FAILED, server=server, disk="memory", name=f"No. {number}")
    whole = backup_in(State.COMPLETED, server=server, disk="memory", name="Good", is_locked=True)
    backup_in(State.COMPLETED, disk="memory", name="Another server's")

    answer = admin_client.get(page(server))

    shown = text(answer)
    assert "Backups: 1 of 3" in shown
    assert shown.index("Good") < shown.index("No. 11") < shown.index("No. 3")
    assert "No. 2 " not in shown
    assert "Another server's" not in shown
    assert page_of(whole) in answer.content.decode()
    assert page(server, "back_up") in answer.content.decode()


def test_page_of_a_server_without_backups(admin_client, server):
    shown = text(admin_client.get(page(server)))
    assert "Backups: 0" in shown
    assert "This server has no backups." in shown


def test_server_page_hides_backups_without_view_permission(client, server):
    backup_in(State.COMPLETED, server=server, disk="memory", name="Secret")
    client.force_login(user_with("view_server"))
    shown = text(client.get(page(server)))
    assert "Secret" not in shown
    assert "Back up now" not in shown


def test_backup_is_started(admin_client, server, scripted_daemon):
    asked = text(admin_client.get(page(server, "back_up")))
    assert f"put the archive on the disk {server.disk_for_backups}." in asked

    answer = start(
        admin_client,
        server,
        name="Before 1.21",
        ignored_files="logs/*\r\n\r\n *.tmp ",
        is_locked="on",
    )

    backup = Backup.objects.get()
    assert answer.redirect_chain == [(page_of(backup), 302)]
    assert said(answer) == ["The node is making the backup Before 1.21."]
    assert (backup.name, backup.ignored_files, backup.is_locked) == (
        "Before 1.21",
        ["logs/*", "*.tmp"],
        True,
    )
    (call,) = scripted_daemon.calls
    assert call.body == {"adapter": "s3", "uuid": str(backup.uuid), "ignore": "logs/*\n*.tmp"}
    assert LogEntry.objects.get().get_change_message() == "Backup Before 1.21 started."
    event = backup.events.get()
    assert (event.kind, event.actor, event.actor_name) == ("created", "user", "admin")


@pytest.mark.parametrize(
    ("response", "message", "state"),
    [
        (
            Answer(400, {"error": "no room"}),
            "The backup was not begun. The daemon of {} answered 400: no room",
            State.FAILED,
        ),
        (
            Answer(504),
            (
                "It is not known whether the backup has begun. The daemon of {} answered 504. Wait for "
                "the node; if it stays silent, the sweep ends the backup."
            ),
            State.PENDING,
        ),
    ],
    ids=["refused", "unclear"],
)
def test_backup_that_the_daemon_does_not_accept(
    admin_client, server, scripted_daemon, response, message, state
):
    scripted_daemon.answer = response
    answer = start(admin_client, server)
    backup = Backup.objects.get()
    assert said(answer) == [message.format(server.node)]
    assert backup.state is state
    assert answer.redirect_chain == [(page_of(backup), 302)]
    # What was refused was not started.
    assert LogEntry.objects.exists() is (state is State.PENDING)


@pytest.mark.django_db(transaction=True)
def test_backup_that_is_gone_before_the_daemon_answers(admin_client, server, scripted_daemon):
    def delete():
        Backup.objects.all().delete()
        connections.close_all()

    scripted_daemon.answer = Answer(504, before=delete)
    answer = start(admin_client, server)
    assert answer.status_code == 200
    assert said(answer)[0].startswith("It is not known whether the backup has begun.")
    assert not Backup.objects.exists()


def test_limit_is_a_form_error(admin_client, server, scripted_daemon):
    server.backup_limit = 1
    server.save()
    backup_in(State.COMPLETED, server=server, disk="memory")

    answer = start(admin_client, server, name="One more")

    assert answer.status_code == 200
    shown = text(answer)
    assert "The server has as many backups as its limit allows." in shown
    assert "Backups that count towards the limit: 1 of 1." in shown
    assert 'value="One more"' in answer.content.decode()
    assert Backup.objects.count() == 1
    assert scripted_daemon.calls == []


def test_name_that_is_too_long_is_a_field_error(admin_client, server, scripted_daemon):
    answer = start(admin_client, server, name="x" * 192)
    assert list(answer.context["form"].errors) == ["name"]
    assert not Backup.objects.exists()
    assert scripted_daemon.calls == []


def test_project_that_calls_no_daemon(admin_client, server, settings, scripted_daemon):
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "DAEMON": None}
    assert "Back up now" not in text(admin_client.get(page(server)))
    assert "set DAEMON" in text(admin_client.get(page(server, "back_up")))
    answer = start(admin_client, server)
    assert "The setting DAEMON is not set" in text(answer)
    assert not Backup.objects.exists()


def test_user_without_backup_permission_is_sent_to_the_server(client, server):
    client.force_login(user_with("view_server", "back_up_server"))
    answer = start(client, server)
    assert answer.redirect_chain == [(page(server), 302)]
    assert Backup.objects.count() == 1


def test_server_that_is_gone(admin_client, server):
    gone = page(server, "back_up").replace(str(server.pk), "4711")
    answer = admin_client.post(gone, follow=True)
    assert answer.redirect_chain[-1] == ("/admin/", 302)
    assert "doesn’t exist" in said(answer)[0]
