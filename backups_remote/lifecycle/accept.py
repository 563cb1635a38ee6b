"""Accept the copies of archives after a bucket was copied to another place."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from django.db import router

from backups_remote.exceptions import StorageUnavailable
from backups_remote.lifecycle.rules.ownership import why_foreign
from backups_remote.lifecycle.sweep.pool import Fault, in_parallel
from backups_remote.lifecycle.transactions import refuse_open_transaction
from backups_remote.models import Backup
from backups_remote.sql import keys_of, read_in_batches
from backups_remote.storage import get_backend
from backups_remote.types import CopyOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backups_remote.models import BackupQuerySet
    from backups_remote.storage import StorageBackend
    from backups_remote.types import StoredObject

_WORKERS: Final = 16
#: How many rows are read at a time.
_BATCH: Final = 500


def accept_copies(
    disk: str, *, among: BackupQuerySet | None = None, dry_run: bool = False
) -> list[CopyOutcome]:
    """Accept, object by object, what a copied bucket holds in place of the archives on ``disk``.

    A copy has an ETag and a version of its own, so that its backup would be neither restored nor
    deleted. A copy with the same size and mark is recorded on the row. Anything else is
    left as it is, with the reason in its outcome. Completed backups alone are looked at; ``among``
    narrows it to some of them, where a list of all outcomes would be long. A row that knows its
    object already has no outcome.

    Raises:
        DiskNotConfigured: there is no such disk.
        RuntimeError: a transaction is open.

    """
    refuse_open_transaction("accept_copies")  # safeguard: accept-copies-outside-transaction
    backend = get_backend(disk)
    if not backend.presigned_uploads:
        return []
    some = Backup.objects.all() if among is None else among
    rows = some.using(router.db_for_write(Backup)).filter(disk=disk)
    completed = rows.completed()
    keys = keys_of(completed.order_by("pk"))
    backups = chain.from_iterable(read_in_batches(keys, completed.with_names(), _BATCH))
    return list(_accept(backups, backend, dry_run=dry_run))


def _accept(
    backups: Iterator[Backup], backend: StorageBackend, *, dry_run: bool
) -> Iterator[CopyOutcome]:
    def look(backup: Backup) -> StoredObject | None:
        # A copy has another version id: take the latest, unless the row's own is still there.
        return _own_version(backup, backend) or backend.stat(backup.object_key)

    for backup, found in in_parallel(backups, look, _WORKERS):
        if isinstance(found, Fault):
            yield CopyOutcome(str(backup.uuid), is_accepted=False, problem=found.reason)
            continue
        problem = _why_no_copy(backup, found)
        if problem or found is None:
            yield CopyOutcome(str(backup.uuid), is_accepted=False, problem=problem)
        elif (found.etag, found.version_id) != (backup.object_etag, backup.version_id):
            accepted = dry_run or backup.accept_object(found)  # safeguard: dry-run-accepts-nothing
            changed = "" if accepted else "The backup has changed meanwhile."
            yield CopyOutcome(str(backup.uuid), is_accepted=accepted, problem=changed)


def _own_version(backup: Backup, backend: StorageBackend) -> StoredObject | None:
    if not backup.version_id:
        return None
    try:
        found = backend.stat(backup.object_key, version_id=backup.version_id)
    except StorageUnavailable:
        return None  # another store's version id may not even be well formed here
    return None if found is None or why_foreign(backup, found) else found


def _why_no_copy(backup: Backup, found: StoredObject | None) -> str:
    if found is None:
        return "There is no object under the backup's key."
    if found.size != backup.size:  # safeguard: copy-size
        return f"The object has {found.size} bytes instead of {backup.size}."
    if not backup.upload_mark or found.mark != backup.upload_mark:  # safeguard: copy-mark
        return "The object does not carry this backup's mark."
    return ""
