"""The frozen values that cross the rooms' boundaries. No behaviour, no Django, no boto."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt
    import uuid


@dataclass(frozen=True, slots=True)
class PartPlan:
    """How an archive is cut: ``count`` parts of ``part_size`` bytes, the last one no larger."""

    size: int
    part_size: int
    count: int


@dataclass(frozen=True, slots=True)
class ReportedPart:
    """A part as the node names it. ``etag`` is empty where the store gave the node none."""

    number: int
    etag: str


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part as the store lists it: ``etag`` as it stands there, ``size`` in bytes."""

    number: int
    etag: str
    size: int
    uploaded_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Report:
    """What a node says about a backup it made. ``checksum`` reads ``"sha1:<hex>"``."""

    successful: bool
    checksum: str = ""
    size: int = 0
    parts: tuple[ReportedPart, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A finished object as the store shows it: ``etag`` without quotes, ``size`` in bytes.

    ``mark`` is None where the store kept no mark of ours. ``is_readable`` is False while the store
    has the bytes in an archive class: it would have to thaw them before anybody can read them.
    """

    size: int
    etag: str
    mark: str | None
    content_type: str
    version_id: str = ""
    is_readable: bool = True


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A multipart upload that the store lists as unfinished."""

    key: str
    upload_id: str
    started_at: dt.datetime


@dataclass(frozen=True, slots=True)
class ArchiveKey:
    """The two ids that an object key of ours names."""

    server: uuid.UUID
    backup: uuid.UUID


@dataclass(frozen=True, slots=True)
class UploadTicket:
    """The answer to a node that asks where to put an archive: one URL a part, in order."""

    #: Each lets whoever has it write: they stay out of the repr, as of logs.
    urls: list[str] = field(repr=False)
    part_size: int


class SweepAction(enum.StrEnum):
    """What one line of a sweep did, or with ``dry_run`` would do."""

    COMPLETED = "completed"
    RECOVERED = "recovered"
    FAILED = "failed"
    UPLOAD_ABORTED = "upload aborted"
    ORPHAN_ABORTED = "orphan aborted"
    DELETED = "deleted"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """One line of a sweep: ``subject`` is a backup's uuid, an orphan's key or a disk."""

    action: SweepAction
    subject: str
    disk: str
    detail: str = ""
