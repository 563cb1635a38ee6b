"""Backups in each state on the store in memory, and a backend that counts its calls."""

import dataclasses
import datetime as dt
from collections import Counter
from typing import ClassVar

from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.models import Backup
from backups_remote.testing import MemoryBackend
from backups_remote.testing.store import StoredArchive
from backups_remote.types import Report, ReportedPart
from tests.support.factories import ServerFactory
from tests.support.store_calls import STORE_CALLS

ARCHIVE = b"archive"
SIZE = len(ARCHIVE)
MINUTE = dt.timedelta(minutes=1)
#: The calls that EventfulBackend counts.
CALLS = (*STORE_CALLS, "presign_parts")


class EventfulBackend(MemoryBackend):
    """Counts its calls; ``instead`` says what happens in place of one: it is given the call."""

    calls: ClassVar[Counter] = Counter()
    instead: ClassVar[dict] = {}

    @classmethod
    def clear(cls):
        super().clear()
        cls.calls.clear()
        cls.instead.clear()


def _eventful(name):
    def method(self, *args, **kwargs):
        self.calls[name] += 1

        def call():
            return getattr(MemoryBackend, name)(self, *args, **kwargs)

        return self.instead[name](call) if name in self.instead else call()

    return method


for _name in CALLS:
    setattr(EventfulBackend, _name, _eventful(_name))


class BrokenBackend(MemoryBackend):
    """One that cannot be built, as with a misspelt option."""

    def __init__(self, alias):
        raise KeyError("a secret")


class BareBackend(EventfulBackend):
    """A store that keeps no metadata, and makes ETags in a way of its own."""

    def stat(self, key, *, version_id=""):
        found = super().stat(key, version_id=version_id)
        return found and type(found)(found.size, found.etag, None, found.content_type)

    def complete_upload(self, key, upload_id, etags):
        super().complete_upload(key, upload_id, etags)
        self.objects[key].etag = f"of {upload_id}"
        return self.objects[key].etag

    @staticmethod
    def etag_of(part_etags):
        return None


def raising(error):
    """What happens in place of a call: it fails."""

    def fail(_call):
        raise error

    return fail


def uploading_backup(server=None, *, size=SIZE, **fields):
    """A backup whose upload has begun."""
    backup = lifecycle.start_backup(server or ServerFactory(), **fields)
    lifecycle.request_upload(backup, size)
    return backup


def put_part(backup, body=ARCHIVE):
    """The upload's only part; its ETag."""
    return MemoryBackend.put_part(f"memory://{backup.upload_id}/1", body)


def uploaded(server=None, **fields):
    """A backup whose only part is in the store."""
    backup = uploading_backup(server, **fields)
    backup.etag = put_part(backup)
    return backup


def success(backup=None, **changes):
    """A success report that matches the upload."""
    parts = (ReportedPart(1, backup.etag),) if backup is not None else ()
    said = {"checksum": "sha1:abc", "size": len(ARCHIVE), "parts": parts, **changes}
    return Report(successful=True, **said)


def reported(server=None, *, held_for=MINUTE, **fields):
    """A reported backup, claimed by a panel that does nothing more."""
    backup = uploaded(server, **fields)
    assert backup.record_success(
        checksum="sha1:abc",
        size=len(ARCHIVE),
        etags=[backup.etag],
        claimed_until=timezone.now() + held_for,
    )
    return backup


def completed_backup(server=None, disk="memory"):
    """A completed backup."""
    if disk == "wings":
        backup = lifecycle.start_backup(server or ServerFactory(), disk=disk)
        lifecycle.record_report(backup, success())
        return backup
    backup = uploaded(server, disk=disk)
    lifecycle.record_report(backup, success(backup))
    return backup


def complete_in_store(backup):
    """Complete the upload in the store only; the row is not changed."""
    key, upload_id = backup.object_key, backup.upload_id
    MemoryBackend("memory").complete_upload(key, upload_id, [backup.etag])


def set_age(backup, **age):
    """Make the row, the upload and its parts this old."""
    moment = timezone.now() - dt.timedelta(**age)
    Backup.objects.filter(pk=backup.pk).update(created_at=moment, upload_started_at=moment)
    upload = MemoryBackend.uploads.get(backup.upload_id)
    if upload is not None:
        upload.started_at = moment
        upload.uploaded_at = dict.fromkeys(upload.uploaded_at, moment)


def row():
    """The only backup."""
    return Backup.objects.get()


SUCCESS = Report(successful=True, checksum="sha1:abc", size=len(ARCHIVE))


def upload_and_report(backup):
    """Complete a pending backup."""
    if backup.disk == "wings":
        lifecycle.record_report(backup, SUCCESS)
        return backup
    ticket = lifecycle.request_upload(backup, len(ARCHIVE))
    etag = MemoryBackend.put_part(ticket.urls[0], ARCHIVE)
    parts = (ReportedPart(1, etag),)
    report = Report(successful=True, checksum="sha1:abc", size=len(ARCHIVE), parts=parts)
    lifecycle.record_report(backup, report)
    return backup


def remaining_uuids(server):
    return set(Backup.objects.filter(server=server).values_list("uuid", flat=True))


def finished_unreported():
    """A backup whose upload is completed in the store only."""
    backup = uploaded()
    complete_in_store(backup)
    return backup


def failure_report():
    return dataclasses.replace(success(), successful=False)


def put_foreign_object(backup, *, mark=None, body=ARCHIVE, etag="another"):
    """Put another object under the backup's key."""
    mark = backup.upload_mark if mark is None else mark
    MemoryBackend.objects[backup.object_key] = StoredArchive(body, etag, mark)


def sweep_actions(older_than=None, **options):
    """The actions of a sweep's outcomes."""
    return [str(outcome.action) for outcome in lifecycle.sweep(older_than=older_than, **options)]
