"""Archives that the store shows as whole and cannot hand out: no restore may begin."""

import pytest
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import BackupsRemoteError, RestoreRefused
from backups_remote.models import Server
from backups_remote.testing import MemoryBackend
from backups_remote.testing.store import Upload
from tests.support.memory import complete_in_store, completed_backup, put_part, success, uploaded

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("memory")]


def assert_not_restored(backup, why):
    assert MemoryBackend("memory").stat(backup.object_key) is not None
    with pytest.raises(RestoreRefused, match=why):
        lifecycle.start_restore(backup)
    assert Server.objects.get().status is None


def test_an_archive_broken_by_an_abort_beside_its_completion_is_not_restored():
    """Its parts are listed as none, so only a byte of it shows that it cannot be read."""
    MemoryBackend.behave_like("swift")
    backup = uploaded()
    MemoryBackend.abort_beside_complete(backup.upload_id)
    lifecycle.record_report(backup, success(backup))
    backup.refresh_from_db()
    assert MemoryBackend("memory").list_parts(backup.object_key, backup.upload_id) == []
    assert_not_restored(backup, "cannot be read")


def test_an_archive_whose_later_part_was_replaced_is_not_restored(memory):
    """Its first byte can still be read: only the parts that are listed show it."""
    MemoryBackend.behave_like("swift")
    backup = completed_backup()
    backup.refresh_from_db()
    put_part(backup, b"replace")
    memory.objects[backup.object_key].is_broken = False
    assert_not_restored(backup, "was replaced")


def test_where_an_abort_undoes_a_completion_the_backup_is_not_completed():
    """Both were told that they succeeded, and there is no object."""
    MemoryBackend.behave_like("garage")
    backup = uploaded()
    MemoryBackend.abort_beside_complete(backup.upload_id)
    complete_in_store(backup)
    assert MemoryBackend("memory").stat(backup.object_key) is None
    with pytest.raises(BackupsRemoteError):
        lifecycle.record_report(backup, success(backup))
    backup.refresh_from_db()
    assert backup.completed_at is None


def test_several_tries_at_one_part_do_not_refuse_a_restore(monkeypatch):
    """A store may list every try. Which of them the archive is made of is not known."""
    backup = completed_backup()
    upload = Upload(backup.object_key, backup.upload_mark, timezone.now())
    MemoryBackend.uploads[backup.upload_id] = upload
    put_part(backup)
    once = MemoryBackend("memory").list_parts(backup.object_key, backup.upload_id)
    put_part(backup, b"earlier")
    again = MemoryBackend("memory").list_parts(backup.object_key, backup.upload_id)
    monkeypatch.setattr(MemoryBackend, "list_parts", lambda *_: [*once, *again])
    assert lifecycle.start_restore(backup) is not None
