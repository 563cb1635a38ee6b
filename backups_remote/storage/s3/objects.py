"""What an S3-compatible store says of a finished object, and its deletion.

An object is missing only if the store says so; whatever is unclear raises StorageUnavailable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from backups_remote.exceptions import StorageUnavailable
from backups_remote.storage.parts import bare_etag
from backups_remote.storage.s3.differences import Call, Means, is_refusal
from backups_remote.storage.s3.errors import code_of, means, translated_errors
from backups_remote.storage.s3.listing import lists_version
from backups_remote.storage.s3.parameters import ARCHIVE_CLASSES, MARK
from backups_remote.types import StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef


def stat(client: S3Client, bucket: str, key: str, version_id: str) -> StoredObject | None:
    """HeadObject. None only if the store says that there is no such object.

    A 404 to a HEAD carries no error code: it may be about the bucket or the access key, or
    come from a proxy. GetObject, whose answer has a body, tells.
    """
    with translated_errors("a check of the object", Call.HEAD):
        try:
            head = _head(client, bucket, key, version_id)
        except ClientError as error:
            if means(error, Call.HEAD) is not Means.LOOK:
                raise  # safeguard: 403-not-404
            if _is_absent(client, bucket, key, version_id):
                return None
            head = _head(client, bucket, key, version_id)  # it appeared in the meantime
        metadata = {name.lower(): value for name, value in head["Metadata"].items()}
        return StoredObject(
            size=head["ContentLength"],
            etag=bare_etag(head["ETag"]),
            mark=metadata.get(MARK),
            content_type=head.get("ContentType", ""),
            version_id=head.get("VersionId", ""),
            is_readable=_is_readable(head),
            retained_until=head.get("ObjectLockRetainUntilDate"),
            is_held=head.get("ObjectLockLegalHoldStatus") == "ON",
        )


def is_intact(client: S3Client, bucket: str, key: str, version_id: str) -> bool:
    """Whether the first byte of the object can be read. Says nothing of its other parts."""
    with translated_errors("a look into the object", Call.GET):
        try:
            _read_a_byte(client, bucket, key, version_id)
        except ClientError as error:
            if means(error, Call.GET) in {Means.OBJECT_GONE, Means.OBJECT_BROKEN}:
                return False  # safeguard: broken-object-not-intact
            raise
    return True


def delete(client: S3Client, bucket: str, key: str, version_id: str) -> None:
    """DeleteObject, with the version id if there is one: without, a version is only hidden.

    The object counts as gone already only if the store says so.
    """
    with translated_errors("the deletion of an object", Call.DELETE):
        try:
            if version_id:
                client.delete_object(Bucket=bucket, Key=key, VersionId=version_id)
            else:
                client.delete_object(Bucket=bucket, Key=key)
        except ClientError as error:
            meaning = means(error, Call.DELETE)
            if meaning is Means.OBJECT_GONE:
                return
            if (  # safeguard: version-still-listed
                meaning is Means.LOOK
                and version_id
                and not lists_version(client, bucket, key, version_id)
            ):
                return
            retries = error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)
            if retries and is_refusal(Call.DELETE, code_of(error)):
                # safeguard: repeated-deletion-not-refused
                raise StorageUnavailable(
                    f"The store answered {code_of(error)} to the second try of a deletion; "
                    "the first may be under way."
                ) from error
            raise


def _head(client: S3Client, bucket: str, key: str, version_id: str) -> HeadObjectOutputTypeDef:
    if version_id:
        return client.head_object(Bucket=bucket, Key=key, VersionId=version_id)
    return client.head_object(Bucket=bucket, Key=key)


def _is_absent(client: S3Client, bucket: str, key: str, version_id: str) -> bool:
    """Whether GetObject says that there is no such object."""
    with translated_errors("a check of the object", Call.GET):
        try:
            _read_a_byte(client, bucket, key, version_id)
        except ClientError as error:
            if means(error, Call.GET) is Means.OBJECT_GONE:
                return True
            raise
    return False


def _read_a_byte(client: S3Client, bucket: str, key: str, version_id: str) -> None:
    which: Any = {"VersionId": version_id} if version_id else {}
    found = client.get_object(Bucket=bucket, Key=key, Range="bytes=0-0", **which)
    found["Body"].close()


def _is_readable(head: HeadObjectOutputTypeDef) -> bool:
    """Whether GetObject would answer with the bytes, not with InvalidObjectState."""
    is_archived = head.get("StorageClass") in ARCHIVE_CLASSES or "ArchiveStatus" in head
    return not is_archived or 'ongoing-request="false"' in head.get("Restore", "")
