"""Backups on the store in memory whose archives are streamed, with parts of ten bytes."""

from backups_remote import lifecycle
from backups_remote.models import Backup
from backups_remote.storage import bare_etag
from backups_remote.testing import MemoryBackend
from backups_remote.types import Report, ReportedPart
from tests.support.factories import ServerFactory

PART_SIZE = 10


def streaming_backup(server=None, **fields):
    """A backup whose node has asked for its first parts."""
    backup = lifecycle.start_backup(server or ServerFactory(), **fields)
    lifecycle.request_parts(backup, 1)
    # No store would take such small parts, and no setting asks for them.
    Backup.objects.filter(pk=backup.pk).update(part_size=PART_SIZE)
    backup.refresh_from_db()
    return backup


def send_parts(backup, *sizes, first=1):
    """Parts of these sizes; what the report says of them."""
    said = []
    for number, size in enumerate(sizes, first):
        etag = MemoryBackend.put_part(f"memory://{backup.upload_id}/{number}", bytes(size))
        said.append(ReportedPart(number, bare_etag(etag)))
    return tuple(said)


def streamed(*sizes, server=None, **fields):
    """A backup of which parts of these sizes have arrived, and its report."""
    backup = streaming_backup(server, **fields)
    parts = send_parts(backup, *sizes)
    return backup, success(parts, sum(sizes))


def success(parts, size):
    """A success report."""
    return Report(successful=True, checksum="sha256:abc", size=size, parts=parts)
