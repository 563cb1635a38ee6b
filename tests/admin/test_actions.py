"""Locking, expiring and deleting from the admin."""

from __future__ import annotations

import datetime as dt
import os
import re

import pytest
import requests
from django.contrib.admin.models import LogEntry
from django.db import connections
from django.urls import resolve
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.admin import actions
from backups_remote.exceptions import StorageRefused
from backups_remote.models import Backup
from backups_remote.storage import get_backend
from tests.admin.pages import LIST, backup_in, page_of, rows, said, text
from tests.support.factories import BackupFactory
from tests.support.rows import remove
from tests.support.scripted import Answer

pytestmark = pytest.mark.django_db

MIB = 1024**2
State = Backup.State


def test_lock_and_unlock(act, admin_client):
    completed = backup_in(State.COMPLETED, name="Nightly")
    pending = backup_in(State.PENDING, name="Tonight")
    failed = backup_in(State.FAILED, name="Unlucky")
    locked = backup_in(State.COMPLETED, is_locked=True, name="Kept")

    answer = act("lock", [completed, pending, failed, locked])

    assert sorted(said(answer)) == [
        "2 backups were locked.",
        "Not done: Kept. It is already locked.",
        "Not done: Unlucky. There is no archive to lock.",
    ]
    assert set(Backup.objects.filter(is_locked=True)) == {completed, pending, locked}

    answer = act("unlock", [completed, failed])

    assert said(answer) == ["1 backup was unlocked.", "Not done: Unlucky. It is not locked."]
    assert set(Backup.objects.filter(is_locked=True)) == {pending, locked}
    history = text(admin_client.get(page_of(completed, "history")))
    assert history.index("Locked.") < history.index("Unlocked.")


def test_expire_completes_complete_uploads_and_aborts_others(act, uploading, server, open_uploads):
    completed_backup = BackupFactory(server=server, disk="s3", name="Whole")
    body = os.urandom(MIB)
    ticket = lifecycle.request_upload(completed_backup, len(body))
    requests.put(ticket.urls[0], data=body, timeout=60).raise_for_status()
    ended = backup_in(State.COMPLETED, name="Long done")
    pending = backup_in(State.PENDING)

    answer = act("expire", [uploading, completed_backup, ended, pending], post="yes")

    for backup, state in (
        (uploading, State.FAILED),
        (completed_backup, State.COMPLETED),
        (pending, State.FAILED),
        (ended, State.COMPLETED),
    ):
        backup.refresh_from_db()
        assert backup.state is state
    assert completed_backup.is_recovered
    assert open_uploads() == []
    done, refused = said(answer)
    assert done.startswith("3 backups: ")
    assert "2 failed" in done
    assert "1 recovered" in done
    assert refused == "Not done: Long done. There is nothing to expire."


def test_expire_while_the_store_is_down(act, down):
    lost = backup_in(State.UPLOADING, disk=down, name="Out of reach")
    unknown = backup_in(State.UPLOADING, disk="nowhere", name="Nowhere")

    answer = act("expire", [lost, unknown], post="yes")

    assert answer.status_code == 200
    assert len(said(answer)) == 2
    assert all(message.startswith("Not done: ") for message in said(answer))
    assert "very-secret-indeed" not in " ".join(said(answer))
    lost.refresh_from_db()
    assert lost.state is State.UPLOADING


def test_delete_asks_for_confirmation(act, completed_backup, s3, store):
    locked = backup_in(State.COMPLETED, is_locked=True, name="Kept")
    pending = backup_in(State.PENDING, name="Tonight")

    answer = act("delete_selected", [completed_backup, locked, pending])

    page = text(answer)
    assert "1 backup and its archive will be deleted." in page
    assert "The others are kept" in page
    assert "The backup is locked." in page
    assert "The backup has not ended yet." in page
    assert "Archives on a node's own disk stay there" in page
    content = answer.content.decode()
    assert re.findall(r'name="_selected_action" value="(\d+)"', content) == [
        str(completed_backup.pk)
    ]
    assert Backup.objects.count() == 3
    assert s3.head_object(Bucket=store.bucket, Key=completed_backup.object_key)


def test_delete_deletes_archive_and_row(act, completed_backup, s3, store):
    pk = completed_backup.pk
    locked = backup_in(State.COMPLETED, is_locked=True, name="Kept")
    pending = backup_in(State.PENDING, name="Tonight")

    answer = act("delete_selected", [completed_backup, locked, pending], post="yes")

    assert said(answer)[0] == "1 backup was deleted."
    assert sorted(said(answer)[1:]) == [
        "Not done: Kept. The backup is locked.",
        "Not done: Tonight. The backup has not ended yet.",
    ]
    assert set(Backup.objects.all()) == {locked, pending}
    found = s3.list_objects_v2(Bucket=store.bucket, Prefix=completed_backup.object_key)
    assert found["KeyCount"] == 0
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.object_repr, entry.is_deletion()) == (str(pk), "Whole", True)


def test_delete_while_the_store_is_down(act, down):
    backup = backup_in(State.COMPLETED, disk=down, object_key="a/key.tar.gz", name="Out of reach")

    (complaint,) = said(act("delete_selected", [backup], post="yes"))

    assert complaint.startswith("Not done: Out of reach. ")
    assert "the next sweep will continue it" in complaint
    assert "very-secret-indeed" not in complaint
    backup.refresh_from_db()
    assert backup.state is State.DELETING
    assert not LogEntry.objects.exists()


@pytest.mark.usefixtures("calls_daemons")
def test_deletion_that_a_node_carries_on_in_the_background(
    act, scripted_daemon, server_with_daemon
):
    scripted_daemon.answer = Answer(202)
    backup = backup_in(State.COMPLETED, server=server_with_daemon, node=server_with_daemon.node)

    answer = act("delete_selected", [backup], post="yes")

    assert said(answer) == ["1 backup is being deleted by its node."]
    assert [call.method for call in scripted_daemon.calls] == ["DELETE"]
    backup.refresh_from_db()
    assert backup.state is State.DELETING


def test_delete_from_the_page_goes_through_the_lifecycle(admin_client, completed_backup, s3, store):
    assert "1 backup and its archive will be deleted." in text(
        admin_client.get(page_of(completed_backup, "delete"))
    )
    assert Backup.objects.filter(pk=completed_backup.pk).exists()

    answer = admin_client.post(page_of(completed_backup, "delete"), {"post": "yes"}, follow=True)

    assert said(answer) == ["1 backup was deleted."]
    assert not Backup.objects.exists()
    found = s3.list_objects_v2(Bucket=store.bucket, Prefix=completed_backup.object_key)
    assert found["KeyCount"] == 0


def test_delete_from_the_page_respects_the_lock(admin_client):
    backup = backup_in(State.COMPLETED, is_locked=True, name="Kept")

    page = admin_client.get(page_of(backup, "delete"))
    assert "None of these backups can be deleted now." in text(page)
    assert 'type="submit" value="Yes' not in page.content.decode()
    answer = admin_client.post(page_of(backup, "delete"), {"post": "yes"}, follow=True)

    assert said(answer) == ["Not done: Kept. The backup is locked."]
    assert answer.redirect_chain[-1][0] == page_of(backup)
    assert Backup.objects.get() == backup


@pytest.mark.parametrize("method", ["get", "post"])
def test_delete_of_missing_backup(admin_client, method):
    answer = getattr(admin_client, method)(LIST + "4711/delete/", follow=True)

    assert said(answer) == ["This backup does not exist; it may have been deleted."]


def test_delete_of_concurrently_deleted_backup(completed_backup):
    same = Backup.objects.get(pk=completed_backup.pk)
    lifecycle.delete_backup(completed_backup)

    tally = actions.delete([same])

    assert tally.done == [same]
    assert not tally.refused


def test_admin_never_bypasses_the_lifecycle(admin_client, rf):
    """Other code that holds the admin deletes as we do."""
    from django.contrib import admin

    from backups_remote.exceptions import BackupLocked

    backup = backup_in(State.COMPLETED, is_locked=True)
    model_admin = admin.site.get_model_admin(Backup)
    with pytest.raises(BackupLocked):
        model_admin.delete_model(rf.get("/"), backup)
    with pytest.raises(BackupLocked):
        model_admin.delete_queryset(rf.get("/"), Backup.objects.all())
    assert Backup.objects.get() == backup


@pytest.mark.parametrize("verb", [actions.lock, actions.unlock])
@pytest.mark.parametrize("state", [State.COMPLETED, State.DELETING])
def test_lock_of_concurrently_deleted_backup(verb, state):
    gone, other = (
        backup_in(state, name="Nightly"),
        backup_in(State.COMPLETED, is_locked=verb is actions.unlock),
    )
    remove(Backup.objects.filter(pk=gone.pk))

    tally = verb([gone, other])

    assert list(tally.warnings()) == ["Not done: Nightly. It was deleted in the meantime."]
    assert tally.done == [other]


def test_too_many_at_once_are_refused(act, monkeypatch):
    monkeypatch.setattr(actions, "MAX_SELECTED", 2)
    backups = [backup_in(State.COMPLETED) for _ in range(3)]

    for action in ("lock", "unlock", "expire", "delete_selected"):
        answer = act(action, backups, post="yes", select_across=1)
        assert said(answer) == ["Nothing was done: no more than 2 backups can be selected at once."]
    assert Backup.objects.filter(is_locked=False).count() == 3
    assert said(act("lock", backups[:2])) == ["2 backups were locked."]


def test_actions_end_in_time(act, monkeypatch):
    monkeypatch.setattr(actions, "TIME_LIMIT", -1)
    backups = [backup_in(State.PENDING, name=f"No. {n}") for n in range(12)]

    for action in ("lock", "expire"):
        (complaint,) = said(act(action, backups, post="yes"))
        assert "and 2 more. The time limit was reached" in complaint
        assert "No. 1" in complaint
    assert Backup.objects.pending().filter(is_locked=False).count() == 12


@pytest.mark.parametrize("url", [LIST, LIST + "1/delete/", LIST + "1/forget/"])
def test_no_transaction_is_around_store_calls(url):
    """Under ATOMIC_REQUESTS too."""
    assert resolve(url).func._non_atomic_requests == set(connections)


def test_archive_that_the_store_keeps_is_named_with_its_reason(act, completed_backup, monkeypatch):
    def refuse(*_, **__):
        raise StorageRefused("The store answered AccessDenied.")

    monkeypatch.setattr(get_backend(completed_backup.disk), "delete", refuse)
    answer = act("delete_selected", [completed_backup], post="yes")
    assert said(answer) == [
        f"Not done: {completed_backup}. The store answered AccessDenied. The backup stays."
    ]
    completed_backup.refresh_from_db()
    assert completed_backup.state is State.COMPLETED


def test_foreign_object_is_kept_and_named(act, completed_backup, s3, store):
    key = completed_backup.object_key
    s3.put_object(Bucket=store.bucket, Key=key, Body=b"somebody else's")

    answer = act("delete_selected", [completed_backup], post="yes")

    assert said(answer) == [
        "1 backup was deleted.",
        f"Left in the store, because it is not the deleted backup's own: {key}.",
    ]
    assert not Backup.objects.exists()
    left = s3.get_object(Bucket=store.bucket, Key=key)["Body"].read()
    assert left == b"somebody else's"
    s3.delete_object(Bucket=store.bucket, Key=key)


def test_message_names_at_most_ten_kept_objects():
    tally = actions.ActionResult(left=[f"key-{n}" for n in range(12)])

    (sentence,) = tally.warnings()

    assert sentence.endswith("key-8, key-9 and 2 more.")


@pytest.mark.parametrize("held", ["claimed_until", "quiet_until"])
def test_expire_says_that_a_backup_is_being_completed(act, uploading, open_uploads, held):
    Backup.objects.update(
        reported_at=timezone.now(),
        reported_etags=["x"],
        size=11 * MIB,
        **{held: timezone.now() + dt.timedelta(minutes=5)},
    )
    before = rows()

    answer = act("expire", [uploading], post="yes")

    assert said(answer) == [
        f"Not done: {uploading}. The store is completing it; try again in a few minutes."
    ]
    assert rows() == before
    assert len(open_uploads()) == 1


def test_user_acts_in_the_events(act, admin_client, down):
    locked = backup_in(State.COMPLETED, name="Kept")
    expired = backup_in(State.PENDING, disk="wings")
    deleted = backup_in(State.COMPLETED, disk="wings")
    forgotten = backup_in(State.COMPLETED, disk="gone")

    act("lock", [locked])
    act("expire", [expired], post="yes")
    admin_client.post(page_of(deleted, "delete"), {"post": "yes"})
    admin_client.post(page_of(forgotten, "forget"), {"uuid": str(forgotten.uuid)})

    for backup, kinds in (
        (locked, ["locked"]),
        (expired, ["failed"]),
        (deleted, ["deletion_started", "deleted"]),
        (forgotten, ["forgotten"]),
    ):
        events = lifecycle.history(backup)[1:]
        assert [event.kind for event in events] == kinds
        assert {(event.actor, event.actor_name) for event in events} == {("user", "admin")}
