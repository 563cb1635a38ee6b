"""Frozen values that are passed between the packages. No behaviour, no Django, no boto."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt
    import uuid


@dataclass(frozen=True, slots=True)
class PartPlan:
    """``count`` parts from number ``first`` on, of ``part_size`` bytes each.

    The last part of the archive may be smaller. ``size`` is the archive's, in bytes; None where it
    is not known yet.
    """

    size: int | None
    part_size: int
    count: int
    first: int = 1


@dataclass(frozen=True, slots=True)
class ReportedPart:
    """A part as the node reports it. ``etag`` is empty if the store gave the node none."""

    number: int
    etag: str


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part as the store lists it: ``etag`` unchanged, ``size`` in bytes."""

    number: int
    etag: str
    size: int
    uploaded_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Report:
    """A node's report about a backup. ``checksum`` has the form ``"sha1:<hex>"``.

    ``reason`` says in words why the backup failed, where that is not the node's own word.
    """

    successful: bool
    checksum: str = ""
    size: int = 0
    parts: tuple[ReportedPart, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A finished object as the store shows it: ``etag`` without quotes, ``size`` in bytes.

    ``mark`` is None if the store kept no mark. ``is_readable`` is False while the object is in an
    archive storage class and has not been thawed. ``retained_until`` and ``is_held`` are what the
    store tells of its Object Lock: a retention period, and a legal hold.
    """

    size: int
    etag: str
    mark: str | None
    content_type: str
    version_id: str = ""
    is_readable: bool = True
    retained_until: dt.datetime | None = None
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A multipart upload that the store lists as unfinished."""

    key: str
    upload_id: str
    started_at: dt.datetime


@dataclass(frozen=True, slots=True)
class ArchiveKey:
    """The two ids in the object key of an archive."""

    server: uuid.UUID
    backup: uuid.UUID


@dataclass(frozen=True, slots=True)
class UploadTicket:
    """The answer to a node that asks for an upload: a URL for each part, in order."""

    #: Each grants write access: kept out of the repr, and so out of logs.
    urls: list[str] = field(repr=False)
    part_size: int


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """How much of an upload is in the store; sizes in bytes.

    What is expected is None for an archive that is streamed: its size is not known yet.
    """

    parts: int
    expected_parts: int | None
    size: int
    expected_size: int | None
    last_part_at: dt.datetime | None


class SweepAction(enum.StrEnum):
    """What a sweep did, or with ``dry_run`` would do, for one subject."""

    COMPLETED = "completed"
    RECOVERED = "recovered"
    FAILED = "failed"
    UPLOAD_ABORTED = "upload aborted"
    ORPHAN_ABORTED = "orphan aborted"
    DELETED = "deleted"
    RESTORE_ENDED = "restore ended"
    #: Of events that were old enough; the subject says how many.
    EVENTS_PRUNED = "events pruned"
    #: Nothing was done. The detail says what the store did not show.
    NOTICE = "notice"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """One outcome of a sweep.

    ``subject`` is the uuid of a backup or a server, the key of an orphan, a disk, or a number of
    events. ``disk`` is empty if no disk is concerned.
    """

    action: SweepAction
    subject: str
    disk: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CopyOutcome:
    """The outcome for one backup of a copied bucket; ``problem`` says why it was not accepted."""

    backup: str
    is_accepted: bool
    problem: str = ""
