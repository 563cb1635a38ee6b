"""The dialects of S3-compatible stores, for stores in tests that imitate them.

``backups_remote.storage.s3.differences`` has the meaning of error codes. A dialect says when a
store answers them, and how else it behaves. Each was observed on the version that it names.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from backups_remote.storage.s3.differences import DROPS_UPLOADS_AFTER, Call

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping


class State(enum.Enum):
    """The state of the upload, or object, that a call is about."""

    FINISHED = "finished"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


_GONE: Final = frozenset(State)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The behaviour of one store. The defaults are those of Amazon's manual."""

    store: str = "Amazon S3"
    #: The error code that answers a call about an upload in that state. Where none is given, an
    #: abort succeeds, and other calls are answered NoSuchUpload.
    codes: Mapping[tuple[Call, State], str] = field(default_factory=dict)
    #: The states in which ListParts answers with an empty list.
    lists_no_parts: frozenset[State] = frozenset()
    #: The states in which ListParts still lists the parts, until the object is deleted.
    lists_parts: frozenset[State] = frozenset()
    #: The states in which the URL of a part is answered 200.
    takes_parts: frozenset[State] = frozenset()
    #: Such a part breaks the finished object: HEAD still shows it, GET fails.
    late_parts_break_objects: bool = False
    #: What is left where a Complete and an Abort at once are both told that they succeeded:
    #: "whole" is the object, "nothing", or a "broken" object, which HEAD shows and GET refuses.
    abort_beside_complete_leaves: Literal["whole", "nothing", "broken"] = "whole"
    #: A second Complete of a finished upload succeeds.
    completes_again: bool = False
    #: A second Complete is answered with the ETag that its request gives, not the object's.
    answers_etag_of_request: bool = False
    #: The code that answers a Complete that lost against another one of the same upload.
    code_beside_complete: str = ""
    #: Complete's answer names the object's ETag.
    answers_etag: bool = True
    #: The object's ETag is the MD5 of its bytes, whatever Complete answered.
    etag_is_md5: bool = False
    #: A part can be sent again.
    replaces_parts: bool = True
    #: An upload stays open when its Complete is rejected.
    survives_refusal: bool = True
    #: ListMultipartUploads answers an empty list for a prefix that is not a whole key.
    lists_exact_keys_only: bool = False
    #: Its Server header, where that matters. A proxy in front of the store may replace it.
    server_header: str = ""
    #: Without a prefix it lists only uploads that began since the store's last start.
    lists_since_start_only: bool = False
    #: The code that answers ListMultipartUploads from the store's start to its first upload.
    code_before_first_upload: str = ""
    #: The code that answers a second page of ListMultipartUploads, requested by both markers.
    code_for_second_page: str = ""
    #: How long an idle upload is kept; None: for ever.
    drops_uploads_after: dt.timedelta | None = None
    #: Texts that no key may contain.
    refuses_in_keys: tuple[str, ...] = ()
    #: A restart loses open uploads, and the metadata of objects.
    forgets_at_restart: bool = False


DIALECTS: Final[Mapping[str, Dialect]] = {
    "aws": Dialect(),
    "swift": Dialect(
        store="OpenStack Swift s3api 2.30.1",
        codes={
            (Call.ABORT, State.FINISHED): "NoSuchKey",
            (Call.GET, State.FINISHED): "BrokenMPU",
        },
        lists_parts=frozenset({State.FINISHED}),
        takes_parts=frozenset({State.FINISHED}),
        late_parts_break_objects=True,
        abort_beside_complete_leaves="broken",
        completes_again=True,
    ),
    "ceph": Dialect(
        store="Ceph RGW 16.2.15",
        codes={
            **{(Call.LIST_PARTS, state): "NoSuchKey" for state in State},
            **{(Call.COMPLETE, state): "InternalError" for state in State},
        },
        code_beside_complete="InternalError",
        answers_etag=False,
    ),
    "rclone": Dialect(
        store="rclone 1.75.2",
        etag_is_md5=True,
        replaces_parts=False,
        survives_refusal=False,
        code_before_first_upload="NoSuchUpload",
        forgets_at_restart=True,
    ),
    "minio": Dialect(
        store="MinIO, a release of 2026-02",
        server_header="MinIO",
        lists_exact_keys_only=True,
        lists_since_start_only=True,
        drops_uploads_after=DROPS_UPLOADS_AFTER["minio"],
        refuses_in_keys=("//", ".."),
    ),
    "versitygw": Dialect(
        store="versitygw 1.8.0",
        codes={
            **{(Call.ABORT, state): "NoSuchUpload" for state in State},
            (Call.DELETE, State.UNKNOWN): "InvalidArgument",
        },
        completes_again=True,
        answers_etag_of_request=True,
        code_for_second_page="InvalidArgument",
    ),
    "s3proxy": Dialect(
        store="s3proxy 4.1.0 on a directory",
        codes={(Call.ABORT, state): "NoSuchUpload" for state in State},
        code_beside_complete="InvalidPart",
        lists_no_parts=_GONE,
        takes_parts=_GONE,
    ),
    "garage": Dialect(
        store="Garage 2.5.0",
        codes={(Call.ABORT, state): "NoSuchUpload" for state in State},
        abort_beside_complete_leaves="nothing",
    ),
    "seaweedfs": Dialect(
        store="SeaweedFS 4.48",
        completes_again=True,
    ),
}
