"""The verbs on a backup's page, with a daemon and a store that really answer."""

from __future__ import annotations

import pytest
import requests
from django.contrib.admin.models import LogEntry
from django.db import connections
from django.urls import resolve
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.models import RESTORING, Backup, Server
from backups_remote.storage.s3 import S3Backend
from tests.admin.pages import LIST, backup_in, page_of, rows, said, text
from tests.support.scripted import Answer
from tests.support.store_calls import STORE_CALLS

pytestmark = pytest.mark.django_db

State = Backup.State
MIB = 1024**2


@pytest.fixture
def server(server_with_daemon):
    return server_with_daemon


@pytest.fixture
def whole(completed_backup, calls_daemons):
    """A whole backup on the real store, of a server whose daemon the panel calls."""
    return completed_backup


def offered(client, backup):
    """The verbs that the page has buttons for."""
    buttons = client.get(page_of(backup)).context["buttons"]
    return [button.verb for button in buttons]


def notes():
    return [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]


def last_event(backup):
    return lifecycle.history(backup)[-1]


@pytest.mark.parametrize(
    ("state", "fields", "verbs"),
    [
        (State.PENDING, {}, ["lock", "expire"]),
        (State.UPLOADING, {}, ["lock", "expire"]),
        (State.REPORTED, {"is_locked": True}, ["unlock", "expire"]),
        (State.COMPLETED, {}, ["restore", "download", "lock", "delete"]),
        (State.FAILED, {}, ["delete"]),
        (
            State.FAILED,
            {
                "upload_id": "x",
                "object_key": "k",
                "upload_size": 1,
                "part_size": 1,
                "upload_started_at": timezone.now(),
            },
            ["expire", "delete"],
        ),
        (State.DELETING, {}, ["delete"]),
        (State.COMPLETED, {"disk": "retired"}, ["lock", "forget"]),
        (State.DELETING, {"disk": "retired", "object_key": "k"}, ["forget"]),
        (State.DELETING, {"disk": "retired"}, ["delete", "forget"]),
    ],
)
def test_buttons_are_the_verbs_that_are_possible(
    admin_client, calls_daemons_of_memory, server, state, fields, verbs
):
    backup = backup_in(state, **{"server": server, "disk": "memory", **fields})
    assert offered(admin_client, backup) == verbs


@pytest.fixture
def calls_daemons_of_memory(memory, calls_daemons):
    pass


def test_without_a_daemon_nothing_is_restored(admin_client, memory, server):
    backup = backup_in(State.COMPLETED, server=server, disk="memory")
    assert offered(admin_client, backup) == ["download", "lock", "delete"]
    before = rows()
    answer = admin_client.post(page_of(backup, "restore"), follow=True)
    assert said(answer) == [
        f"Not done: {backup}. The panel does not call the daemon of the server's node."
    ]
    assert rows() == before


# Restore


def test_restore_asks_and_says_what_happens_to_the_files(admin_client, whole, scripted_daemon):
    page = text(admin_client.get(page_of(whole, "restore")))

    assert f"unpack the backup {whole} of" in page
    assert "Files that are in the archive are overwritten" in page
    assert "This backup is unverified" in page
    # The store of the tests is at a loopback address, which newer daemons refuse.
    assert "The archive is fetched from 127.0.0.1, an internal address." in page
    assert scripted_daemon.calls == []
    assert Server.objects.get().status is None


@pytest.mark.parametrize("truncate", [True, False])
def test_restore(admin_client, whole, scripted_daemon, truncate):
    answer = admin_client.post(
        page_of(whole, "restore"), {"truncate": "on"} if truncate else {}, follow=True
    )

    assert said(answer) == [f"{whole} is being restored onto {whole.server}."]
    (call,) = scripted_daemon.calls
    assert call.path.endswith(f"/backup/{whole.uuid}/restore")
    assert call.body["truncate_directory"] is truncate
    assert requests.get(call.body["download_url"], timeout=30).ok
    server = Server.objects.get()
    assert (server.status, server.restoring_backup_id) == (RESTORING, whole.pk)
    assert "The node is restoring the backup onto its server." in text(answer)
    event = last_event(whole)
    assert (event.kind, event.actor, event.actor_name) == ("restore_started", "user", "admin")
    assert notes() == [
        "Restore started; the server's files are deleted first." if truncate else "Restore started."
    ]


@pytest.mark.parametrize(
    ("response", "complaint", "status"),
    [
        (
            Answer(400, {"error": "bad link"}),
            "Not done: Whole. The daemon of {} answered 400: bad link",
            None,
        ),
        (
            Answer(504),
            (
                "It is not known whether the restore has begun. The daemon of {} answered 504. Wait "
                "for the node's report; without one the restore ends after 24 hours."
            ),
            RESTORING,
        ),
    ],
    ids=["refused", "unclear"],
)
def test_restore_that_the_daemon_does_not_accept(
    admin_client, whole, scripted_daemon, response, complaint, status
):
    scripted_daemon.answer = response
    answer = admin_client.post(page_of(whole, "restore"), follow=True)
    assert said(answer) == [complaint.format(whole.server.node)]
    assert Server.objects.get().status == status


@pytest.mark.parametrize(("minutes", "hours"), [(20, 1), (90, 2), (1440, 24)])
def test_unclear_restore_says_when_it_ends_at_the_latest(
    admin_client, whole, scripted_daemon, settings, minutes, hours
):
    scripted_daemon.answer = Answer(504)
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "RESTORE_TIMEOUT": minutes * 60}
    (message,) = said(admin_client.post(page_of(whole, "restore"), follow=True))
    assert message.endswith(f"without one the restore ends after {hours} hours.")


@pytest.mark.parametrize("status", [RESTORING, "installing"])
def test_restore_onto_a_busy_server_is_refused(admin_client, whole, scripted_daemon, status):
    Server.objects.update(status=status)
    answer = admin_client.post(page_of(whole, "restore"), follow=True)
    assert said(answer) == ["Not done: Whole. The server is busy with something else."]
    assert scripted_daemon.calls == []


def test_restore_of_an_archive_that_is_gone_is_refused(
    admin_client, whole, scripted_daemon, s3, store
):
    s3.delete_object(Bucket=store.bucket, Key=whole.object_key)
    answer = admin_client.post(page_of(whole, "restore"), follow=True)
    assert said(answer) == ["Not done: Whole. The archive is not in the store."]
    assert scripted_daemon.calls == []
    assert Server.objects.get().status is None


# Download


def test_download_redirects_to_the_archive(admin_client, whole):
    answer = admin_client.post(page_of(whole, "download"))

    assert answer.status_code == 302
    assert "no-store" in answer["Cache-Control"]
    assert answer["Referrer-Policy"] == "no-referrer"
    archive = requests.get(answer["Location"], timeout=30)
    assert len(archive.content) == whole.size
    assert f"backup-{whole.uuid}.tar.gz" in archive.headers["Content-Disposition"]
    event = last_event(whole)
    assert (event.kind, event.detail) == ("download_link_issued", "valid for 5 min")
    assert (event.actor, event.actor_name) == ("user", "admin")
    assert notes() == ["Download link issued."]
    shown = admin_client.get(page_of(whole, "history")).content.decode()
    assert "Signature" not in shown


def test_download_from_the_node_is_noted_too(admin_client, calls_daemons_of_memory, server):
    backup = backup_in(State.COMPLETED, server=server, disk="wings")
    answer = admin_client.post(page_of(backup, "download"))
    assert answer["Location"].startswith(f"{server.node.url}/download/backup?token=")
    assert (last_event(backup).kind, last_event(backup).detail) == (
        "download_link_issued",
        "for one download",
    )


def test_download_while_the_store_is_down(admin_client, down, server):
    backup = backup_in(State.COMPLETED, server=server, disk=down, object_key="k", name="Far")
    answer = admin_client.post(page_of(backup, "download"), follow=True)
    (complaint,) = said(answer)
    assert complaint.startswith("Not done: Far. ")
    assert "very-secret-indeed" not in answer.content.decode()
    assert notes() == []


# Lock, unlock, expire


def test_lock_and_unlock(admin_client, memory, server):
    backup = backup_in(State.COMPLETED, server=server, disk="memory")
    assert said(admin_client.post(page_of(backup, "lock"), follow=True)) == ["1 backup was locked."]
    assert Backup.objects.get().is_locked
    assert "unlock" in offered(admin_client, backup)
    answer = admin_client.post(page_of(backup, "unlock"), follow=True)
    assert said(answer) == ["1 backup was unlocked."]
    assert not Backup.objects.get().is_locked
    assert notes() == ["Locked.", "Unlocked."]


def test_expire_asks_first(admin_client, uploading, open_uploads):
    page = admin_client.get(page_of(uploading, "expire"))
    assert "1 backup will be ended now, even if its node is still at work." in text(page)
    assert "backup-button-warning" in page.content.decode()
    assert len(open_uploads()) == 1

    answer = admin_client.post(page_of(uploading, "expire"), follow=True)

    assert said(answer) == ["1 backup: 1 failed."]
    assert open_uploads() == []
    uploading.refresh_from_db()
    assert uploading.state is State.FAILED
    assert notes() == ["Expired."]


def test_action_expire_asks_first(act, uploading, open_uploads):
    ended = backup_in(State.COMPLETED, name="Long done")
    answer = act("expire", [uploading, ended])
    page = text(answer)
    assert "1 backup will be ended now, even if its node is still at work." in page
    assert "The others are kept" in page
    assert "There is nothing to expire." in page
    assert f'value="{uploading.pk}"' in answer.content.decode()
    assert f'name="_selected_action" value="{ended.pk}"' not in answer.content.decode()
    assert len(open_uploads()) == 1


@pytest.mark.parametrize("action", ["expire", "delete_selected"])
def test_no_returns_to_the_list_as_it_was_filtered(act, action):
    backup = backup_in(State.PENDING if action == "expire" else State.FAILED)
    answer = act(action, [backup], query="?disk=wings")
    assert f'<a href="{LIST}?disk=wings" class="backup-button' in answer.content.decode()


def test_action_expire_of_nothing_that_can_be_ended_has_no_button(act):
    answer = act("expire", [backup_in(State.COMPLETED)])
    assert "None of these backups can be ended now." in text(answer)
    assert "backup-button-warning" not in answer.content.decode()


# All of them


@pytest.mark.parametrize("verb", ["restore", "download", "lock", "unlock", "expire"])
def test_backup_that_is_gone(admin_client, verb):
    answer = admin_client.post(f"{LIST}4711/{verb}/", follow=True)
    assert said(answer) == ["This backup does not exist; it may have been deleted."]
    assert answer.redirect_chain == [(LIST, 302)]


@pytest.mark.parametrize("verb", ["restore", "download", "lock", "unlock", "expire", "progress"])
def test_no_transaction_is_around_store_calls(verb):
    """Under ATOMIC_REQUESTS too."""
    assert resolve(f"{LIST}1/{verb}/").func._non_atomic_requests == set(connections)


# Progress


def progress(client, backup):
    answer = client.get(page_of(backup, "progress"))
    assert answer.status_code == 200
    return answer["X-Backup-State"], " ".join(text(answer).split())


def test_progress_of_an_upload(admin_client, uploading):
    state, shown = progress(admin_client, uploading)
    assert state == "uploading"
    expected = "1 of 3 parts, 5.0 MB of 11.0 MB, have arrived; the last one "
    assert shown.replace("\xa0", " ").startswith(expected)
    answer = admin_client.get(page_of(uploading, "progress")).content.decode()
    assert f'<progress max="{11 * MIB}" value="{5 * MIB}"' in answer


def test_page_asks_no_store(admin_client, down, monkeypatch):
    backup = backup_in(State.UPLOADING, disk=down)
    asked = []
    for name in STORE_CALLS:
        monkeypatch.setattr(S3Backend, name, lambda *_, name=name, **__: asked.append(name))
    page = admin_client.get(page_of(backup))
    assert asked == []
    assert "The node is uploading the archive." in text(page)
    assert page_of(backup, "progress") in page.content.decode()


def test_progress_while_the_store_is_down(admin_client, down):
    state, shown = progress(admin_client, backup_in(State.UPLOADING, disk=down))
    assert state == "uploading"
    assert "The store does not tell how much has arrived: " in shown
    assert "very-secret-indeed" not in shown


def test_progress_without_script(admin_client, uploading):
    page = text(admin_client.get(page_of(uploading) + "?look"))
    assert "1 of 3 parts" in page


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (State.PENDING, "Waiting for the node to begin the upload."),
        (State.REPORTED, "The store is putting the parts together."),
        (State.DELETING, "The archive is being deleted."),
        (State.COMPLETED, ""),
        (State.FAILED, ""),
    ],
)
def test_progress_of_other_states(admin_client, state, shown):
    assert progress(admin_client, backup_in(state)) == (state.value, shown)


def test_progress_of_a_backup_that_is_gone(admin_client):
    answer = admin_client.get(f"{LIST}4711/progress/")
    assert (answer.status_code, answer["X-Backup-State"]) == (200, "gone")


def test_progress_of_a_streamed_upload(admin_client, backup):
    ticket = lifecycle.request_parts(backup, 1)
    assert progress(admin_client, backup) == ("uploading", "No part has arrived yet.")
    requests.put(ticket.urls[0], data=b"x" * ticket.part_size, timeout=60).raise_for_status()
    assert "1 part, 5.0" in progress(admin_client, backup)[1]
    assert "<progress" not in admin_client.get(page_of(backup, "progress")).content.decode()
