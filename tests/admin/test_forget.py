"""Forgetting backups whose disk is not configured."""

from __future__ import annotations

import datetime as dt

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.admin import actions
from backups_remote.models import Backup, Server
from tests.admin.pages import LIST, backup_in, page_of, rows, said, text, user_with

pytestmark = pytest.mark.django_db

State = Backup.State


@pytest.fixture(autouse=True)
def broken_disks(settings):
    """The settings have disks that cannot be set up; of ``late`` only the first call shows it."""
    kind = "storages.backends.s3.S3Storage"
    late = {"bucket_name": "backups", "client_config": {}}
    settings.STORAGES = {
        **settings.STORAGES,
        "broken": {"BACKEND": kind, "OPTIONS": {"bucket": "misspelt"}},
        "late": {"BACKEND": kind, "OPTIONS": late | {"access_key": "a", "secret_key": "b"}},
    }


def test_deletion_on_unconfigured_disk_is_explained_and_changes_nothing(
    act, admin_client, unconfigured_backup
):
    before = rows()
    for page in (
        act("delete_selected", [unconfigured_backup]),
        admin_client.get(page_of(unconfigured_backup, "delete")),
    ):
        assert "None of these backups can be deleted now." in text(page)
        assert "Its disk is not configured, so its archive cannot be deleted." in text(page)
        assert "Backups whose disk is not configured are not changed" in text(page)
        assert 'type="submit" value="Yes' not in page.content.decode()
        assert "_selected_action" not in page.content.decode()

    for answer in (
        act("delete_selected", [unconfigured_backup], post="yes"),
        admin_client.post(page_of(unconfigured_backup, "delete"), {"post": "yes"}, follow=True),
    ):
        assert said(answer) == [
            "Not done: Stranded. Its disk is not configured, so its archive cannot be deleted."
        ]
    assert rows() == before
    assert not LogEntry.objects.exists()


def test_delete_of_deleting_backup_on_unconfigured_disk_is_not_done(act, server):
    going = backup_in(
        State.DELETING, server=server, disk="retired", object_key="key.tar.gz", name="Going"
    )

    (complaint,) = said(act("delete_selected", [going], post="yes"))

    assert complaint == (
        "Not done: Going. Its disk is not configured, so its archive cannot be deleted."
    )


@pytest.mark.parametrize("verb", ["delete", "expire", "restore"])
def test_disk_that_cannot_be_set_up_is_named_as_the_reason(admin_client, server, verb):
    state = State.UPLOADING if verb == "expire" else State.COMPLETED
    backup = backup_in(state, server=server, disk="broken", name="Stranded")
    before = rows()

    asked = admin_client.get(page_of(backup, verb), follow=True)
    posted = admin_client.post(page_of(backup, verb), {"post": "yes"}, follow=True)

    assert "Its disk cannot be set up: correct its options first." in text(asked)
    (complaint,) = said(posted)
    assert complaint.startswith("Not done: Stranded. ")
    assert "cannot be set up: " in complaint
    assert rows() == before


def test_deletion_on_a_disk_whose_first_call_fails_is_not_called_done(act, server):
    backup = backup_in(
        State.COMPLETED, server=server, disk="late", object_key="key.tar.gz", name="Stranded"
    )

    (complaint,) = said(act("delete_selected", [backup], post="yes"))

    assert complaint.startswith("Not done: Stranded. The disk 'late' cannot be set up (")
    assert complaint.endswith("The deletion has begun; the next sweep will continue it.")
    backup.refresh_from_db()
    assert backup.state is State.DELETING


def test_delete_of_what_stored_nothing_needs_no_disk(act, admin_client, server):
    failed = backup_in(State.FAILED, server=server, disk="retired", name="Failed")
    page = text(admin_client.get(page_of(failed, "delete")))
    assert "is not configured" not in page

    assert said(act("delete_selected", [failed], post="yes")) == ["1 backup was deleted."]


@pytest.mark.parametrize("written", [str, lambda u: f" {str(u).upper()} ", lambda u: u.hex])
def test_forget_deletes_only_the_row_after_uuid_is_typed(
    admin_client, unconfigured_backup, caplog, written
):
    pk = unconfigured_backup.pk
    others = {
        backup_in(State.COMPLETED, server=unconfigured_backup.server, disk="retired", name="Other"),
        backup_in(State.PENDING),
    }
    assert (
        page_of(unconfigured_backup, "forget")
        in admin_client.get(page_of(unconfigured_backup)).content.decode()
    )
    asked = admin_client.get(page_of(unconfigured_backup, "forget"))
    assert "The disk retired is not configured" in text(asked)
    assert str(unconfigured_backup.uuid) in text(asked)

    form = {"uuid": written(unconfigured_backup.uuid)}
    answer = admin_client.post(page_of(unconfigured_backup, "forget"), form, follow=True)

    assert said(answer) == ["Stranded was forgotten."]
    assert answer.redirect_chain == [(LIST, 302)]
    assert set(Backup.objects.all()) == others
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.object_repr, entry.is_deletion()) == (str(pk), "Stranded", True)
    assert entry.get_change_message() == (
        "Forgotten; its archive, if any, was left on the disk retired."
    )
    assert f"The row of backup {unconfigured_backup.uuid} was deleted." in caplog.text


@pytest.mark.parametrize("typed", ["", "yes", "{other}", "{uuid}0", "{uuid}\0"])
def test_forget_requires_the_matching_uuid(admin_client, unconfigured_backup, typed):
    other = backup_in(State.COMPLETED, server=unconfigured_backup.server, disk="retired")
    before = rows()

    answer = admin_client.post(
        page_of(unconfigured_backup, "forget"),
        {"uuid": typed.format(uuid=unconfigured_backup.uuid, other=other.uuid)},
    )

    assert answer.status_code == 200
    (problem,) = answer.context["form"].errors["uuid"]
    assert problem in text(answer)
    if typed and "\0" not in typed:
        assert problem == "This is not the UUID of this backup."
    assert rows() == before
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    "permissions",
    [
        ("view_backup",),
        ("view_backup", "change_backup", "delete_backup", "add_backup"),
        ("forget_backup",),
    ],
)
def test_forget_needs_forget_and_view_permission(client, unconfigured_backup, permissions):
    client.force_login(user_with(*permissions))
    before = rows()

    if "view_backup" in permissions:
        assert "forget" not in client.get(page_of(unconfigured_backup)).content.decode()
    assert client.get(page_of(unconfigured_backup, "forget")).status_code == 403
    form = {"uuid": str(unconfigured_backup.uuid)}
    assert client.post(page_of(unconfigured_backup, "forget"), form).status_code == 403
    assert rows() == before
    assert not LogEntry.objects.exists()


def test_forget_needs_no_other_permission(client, unconfigured_backup):
    client.force_login(user_with("view_backup", "forget_backup"))
    assert (
        page_of(unconfigured_backup, "forget")
        in client.get(page_of(unconfigured_backup)).content.decode()
    )

    client.post(page_of(unconfigured_backup, "forget"), {"uuid": str(unconfigured_backup.uuid)})

    assert not Backup.objects.exists()


def test_anonymous_users_cannot_forget(client, unconfigured_backup):
    answer = client.post(
        page_of(unconfigured_backup, "forget"), {"uuid": str(unconfigured_backup.uuid)}
    )

    assert answer["Location"].startswith("/admin/login/")
    assert Backup.objects.get() == unconfigured_backup


def restored(backup):
    assert backup.server.begin_restore(backup)


def locked(backup):
    assert lifecycle.lock_backup(backup)


def configured(backup):
    Backup.objects.filter(pk=backup.pk).update(disk="wings")


def broken(backup):
    Backup.objects.filter(pk=backup.pk).update(disk="broken")


FORGET_REFUSALS = [
    (configured, "Its disk is configured: delete it instead."),
    (broken, "Its disk cannot be set up: correct its options first."),
    (locked, "The backup is locked."),
    (restored, "The backup is being restored."),
]


@pytest.mark.parametrize(("circumstance", "reason"), FORGET_REFUSALS)
@pytest.mark.parametrize("method", ["get", "post"])
def test_forget_is_refused(admin_client, unconfigured_backup, circumstance, reason, method):
    circumstance(unconfigured_backup)
    before = rows()

    answer = getattr(admin_client, method)(
        page_of(unconfigured_backup, "forget"), {"uuid": str(unconfigured_backup.uuid)}, follow=True
    )

    assert said(answer) == [f"Not done: Stranded. {reason}"]
    assert answer.redirect_chain == [(page_of(unconfigured_backup), 302)]
    assert rows() == before
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(("circumstance", "reason"), FORGET_REFUSALS)
def test_forget_is_refused_after_concurrent_change(
    admin_client, unconfigured_backup, circumstance, reason, monkeypatch
):
    """The page has looked and seen nothing against it; the verb looks again."""
    circumstance(unconfigured_backup)
    before = rows()
    monkeypatch.setattr(actions, "why_not_forgotten", lambda backup: "")

    form = {"uuid": str(unconfigured_backup.uuid)}
    (complaint,) = said(
        admin_client.post(page_of(unconfigured_backup, "forget"), form, follow=True)
    )

    assert complaint.startswith("Not done: Stranded. The ")
    assert rows() == before
    assert not LogEntry.objects.exists()


def test_overdue_restore_does_not_prevent_forget(admin_client, unconfigured_backup):
    restored(unconfigured_backup)
    Server.objects.update(restore_started_at=timezone.now() - dt.timedelta(days=2))

    admin_client.post(
        page_of(unconfigured_backup, "forget"), {"uuid": str(unconfigured_backup.uuid)}
    )

    assert not Backup.objects.exists()
    assert Server.objects.get().restoring_backup is None


@pytest.mark.parametrize("state", State)
def test_forget_works_in_every_state(admin_client, state):
    """Nothing else can be done about any of them."""
    backup = backup_in(state, disk="retired")

    admin_client.post(page_of(backup, "forget"), {"uuid": str(backup.uuid)})

    assert not Backup.objects.exists()


@pytest.mark.parametrize("disk", ["wings", "broken"])
def test_forget_is_not_offered_where_the_disk_is_configured(admin_client, disk):
    backup = backup_in(State.COMPLETED, disk=disk)
    content = admin_client.get(page_of(backup)).content.decode()

    assert "/forget/" not in content


@pytest.mark.parametrize("key", ["4711", "nonsense", "%00"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_forget_of_missing_backup(admin_client, method, key):
    answer = getattr(admin_client, method)(f"{LIST}{key}/forget/", follow=True)

    assert said(answer) == ["This backup does not exist; it may have been deleted."]
