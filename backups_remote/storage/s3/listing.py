"""What an S3-compatible store lists: parts, unfinished uploads, versions; page by page.

An answer that is not the list it should be raises StorageUnavailable. It is never read as an empty
list: "no parts" and "no uploads" are grounds for an abort.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from botocore.exceptions import ClientError

from backups_remote.exceptions import StorageUnavailable
from backups_remote.storage.s3.differences import Call, Means, lists_every_upload
from backups_remote.storage.s3.errors import means, translated_errors
from backups_remote.types import OpenUpload, StoredPart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import ListMultipartUploadsOutputTypeDef

_BOTH_MARKERS: Final = {"KeyMarker", "UploadIdMarker"}


@dataclass(frozen=True, slots=True)
class UploadPage:
    """One page of ListMultipartUploads, without what the page before has listed already."""

    uploads: tuple[OpenUpload, ...]
    #: Whether a store with this Server header names every upload.
    lists_every_upload: bool


def list_parts(client: S3Client, bucket: str, key: str, upload_id: str) -> list[StoredPart]:
    """Every page of ListParts, sorted by part number."""
    with translated_errors("a list of parts", Call.LIST_PARTS):
        pages = client.get_paginator("list_parts").paginate(
            Bucket=bucket, Key=key, UploadId=upload_id
        )
        parts = []
        for page in pages:
            # Every store repeats the upload id.
            if "UploadId" not in page:  # safeguard: invalid-listing-refused
                raise StorageUnavailable("The store's answer is not a list of parts.")
            parts += [
                StoredPart(
                    number=part["PartNumber"],
                    etag=part["ETag"],
                    size=part["Size"],
                    uploaded_at=part["LastModified"],
                )
                for part in page.get("Parts", ())
            ]
    return sorted(parts, key=lambda part: part.number)


def pages_of_uploads(
    client: S3Client, bucket: str, prefix: str, call: Call
) -> Iterator[UploadPage]:
    """Every page of ListMultipartUploads under ``prefix``.

    A page is handed out before the next one is asked for, which may raise.
    """
    markers: dict[str, str] = {}
    asked_for = [markers]
    listed_before: set[tuple[str, str]] = set()
    while True:
        with translated_errors("a list of uploads", call):
            page = _page_of_uploads(client, bucket, prefix, call, markers)
            # Every store repeats the bucket's name.
            if "Bucket" not in page:
                raise StorageUnavailable("The store's answer is not a list of uploads.")
            headers = page.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            uploads = [
                OpenUpload(
                    key=upload["Key"],
                    upload_id=upload["UploadId"],
                    started_at=upload["Initiated"],
                )
                for upload in page.get("Uploads", ())
            ]
        new = tuple(u for u in uploads if (u.key, u.upload_id) not in listed_before)
        yield UploadPage(new, lists_every_upload(headers.get("server", "")))
        if not page.get("IsTruncated"):
            return
        listed_before = {(upload.key, upload.upload_id) for upload in uploads}
        # As they were answered: SeaweedFS 4.48 sorts by upload id and names no key.
        answered = {
            "KeyMarker": page.get("NextKeyMarker", ""),
            "UploadIdMarker": page.get("NextUploadIdMarker", ""),
        }
        markers = {name: marker for name, marker in answered.items() if marker}
        if not markers and uploads:
            markers = {"KeyMarker": uploads[-1].key}
        # A page may be empty and the list go on. One that begins where an earlier one began does
        # not end.
        if markers in asked_for:  # safeguard: list-repeats-page
            raise StorageUnavailable("The store's list of uploads repeats a page.")
        asked_for.append(markers)


def lists_version(client: S3Client, bucket: str, key: str, version_id: str) -> bool:
    """Whether ListObjectVersions names this version of the object."""
    pages = client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key)
    for page in pages:
        if "Name" not in page:
            raise StorageUnavailable("The store's answer is not a list of versions.")
        listed = (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
        if any((v.get("Key"), v.get("VersionId")) == (key, version_id) for v in listed):
            return True
    return False


def _page_of_uploads(
    client: S3Client, bucket: str, prefix: str, call: Call, markers: dict[str, str]
) -> ListMultipartUploadsOutputTypeDef:
    def ask(prefix: str, **markers: Any) -> ListMultipartUploadsOutputTypeDef:
        return client.list_multipart_uploads(Bucket=bucket, Prefix=prefix, **markers)

    if markers.keys() != {"KeyMarker"}:
        try:
            return ask(prefix, **markers)
        except ClientError as error:
            meaning = means(error, call)
            if meaning is Means.EMPTY and not markers:  # safeguard: empty-first-page-only
                return cast("ListMultipartUploadsOutputTypeDef", {"Bucket": bucket})
            if meaning is not Means.MARKER_REFUSED or not markers.keys() >= _BOTH_MARKERS:
                raise
    # The key marker alone continues after the last key. The rest of that key's own uploads needs
    # a list of its own, which is put before.
    key = markers["KeyMarker"]
    page = ask(prefix, KeyMarker=key)
    if prefix != key:  # safeguard: rest-of-key-listed
        rest = [u for u in ask(key).get("Uploads", ()) if u.get("Key") == key]
        page["Uploads"] = [*rest, *page.get("Uploads", ())]
    return page
