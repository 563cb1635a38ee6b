"""A host project's rows protect backups; tests/lifecycle/test_protected_rows.py runs this by itself."""

from __future__ import annotations

import datetime as dt
import io

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import BackupConflict, BackupLocked
from backups_remote.models import Backup
from tests.admin.pages import text
from tests.support.factories import ServerFactory
from tests.support.holds.models import Invoice, LegalHold, Offer, SignedBackup
from tests.support.memory import SIZE, completed_backup, put_part, reported, success, uploaded

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

State = Backup.State
NOW = dt.timedelta(0)


def hold(backup, reason="case 4711"):
    return LegalHold.objects.create(backup=backup, reason=reason)


def sell(backup):
    return Invoice.objects.create(offer=Offer.objects.create(backup=backup))


@pytest.fixture(params=[(hold, "legal hold case 4711"), (sell, "invoice of offer 1")])
def protected(request):
    """A backup, and the words for what protects it."""
    protect, words = request.param
    backup = completed_backup()
    row = protect(backup)
    return backup, words.replace("1", str(row.offer_id)) if protect is sell else words


def assert_untouched(memory, backup):
    row = Backup.objects.get(pk=backup.pk)
    assert row.state is State.COMPLETED
    assert row.object_key in memory.objects


def test_protected_backup_is_not_deleted(memory, protected):
    backup, words = protected
    with pytest.raises(BackupConflict, match=f"^The backup is protected by {words}\\.$"):
        lifecycle.delete_backup(backup)
    assert_untouched(memory, backup)
    Invoice.objects.all().delete()
    LegalHold.objects.all().delete()
    lifecycle.delete_backup(backup)
    assert not Backup.objects.exists()


def test_rows_that_may_go_go_along(memory):
    backup = completed_backup()
    Offer.objects.create(backup=backup)
    lifecycle.delete_backup(backup)
    assert not Offer.objects.exists()


def test_only_a_few_rows_are_named():
    backup = completed_backup()
    for number in range(5):
        hold(backup, f"case {number}")
    with pytest.raises(
        BackupConflict,
        match=r"by legal hold case 0, legal hold case 1, legal hold case 2 and 2 more\.$",
    ):
        lifecycle.delete_backup(backup)


def test_rotation_goes_on_to_the_next(memory):
    server = ServerFactory(backup_limit=None)
    oldest, second, third = (completed_backup(server) for _ in range(3))
    hold(oldest)
    server.backup_limit = 2
    server.save()
    assert lifecycle.rotate_backups(server) == [second.uuid]
    assert_untouched(memory, oldest)
    assert_untouched(memory, third)


def test_deletion_that_is_protected_meanwhile_waits(memory, capsys):
    """The hold is placed after the decision, before the sweep has finished it."""
    backup = completed_backup()
    assert Backup.objects.get().begin_deletion()
    held = hold(backup)
    for dry_run in (True, False):
        outcomes = list(lifecycle.sweep(older_than=NOW, dry_run=dry_run))
        assert [(o.action, o.detail) for o in outcomes] == [
            ("notice", "The backup is protected by legal hold case 4711.")
        ]
    row = Backup.objects.get()
    assert row.object_key in memory.objects
    call_command("expire_stale_uploads", stdout=io.StringIO())  # exit code 0
    with pytest.raises(BackupConflict, match="legal hold"):
        lifecycle.delete_backup(row)
    held.delete()
    assert [o.action for o in lifecycle.sweep(older_than=NOW)] == ["deleted"]


def test_hold_that_comes_after_the_archive_is_gone_keeps_the_row(memory):
    backup = completed_backup()

    def and_hold(call):
        call()
        hold(backup)

    memory.instead["delete"] = and_hold
    with pytest.raises(BackupConflict, match="legal hold"):
        lifecycle.delete_backup(backup)
    assert Backup.objects.get().state is State.DELETING


def test_protected_row_is_not_forgotten(settings):
    backup = completed_backup()
    hold(backup)
    Backup.objects.update(disk="gone")
    backup.refresh_from_db()
    with pytest.raises(BackupConflict, match="legal hold"):
        lifecycle.forget_backup(backup)
    assert Backup.objects.exists()


def test_confirmation_names_what_protects(admin_client, memory):
    backup = completed_backup()
    hold(backup)
    url = f"/admin/backups_remote/backup/{backup.pk}/delete/"
    assert "The backup is protected by legal hold case 4711." in text(admin_client.get(url))
    answer = admin_client.post(url, {"post": "yes"}, follow=True)
    assert answer.status_code == 200
    assert "legal hold case 4711" in text(answer)
    assert_untouched(memory, backup)


# Backups of a model that the host project derives


def derived(backup):
    """The backup, as a row of the host project's own model."""
    child = SignedBackup(backup_ptr_id=backup.pk, signature="s")
    child.__dict__.update(
        {name: value for name, value in backup.__dict__.items() if name != "_state"}
    )
    child.save_base(raw=True)
    return SignedBackup.objects.get(pk=backup.pk)


def test_derived_backup_has_a_whole_life(memory):
    backup = derived(lifecycle.start_backup(ServerFactory()))
    lifecycle.request_upload(backup, SIZE)
    backup.etag = put_part(backup)
    lifecycle.record_report(backup, success(backup))
    assert backup.is_verified
    lifecycle.lock_backup(backup)
    assert SignedBackup.objects.get().is_locked
    with pytest.raises(BackupLocked):
        lifecycle.delete_backup(backup)
    lifecycle.unlock_backup(backup)
    assert lifecycle.start_restore(backup)
    with pytest.raises(BackupConflict, match="being restored"):
        lifecycle.delete_backup(backup)
    lifecycle.record_restore(backup, successful=True)
    backup.signature = "t"
    backup.save()
    assert SignedBackup.objects.get().signature == "t"
    lifecycle.delete_backup(backup)
    assert not SignedBackup.objects.exists()
    assert not Backup.objects.exists()
    assert not memory.objects


def test_derived_backup_is_claimed_once():
    backup = derived(reported(held_for=-dt.timedelta(minutes=1)))
    others = [Backup.objects.get(), SignedBackup.objects.get()]
    until = timezone.now() + dt.timedelta(minutes=1)
    assert backup.claim(until)
    assert [other.claim(until) for other in others] == [False] * 2


def test_derived_backup_is_claimed_by_one_statement():
    """Whoever claims it just before that statement keeps it."""
    backup = derived(reported(held_for=-dt.timedelta(minutes=1)))
    other = Backup.objects.get()
    until = timezone.now() + dt.timedelta(minutes=1)
    claims = []

    def after_the_other(execute, sql, *rest):
        if sql.startswith("UPDATE") and not claims:
            claims.append(None)
            claims.append(other.claim(until))
        return execute(sql, *rest)

    with connection.execute_wrapper(after_the_other):
        assert not backup.claim(until)
    assert claims == [None, True]


def test_derived_backup_is_failed_swept_and_rotated():
    server = ServerFactory()
    silent = derived(uploaded(server))
    assert silent.fail("silence")
    whole = [derived(completed_backup(server)) for _ in range(3)]
    assert [outcome.action for outcome in lifecycle.sweep()] == ["upload aborted"]
    server.backup_limit = 1
    server.save()
    assert len(lifecycle.rotate_backups(server)) == 2
    assert [*SignedBackup.objects.completed()] == [whole[-1]]


def test_derived_backups_are_not_deleted_in_bulk():
    derived(completed_backup())
    with pytest.raises(BackupConflict, match="owns an archive"):
        SignedBackup.objects.all().delete()
    assert SignedBackup.objects.count() == 1
