"""How S3-compatible stores differ, as data: error codes, and what they mean.

The same error code can mean "gone" on one store and "broken" on another, or in answer to another
call. Every code that is read as anything but a fault has a line here, with the call that it
answers and the store on which it was seen. No other code knows a store by name: a store that
answers something new needs a line in this table, not a branch elsewhere.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backups_remote.exceptions import (
    StorageError,
    StorageRefused,
    StorageUnavailable,
    UploadNotFound,
    UploadRejected,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class Call(enum.Enum):
    """The calls whose error answers are interpreted."""

    CREATE = "CreateMultipartUpload"
    LIST_PARTS = "ListParts"
    COMPLETE = "CompleteMultipartUpload"
    ABORT = "AbortMultipartUpload"
    LIST_UPLOADS = "ListMultipartUploads"
    #: The same without a prefix; sent where the list under the prefix was empty.
    LIST_ALL_UPLOADS = "ListMultipartUploads of the whole bucket"
    HEAD = "HeadObject"
    #: Of one byte. Sent after a HEAD answered 404, because the answer has a body and so an error
    #: code; and before a restore.
    GET = "GetObject"
    DELETE = "DeleteObject"


class Means(enum.Enum):
    """What an error answer means."""

    #: Nothing is known: StorageUnavailable.
    FAULT = "a fault"
    UPLOAD_GONE = "the upload is finished, aborted, or never was"
    REJECTED = "the parts are not what the store holds"
    OBJECT_GONE = "there is no such object"
    OBJECT_BROKEN = "the object is there, and cannot be read"
    EMPTY = "there is nothing to list"
    NOT_LISTED = "uploads are not listed for this access key, or not at all"
    MARKER_REFUSED = "the page must be asked for by its key marker alone"
    LOOK = "gone or a fault: another call tells"


@dataclass(frozen=True, slots=True)
class Difference:
    """``code`` in answer to ``call`` means ``means``; ``seen_on`` names the store."""

    call: Call
    code: str
    means: Means
    seen_on: str


_MANUAL: Final = "Amazon S3, its manual; SeaweedFS 4.48"

#: Every error answer that is not a fault.
DIFFERENCES: Final[tuple[Difference, ...]] = (
    Difference(Call.LIST_PARTS, "NoSuchUpload", Means.UPLOAD_GONE, _MANUAL),
    # An upload that is unknown, finished or aborted alike.
    Difference(Call.LIST_PARTS, "NoSuchKey", Means.UPLOAD_GONE, "Ceph RGW 16.2.15"),
    Difference(Call.COMPLETE, "NoSuchUpload", Means.UPLOAD_GONE, _MANUAL),
    Difference(Call.COMPLETE, "InvalidPart", Means.REJECTED, _MANUAL),
    Difference(Call.COMPLETE, "InvalidPartOrder", Means.REJECTED, _MANUAL),
    Difference(Call.COMPLETE, "EntityTooSmall", Means.REJECTED, _MANUAL),
    # Ceph: "This multipart completion is already in progress", for an upload that is gone and for
    # one that a concurrent call is completing. On other stores it is a passing fault.
    Difference(Call.COMPLETE, "InternalError", Means.LOOK, "Ceph RGW 16.2.15"),
    Difference(
        Call.ABORT,
        "NoSuchUpload",
        Means.UPLOAD_GONE,
        f"{_MANUAL}; versitygw 1.8.0; s3proxy 4.1.0; Garage 2.5.0",
    ),
    # A finished upload.
    Difference(Call.ABORT, "NoSuchKey", Means.UPLOAD_GONE, "Swift 2.30.1"),
    # From the store's start until its first upload begins.
    Difference(Call.LIST_UPLOADS, "NoSuchUpload", Means.EMPTY, "rclone 1.75"),
    Difference(Call.LIST_ALL_UPLOADS, "NoSuchUpload", Means.EMPTY, "rclone 1.75"),
    # The store refuses the upload id marker that its own first page named.
    Difference(Call.LIST_UPLOADS, "InvalidArgument", Means.MARKER_REFUSED, "versitygw 1.8.0"),
    Difference(Call.LIST_ALL_UPLOADS, "InvalidArgument", Means.MARKER_REFUSED, "versitygw 1.8.0"),
    # A key without s3:ListBucketMultipartUploads. ListParts tells of one upload.
    Difference(Call.LIST_UPLOADS, "AccessDenied", Means.NOT_LISTED, "Ceph RGW 16.2.15"),
    # The store does not offer this list.
    Difference(
        Call.LIST_UPLOADS, "NotImplemented", Means.NOT_LISTED, "Amazon S3, its list of error codes"
    ),
    # An answer to HEAD has no body and so no code. A bare 404 may also be about the bucket or the
    # access key (versitygw 1.8.0: XAdminUserNotFound), or come from a proxy.
    Difference(Call.HEAD, "404", Means.LOOK, f"{_MANUAL}; every store tried"),
    Difference(Call.GET, "NoSuchKey", Means.OBJECT_GONE, f"{_MANUAL}; every store tried"),
    Difference(Call.GET, "NoSuchVersion", Means.OBJECT_GONE, _MANUAL),
    # 409, of an object whose parts an Abort deleted while Complete succeeded, or of which a part
    # was replaced later. HEAD still shows it whole.
    Difference(Call.GET, "BrokenMPU", Means.OBJECT_BROKEN, "Swift 2.30.1"),
    # SeaweedFS, Swift, Ceph and rclone answer 204 to both.
    Difference(Call.DELETE, "NoSuchKey", Means.OBJECT_GONE, "Amazon S3, its list of error codes"),
    Difference(
        Call.DELETE, "NoSuchVersion", Means.OBJECT_GONE, "Amazon S3, its list of error codes"
    ),
    # A version that is gone, or a version id that is none.
    Difference(Call.DELETE, "InvalidArgument", Means.LOOK, "versitygw 1.8.0"),
)

#: How long a store keeps an unfinished upload, by the first word of its Server header in lower
#: case. MinIO: seen on a release of 2026-02; its operator can configure another time.
DROPS_UPLOADS_AFTER: Final[Mapping[str, dt.timedelta]] = {"minio": dt.timedelta(hours=24)}

#: Stores whose list of uploads is incomplete, by the first word of their Server header. MinIO,
#: seen on a release of 2026-02: it lists by exact key, or uploads that began since its last start.
LISTS_SOME_UPLOADS: Final[frozenset[str]] = frozenset({"minio"})

#: The code for a call that lacks a permission, or that a rule forbids; of every store.
_REFUSAL: Final = "AccessDenied"
#: Other answers that say so, to one call.
_OTHER_REFUSALS: Final[Mapping[Call, str]] = {
    # An answer to HEAD has no body and so no code. Without s3:ListBucket it is also the answer
    # where there is no object (Amazon S3, its manual).
    Call.HEAD: "403",
    # "Object is WORM protected": MinIO and versitygw, of an object under a retention period.
    Call.DELETE: "InvalidRequest",
}
#: What the access key needs for a call.
_PERMISSIONS: Final[Mapping[Call, str]] = {
    Call.CREATE: "s3:PutObject",
    Call.LIST_PARTS: "s3:ListMultipartUploadParts",
    Call.COMPLETE: "s3:PutObject",
    Call.ABORT: "s3:AbortMultipartUpload",
    Call.LIST_UPLOADS: "s3:ListBucketMultipartUploads",
    Call.LIST_ALL_UPLOADS: "s3:ListBucketMultipartUploads",
    Call.HEAD: "s3:GetObject or, where there may be no object, s3:ListBucket",
    Call.GET: "s3:GetObject or, where there may be no object, s3:ListBucket",
    Call.DELETE: "s3:DeleteObject or, for a version, s3:DeleteObjectVersion",
}

_ERRORS: Final[Mapping[Means, type[StorageError]]] = {
    Means.UPLOAD_GONE: UploadNotFound,
    Means.REJECTED: UploadRejected,
}


def meaning_of(call: Call | None, code: str) -> Means:
    """What ``code`` means in answer to ``call``; FAULT where the table has no line for it."""
    for difference in DIFFERENCES:
        if difference.call is call and difference.code == code:
            return difference.means
    return Means.FAULT


def error_for(call: Call | None, code: str, doing: str) -> StorageError:
    """The error for the caller to raise: ``code`` was answered to ``call``, while ``doing`` it.

    The message names the code only: a store's own message can contain URLs, keys and signatures.
    """
    said = f"The store answered {code} to {doing}."
    kind = _ERRORS.get(meaning_of(call, code))
    if kind is not None:
        return kind(said)
    if call is not None and is_refusal(call, code):
        kept = ", or the bucket keeps the object" if call is Call.DELETE else ""
        return StorageRefused(f"{said} The access key may lack {_PERMISSIONS[call]}{kept}.")
    return StorageUnavailable(said)


def is_refusal(call: Call, code: str) -> bool:
    """Whether the store refuses this call for good: it lacks a permission, or a rule forbids it."""
    return code in {_REFUSAL, _OTHER_REFUSALS.get(call)}


def uploads_dropped_after(server_header: str) -> dt.timedelta | None:
    """After how long a store with this Server header drops an unfinished upload; None: unknown."""
    return DROPS_UPLOADS_AFTER.get(_product(server_header))


def lists_every_upload(server_header: str) -> bool:
    """Whether a store with this Server header names every open upload in its list."""
    return _product(server_header) not in LISTS_SOME_UPLOADS


def _product(server_header: str) -> str:
    return (server_header.lower().replace("/", " ").split() or [""])[0]
