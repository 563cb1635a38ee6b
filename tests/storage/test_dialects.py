"""Each trait of a dialect, as the store in memory shows it and as the app copes with it."""

import datetime as dt
import uuid

import pytest

from backups_remote import lifecycle
from backups_remote.exceptions import (
    BackupsRemoteError,
    StorageUnavailable,
    UploadNotFound,
    UploadRejected,
)
from backups_remote.models import Backup
from backups_remote.storage import multipart_etag
from backups_remote.testing import MemoryBackend
from tests.support.memory import (
    ARCHIVE,
    MINUTE,
    complete_in_store,
    reported,
    success,
    uploaded,
    uploading_backup,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("memory")]

OTHER_ETAG = '"00000000000000000000000000000000"'


def uploaded_to(dialect):
    """An upload with its part: backend, key, upload id, ETags."""
    MemoryBackend.behave_like(dialect)
    backend = MemoryBackend("memory")
    key = backend.object_key(uuid.uuid4(), uuid.uuid4())
    upload_id = backend.create_upload(key, "mark")
    return backend, key, upload_id, [MemoryBackend.put_part(f"memory://{upload_id}/1", ARCHIVE)]


@pytest.mark.parametrize("dialect", ["swift", "versitygw", "seaweedfs"])
def test_a_second_complete_succeeds(dialect):
    backend, key, upload_id, etags = uploaded_to(dialect)
    first = backend.complete_upload(key, upload_id, etags)
    assert backend.complete_upload(key, upload_id, etags) == first == backend.stat(key).etag


@pytest.mark.parametrize("dialect", ["aws", "rclone", "minio", "s3proxy", "garage", "ceph"])
def test_a_second_complete_says_that_the_upload_is_gone(dialect):
    backend, key, upload_id, etags = uploaded_to(dialect)
    backend.complete_upload(key, upload_id, etags)
    if dialect == "s3proxy":
        # Its answer is read as it comes: its list of parts tells nothing.
        assert backend.list_parts(key, upload_id) == []
    with pytest.raises(UploadNotFound):
        backend.complete_upload(key, upload_id, etags)


def test_the_answer_to_a_second_complete_may_be_computed_from_its_request():
    backend, key, upload_id, etags = uploaded_to("versitygw")
    etag = backend.complete_upload(key, upload_id, etags)
    answered = backend.complete_upload(key, upload_id, [OTHER_ETAG])
    assert answered == multipart_etag([OTHER_ETAG]) != etag
    assert backend.stat(key).etag == etag


def test_a_complete_may_name_no_etag():
    backend, key, upload_id, etags = uploaded_to("ceph")
    assert backend.complete_upload(key, upload_id, etags) == ""
    assert backend.stat(key).etag == multipart_etag(etags)


def test_the_parts_of_an_ended_upload_may_be_an_empty_list():
    backend, key, upload_id, etags = uploaded_to("s3proxy")
    backend.complete_upload(key, upload_id, etags)
    assert backend.list_parts(key, upload_id) == []
    assert backend.list_parts(key, "unknown") == []
    assert not backend.upload_exists(key, upload_id)


@pytest.mark.parametrize(
    ("dialect", "error"), [("s3proxy", UploadRejected), ("ceph", UploadNotFound)]
)
def test_a_complete_that_lost_against_another_is_refused(dialect, error):
    backend, key, upload_id, etags = uploaded_to(dialect)
    MemoryBackend.complete_beside_another(upload_id)
    with pytest.raises(error):
        backend.complete_upload(key, upload_id, etags)
    assert backend.stat(key).size == len(ARCHIVE)


@pytest.mark.parametrize(
    ("dialect", "is_there", "is_intact"),
    [("garage", False, False), ("swift", True, False), ("minio", True, True)],
)
def test_what_an_abort_beside_a_complete_leaves(dialect, is_there, is_intact):
    backend, key, upload_id, etags = uploaded_to(dialect)
    MemoryBackend.abort_beside_complete(upload_id)
    backend.complete_upload(key, upload_id, etags)
    assert (backend.stat(key) is not None, backend.is_intact(key)) == (is_there, is_intact)


def test_an_idle_upload_may_be_dropped():
    backend, key, upload_id, _ = uploaded_to("minio")
    upload = MemoryBackend.uploads[upload_id]
    upload.started_at -= dt.timedelta(hours=25)
    assert backend.upload_exists(key, upload_id)
    upload.uploaded_at[1] -= dt.timedelta(hours=25)
    assert not backend.upload_exists(key, upload_id)
    with pytest.raises(UploadNotFound):
        backend.list_parts(key, upload_id)


@pytest.mark.parametrize("key", ["a//b", "a/../b"])
def test_a_key_may_be_refused(key):
    MemoryBackend.behave_like("minio")
    with pytest.raises(StorageUnavailable):
        MemoryBackend("memory").create_upload(key, "mark")


# What the app makes of them


@pytest.mark.parametrize("dialect", ["swift", "ceph", "versitygw", "s3proxy", "seaweedfs"])
def test_a_report_of_a_finished_upload_is_proven_by_the_object(dialect):
    MemoryBackend.behave_like(dialect)
    backup = uploaded()
    complete_in_store(backup)
    lifecycle.record_report(backup, success(backup))
    assert Backup.objects.get().state is Backup.State.COMPLETED


@pytest.mark.parametrize(("dialect", "mark"), [("versitygw", None), ("swift", "another")])
def test_a_complete_that_succeeds_again_proves_no_other_object(memory, dialect, mark):
    """The object is not this upload's, whatever Complete says of the ETag."""
    MemoryBackend.behave_like(dialect)
    backup = reported(held_for=-MINUTE)
    complete_in_store(backup)
    found = MemoryBackend.objects[backup.object_key]
    found.mark, found.etag = mark, "another"
    memory.calls.clear()
    with pytest.raises(BackupsRemoteError):
        lifecycle.record_report(Backup.objects.get(), success(backup))
    assert memory.calls["complete_upload"] == 1
    assert Backup.objects.get().completed_at is None


@pytest.mark.parametrize("dialect", ["ceph", "s3proxy"])
def test_a_completion_that_lost_against_another_costs_no_backup(dialect):
    MemoryBackend.behave_like(dialect)
    backup = uploaded()
    MemoryBackend.complete_beside_another(backup.upload_id)
    lifecycle.record_report(backup, success(backup))
    assert Backup.objects.get().state is Backup.State.COMPLETED


def test_a_node_that_asks_again_for_an_upload_that_was_dropped_gets_another():
    MemoryBackend.behave_like("minio")
    backup = uploading_backup()
    first = backup.upload_id
    MemoryBackend.uploads[first].started_at -= dt.timedelta(hours=25)
    lifecycle.request_upload(backup, len(ARCHIVE))
    backup.refresh_from_db()
    assert backup.upload_id not in {first, ""}
