"""The sweep on stores whose list of open uploads misses some."""

import datetime as dt
from dataclasses import replace

import pytest

from backups_remote import lifecycle
from backups_remote.exceptions import StorageUnavailable
from backups_remote.testing import DIALECTS, MemoryBackend
from tests.support.factories import ServerFactory
from tests.support.memory import completed_backup, uploading_backup

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

#: A proxy in front of the store replaces its Server header.
MINIO_BEHIND_A_PROXY = replace(DIALECTS["minio"], server_header="nginx")


def swept(*, older_than=dt.timedelta(0), **options):
    outcomes = lifecycle.sweep(older_than=older_than, disk="memory", **options)
    return [(outcome.action, outcome.subject) for outcome in outcomes]


def hidden_orphan(*, age=dt.timedelta(hours=20)):
    """An upload without a row that only the list of its exact key names."""
    backup = completed_backup(ServerFactory())
    orphan = MemoryBackend("memory").create_upload(backup.object_key, "mark")
    MemoryBackend.uploads[orphan].started_at -= age
    MemoryBackend.restart()
    return backup.object_key, orphan


@pytest.mark.parametrize("is_dry_run", [False, True])
def test_a_store_that_lists_exact_keys_only_is_known_by_an_open_upload(is_dry_run):
    MemoryBackend.behave_like(MINIO_BEHIND_A_PROXY)
    key, orphan = hidden_orphan()
    listed = completed_backup(ServerFactory())
    also_listed = MemoryBackend("memory").create_upload(listed.object_key, "mark")
    MemoryBackend.uploads[also_listed].started_at -= dt.timedelta(hours=20)
    uploading_backup()
    assert MemoryBackend("memory").lists_every_upload()
    assert swept(older_than=dt.timedelta(hours=10), dry_run=is_dry_run) == [
        ("orphan aborted", listed.object_key),
        ("orphan aborted", key),
        ("notice", "memory"),
    ]
    assert (orphan in MemoryBackend.uploads) is is_dry_run


def test_an_upload_that_is_gone_proves_nothing_about_its_object():
    MemoryBackend.behave_like(MINIO_BEHIND_A_PROXY)
    key, _ = hidden_orphan()
    uploading_backup()
    gone = uploading_backup()
    MemoryBackend("memory").abort_upload(gone.object_key, gone.upload_id)
    assert ("orphan aborted", key) in swept(older_than=dt.timedelta(hours=10))


def test_a_store_that_lists_by_prefix_is_asked_for_no_more():
    uploading_backup()
    completed_backup(ServerFactory())
    assert swept(older_than=dt.timedelta(hours=10)) == []


def test_a_key_whose_list_fails_does_not_stop_the_others(monkeypatch):
    MemoryBackend.behave_like("minio")
    hidden = [hidden_orphan() for _ in range(3)]
    newest_but_one = hidden[1][0]
    listed = MemoryBackend.open_uploads_of

    def open_uploads_of(self, key):
        if key == newest_but_one:
            raise StorageUnavailable("Down.")
        return listed(self, key)

    monkeypatch.setattr(MemoryBackend, "open_uploads_of", open_uploads_of)
    assert swept() == [
        ("orphan aborted", hidden[2][0]),
        ("orphan aborted", hidden[0][0]),
        ("error", newest_but_one),
        ("notice", "memory"),
    ]
    assert list(MemoryBackend.uploads) == [hidden[1][1]]
