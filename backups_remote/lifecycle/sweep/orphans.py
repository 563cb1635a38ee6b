"""Uploads under our keys that no row owns."""

from __future__ import annotations

import enum
from functools import partial
from typing import TYPE_CHECKING, Final

from django.db import DatabaseError, router

from backups_remote.conf import app_settings
from backups_remote.database import retrying
from backups_remote.exceptions import BackupsRemoteError, UploadNotFound
from backups_remote.lifecycle.sweep.pool import Fault, explain, in_chunks, in_parallel
from backups_remote.models import Backup, Node, Server
from backups_remote.storage import get_backend
from backups_remote.types import OpenUpload, SweepAction, SweepOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

    from backups_remote.lifecycle.sweep.dry_run import Effects
    from backups_remote.lifecycle.sweep.staleness import Staleness
    from backups_remote.models import BackupQuerySet
    from backups_remote.storage import StorageBackend

_CHUNK: Final = 256
#: How many keys of the newest backups are asked for where the store's list may miss uploads.
_KEYS_ASKED: Final = 1_000
#: How many open uploads of ours are tried, to learn whether the store lists by prefix.
_UPLOADS_TRIED: Final = 5
_INCOMPLETE: Final = (
    f"The store's list of open uploads may miss some. The keys of the {_KEYS_ASKED:,} newest "
    "backups were asked for one by one; an upload that is under none of these is not found, and "
    "left for the store to drop."
)


class OrphanEnd(enum.Enum):
    """What became of an upload without a row."""

    ABORTED = enum.auto()
    STILL_ARRIVING = enum.auto()  #: its parts are young: it is left alone


def sweep_orphans(
    disk: str, staleness: Staleness, effects: Effects, *, workers: int, is_named: bool
) -> Iterator[SweepOutcome]:
    """Abort the uploads on ``disk`` that are under our keys, old enough, and that no row owns.

    A disk that no backup uses may belong to anybody: it is left alone unless it ``is_named``.
    """
    try:
        # An alias that no backup uses may be anything: it is not even built.
        if not (is_named or _is_used(disk)):  # safeguard: unused-disk-not-swept
            return
        backend = get_backend(disk)
        if not backend.presigned_uploads:
            return
        is_partial = not _lists_by_prefix(backend)
        listed: set[str] = set()
        found = _listed(backend, listed, is_partial=is_partial)
        yield from _abort_orphans(found, backend, staleness, effects, workers)
        if is_partial or not backend.lists_every_upload():
            asked = _KeysAsked(backend, workers)
            found = asked.uploads(without=listed)
            yield from _abort_orphans(found, backend, staleness, effects, workers)
            for key, fault in asked.faults:
                yield SweepOutcome(SweepAction.ERROR, key, disk, fault.reason)
            yield SweepOutcome(SweepAction.NOTICE, disk, disk, _INCOMPLETE)
    except (BackupsRemoteError, DatabaseError) as error:  # safeguard: failed-listing-tolerated
        yield SweepOutcome(SweepAction.ERROR, disk, disk, explain(error))


def _abort_orphans(
    uploads: Iterable[OpenUpload],
    backend: StorageBackend,
    staleness: Staleness,
    effects: Effects,
    workers: int,
) -> Iterator[SweepOutcome]:
    disk = backend.alias
    end = partial(_end, backend=backend, staleness=staleness, effects=effects)
    for chunk in in_chunks(_old_and_ours(uploads, backend, staleness), _CHUNK):
        for orphan, result in in_parallel(_without_owner(chunk, backend, effects), end, workers):
            if isinstance(result, Fault):
                yield SweepOutcome(SweepAction.ERROR, orphan.key, disk, result.reason)
            elif result is OrphanEnd.ABORTED:
                yield SweepOutcome(SweepAction.ORPHAN_ABORTED, orphan.key, disk)


def _old_and_ours(
    uploads: Iterable[OpenUpload], backend: StorageBackend, staleness: Staleness
) -> Iterator[OpenUpload]:
    for upload in uploads:
        is_old = staleness.is_past(upload.started_at, staleness.shortest_limit)
        if is_old and backend.parse_key(upload.key) is not None:  # safeguard: recent-upload-kept
            yield upload


def _listed(backend: StorageBackend, listed: set[str], *, is_partial: bool) -> Iterator[OpenUpload]:
    """The store's list. Ids are noted in ``listed`` where it is known to miss some."""
    for upload in backend.open_uploads():
        if is_partial or not backend.lists_every_upload():
            listed.add(upload.upload_id)
        yield upload


def _lists_by_prefix(backend: StorageBackend) -> bool:
    """Whether an upload of ours is listed under a prefix. True as well if none is open."""
    uploading = _rows().uploading().filter(disk=backend.alias).exclude(upload_id="")
    newest = uploading.order_by("-created_at", "-pk")[:_UPLOADS_TRIED]
    for key, upload_id in newest.values_list("object_key", "upload_id"):
        is_listed = backend.lists_by_prefix(key, upload_id)
        if is_listed is not None:
            return is_listed  # safeguard: lists-by-prefix-tried
    return True


class _KeysAsked:
    """The uploads of the keys of the newest backups. A key whose list fails stops no other."""

    def __init__(self, backend: StorageBackend, workers: int) -> None:
        self._backend = backend
        self._workers = workers
        self.faults: list[tuple[str, Fault]] = []

    def uploads(self, *, without: set[str]) -> Iterator[OpenUpload]:
        backend = self._backend
        rows = _rows().filter(disk=backend.alias).order_by("-created_at", "-pk")[:_KEYS_ASKED]
        newest = [
            key or backend.object_key(server, backup)
            for key, server, backup in rows.values_list("object_key", "server__uuid", "uuid")
        ]
        for key, found in in_parallel(newest, backend.open_uploads_of, self._workers):
            if isinstance(found, Fault):
                self.faults.append((key, found))  # safeguard: key-fault-told
            else:
                yield from (upload for upload in found if upload.upload_id not in without)


def _is_used(disk: str) -> bool:
    # safeguard: orphans-on-every-disk
    return (
        disk == app_settings.default_disk
        or _rows().filter(disk=disk).exists()
        or any(
            owners.objects.using(router.db_for_write(owners)).filter(disk=disk).exists()
            for owners in (Node, Server)
        )
    )


def _end(
    orphan: OpenUpload, *, backend: StorageBackend, staleness: Staleness, effects: Effects
) -> OrphanEnd:
    """Abort an upload, unless its parts still arrive: it may be another panel's after all."""
    try:
        parts = backend.list_parts(orphan.key, orphan.upload_id)
    except UploadNotFound:  # safeguard: missing-orphan-tolerated
        parts = []
    # safeguard: active-orphan-kept
    if not all(staleness.is_past(part.uploaded_at, staleness.shortest_limit) for part in parts):
        return OrphanEnd.STILL_ARRIVING
    effects.abort_orphan(orphan, backend)
    return OrphanEnd.ABORTED


def _without_owner(
    uploads: list[OpenUpload], backend: StorageBackend, effects: Effects
) -> list[OpenUpload]:
    """Those that no row names, and that no call under way is about to note on a row.

    A node that asks for URLs of a backup that has not ended may have begun its upload in the
    store and not written its row yet. Once the backup has ended no such call succeeds: one that
    failed in silence is not opened again from here on.
    """
    keys = {upload.upload_id: backend.parse_key(upload.key) for upload in uploads}
    ids = {key.backup for key in keys.values() if key is not None}
    # One query: between two, a row may get its upload and be reported.
    needed = ("uuid", "upload_id", "reported_at", "completed_at", "failed_in_silence")
    found = _rows().filter(uuid__in=ids).order_by().only(*needed)
    rows: list[Backup] = retrying(found.db, partial(list, found))
    owned: set[str] = set()
    unended: set[UUID] = set()
    silent: dict[UUID, Backup] = {}
    for row in rows:
        owned.add(row.upload_id)
        if row.reported_at is None and row.completed_at is None:
            unended.add(row.uuid)
        elif row.failed_in_silence:
            silent[row.uuid] = row
    orphans = [  # safeguard: owned-upload-kept
        (upload, key.backup)
        for upload in uploads
        if upload.upload_id not in owned
        and (key := keys[upload.upload_id]) is not None
        and key.backup not in unended
    ]
    return [
        upload
        for upload, backup in orphans
        # safeguard: silent-backup-closed-first
        if backup not in silent or effects.close_silence(silent[backup])
    ]


def _rows() -> BackupQuerySet:
    return Backup.objects.using(router.db_for_write(Backup))
