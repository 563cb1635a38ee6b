"""S3-compatible stores, configured as django-storages' S3Storage.

Bucket, endpoint, credentials, ``location`` and object parameters are the ones of the STORAGES
alias. What is safe on every store is fixed here: SigV4, no checksum parameters, our own retries.
The boto clients are built once a process and shared: boto3's guide "Clients" documents them as
thread-safe, unlike resources and sessions.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import logging
import posixpath
import re
import threading
import uuid
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast
from urllib.parse import parse_qsl, quote, urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.parsers import ResponseParserError
from django.core import checks
from django.core.files.storage import storages
from storages.backends.s3 import S3Storage

from backups_remote.exceptions import (
    DiskNotConfigured,
    StorageError,
    StorageUnavailable,
    UploadNotFound,
    UploadRejected,
)
from backups_remote.storage.base import StorageBackend
from backups_remote.storage.parts import bare_etag
from backups_remote.storage.presign import PresignTarget, SigningKey, presign_part_urls
from backups_remote.types import ArchiveKey, OpenUpload, StoredObject, StoredPart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import boto3
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

logger = logging.getLogger(__name__)

CONTENT_TYPE: Final = "application/x-gzip"
#: The object's metadata key that carries an upload's mark.
MARK: Final = "backup-mark"

CONNECT_TIMEOUT: Final = 5
READ_TIMEOUT: Final = 10
#: Putting a large object together takes some stores minutes. In seconds.
COMPLETE_TIMEOUT: Final = 120
_POOL_SIZE: Final = 64

#: Object parameters that never reach CreateMultipartUpload: ours, or not safe on every store.
_OWN_PARAMETERS: Final = frozenset(
    {
        "Bucket",
        "Key",
        "ContentType",
        "ContentEncoding",
        "ChecksumAlgorithm",
        "ChecksumType",
        "Metadata",
    }
)
_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

#: What the store's error codes mean; every other one is StorageUnavailable.
ERROR_CODES: Final[dict[str, type[StorageError]]] = {
    "NoSuchUpload": UploadNotFound,
    "InvalidPart": UploadRejected,
    "InvalidPartOrder": UploadRejected,
    "EntityTooSmall": UploadRejected,
}
#: GLACIER_IR is not one of them: it answers at once.
_ARCHIVE_CLASSES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_GONE: Final = frozenset({"NoSuchKey", "NoSuchVersion"})
#: HEAD is answered without a body, so that its code is the bare status. From any other call a
#: bare 404 is a proxy's, say, that does not know where the store is.
_GONE_FROM_HEAD: Final = _GONE | {"404", "NotFound"}

#: What boto raises without a code of the store's, and what reading an answer raises that is not
#: the document it should be (a proxy's empty 200: a KeyError).
_UNCLEAR: Final = (
    BotoCoreError,
    HTTPClientError,
    ResponseParserError,
    OSError,
    KeyError,
    ValueError,
)


@contextlib.contextmanager
def translated_errors(doing: str) -> Iterator[None]:
    """Turn whatever boto raises into this package's errors, told by error code.

    Messages name the code alone: boto's own can hold URLs, keys and signatures.
    """
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        kind = ERROR_CODES.get(code, StorageUnavailable)
        raise kind(f"The store answered {code} to {doing}.") from error
    except _UNCLEAR as error:
        name = type(error).__name__
        raise StorageUnavailable(f"The store gave no clear answer to {doing} ({name}).") from error


class S3Backend(StorageBackend):
    """A disk whose STORAGES backend is django-storages' S3Storage, or a subclass of it."""

    presigned_uploads: ClassVar[bool] = True
    adapter: ClassVar[str] = "s3"

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        try:
            self._storage = cast("Any", storages[alias])
        except Exception as error:
            # A storage class may do anything when it is set up, ask the network even.
            raise DiskNotConfigured(f"The disk {alias!r} cannot be set up.") from error
        location = self._storage.location.strip("/")
        self._prefix = f"{location}/" if location else ""
        self._key_pattern = re.compile(
            f"{re.escape(self._prefix)}({_UUID})/({_UUID})\\.tar\\.gz", re.ASCII
        )
        self._building = threading.Lock()
        self._clients: _Clients | None = None

    # Configuration

    def check(self) -> list[checks.CheckMessage]:
        """Bucket and region must be named, and parts cannot carry a key of the customer's."""
        messages: list[checks.CheckMessage] = []
        if not self._storage.bucket_name:
            messages.append(
                checks.Error(
                    f"The disk {self.alias!r} names no bucket.",
                    hint="Set OPTIONS['bucket_name'] of the STORAGES alias.",
                    id="backups_remote.E101",
                )
            )
        if any(name.startswith("SSECustomer") for name in self._storage.object_parameters):
            messages.append(
                checks.Error(
                    f"The disk {self.alias!r} encrypts with a customer-provided key (SSE-C).",
                    hint="Nodes upload without that key's headers: use SSE-S3 or SSE-KMS.",
                    id="backups_remote.E102",
                )
            )
        if not self._names_its_region():
            messages.append(
                checks.Warning(
                    f"The disk {self.alias!r} names neither a region nor an endpoint.",
                    hint="Set OPTIONS['region_name'] of the STORAGES alias to the bucket's region: "
                    "nodes cannot follow a redirect with a URL signed for another.",
                    id="backups_remote.W101",
                )
            )
        return messages

    def check_connection(self) -> list[checks.CheckMessage]:
        """The bucket must answer to these credentials."""
        try:
            with translated_errors("a look at the bucket"):
                self._client.head_bucket(Bucket=self._bucket)
        except StorageUnavailable as error:
            return [
                checks.Error(
                    f"The disk {self.alias!r} cannot be reached: {error}",
                    hint="Look at its endpoint, region, bucket and credentials.",
                    id="backups_remote.E103",
                )
            ]
        return []

    # Keys

    def object_key(self, server: uuid.UUID, backup: uuid.UUID) -> str:
        """``<location>/<server uuid>/<backup uuid>.tar.gz``."""
        return posixpath.join(self._prefix, str(server), f"{backup}.tar.gz")

    def parse_key(self, key: str) -> ArchiveKey | None:
        """The ids in a key of ours."""
        match = self._key_pattern.fullmatch(key)
        if match is None:
            return None
        return ArchiveKey(server=uuid.UUID(match[1]), backup=uuid.UUID(match[2]))

    # Uploads

    def create_upload(self, key: str, mark: str) -> str:
        """Begin a multipart upload with the alias's object parameters and ``mark``."""
        with translated_errors("the start of an upload"):
            answer = self._client.create_multipart_upload(
                **self._object_parameters(key, mark),
                Bucket=self._bucket,
                Key=key,
                ContentType=CONTENT_TYPE,
            )
            return answer["UploadId"]

    def presign_parts(
        self, key: str, upload_id: str, count: int, lifespan: dt.timedelta
    ) -> list[str]:
        """One URL a part, signed here where botocore's signing is understood, else by botocore."""
        expires = int(lifespan.total_seconds())
        with translated_errors("the signing of URLs"):
            clients = self._built
            if clients.target is not None:
                return presign_part_urls(
                    clients.target,
                    clients.signing_key(),
                    key=key,
                    upload_id=upload_id,
                    count=count,
                    expires=expires,
                    now=dt.datetime.now(dt.UTC),
                )
            return [
                clients.botocore_url(self._bucket, key, upload_id, number, expires)
                for number in range(1, count + 1)
            ]

    def list_parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """Every page of ListParts, by number."""
        with translated_errors("a list of parts"):
            pages = self._client.get_paginator("list_parts").paginate(
                Bucket=self._bucket, Key=key, UploadId=upload_id
            )
            parts = []
            for page in pages:
                if "UploadId" not in page:
                    # Every store repeats it. Without, this is no list: never read it as an
                    # empty one, which says that the upload has nothing to lose.
                    raise StorageUnavailable("The store's list of parts is not one.")
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

    def complete_upload(self, key: str, upload_id: str, etags: Sequence[str]) -> str:
        """Send CompleteMultipartUpload, once: repeating it blindly is not safe on every store."""
        with translated_errors("the completion of an upload"):
            answer = self._built.patient.complete_multipart_upload(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={
                    "Parts": [
                        {"ETag": etag, "PartNumber": number}
                        for number, etag in enumerate(etags, start=1)
                    ]
                },
            )
            return bare_etag(answer.get("ETag", ""))

    def abort_upload(self, key: str, upload_id: str) -> None:
        """AbortMultipartUpload; NoSuchUpload is what was wanted."""
        with (
            contextlib.suppress(UploadNotFound),
            translated_errors("the abortion of an upload"),
        ):
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)

    def open_uploads(self) -> Iterator[OpenUpload]:
        """Every page of ListMultipartUploads under the alias's location."""
        with translated_errors("a list of uploads"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for page in pages:
                for upload in page.get("Uploads", ()):
                    yield OpenUpload(
                        key=upload["Key"],
                        upload_id=upload["UploadId"],
                        started_at=upload["Initiated"],
                    )

    # Objects

    def stat(self, key: str, *, version_id: str = "") -> StoredObject | None:
        """HeadObject. A 403 is a fault, never "not there"."""
        with translated_errors("a look at the object"):
            try:
                if version_id:
                    head = self._client.head_object(
                        Bucket=self._bucket, Key=key, VersionId=version_id
                    )
                else:
                    head = self._client.head_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if error.response["Error"].get("Code") in _GONE_FROM_HEAD:
                    return None
                raise
            metadata = {name.lower(): value for name, value in head["Metadata"].items()}
            return StoredObject(
                size=head["ContentLength"],
                etag=bare_etag(head["ETag"]),
                mark=metadata.get(MARK),
                content_type=head.get("ContentType", ""),
                version_id=head.get("VersionId", ""),
                is_readable=_is_readable(head),
            )

    def download_url(
        self, key: str, *, version_id: str, filename: str, lifespan: dt.timedelta
    ) -> str:
        """A presigned GetObject URL; daemons accept nothing but a gzip content type."""
        parameters = {
            "Bucket": self._bucket,
            "Key": key,
            "ResponseContentType": CONTENT_TYPE,
            "ResponseContentDisposition": f'attachment; filename="{filename}"',
        }
        if version_id:
            parameters["VersionId"] = version_id
        with translated_errors("the signing of a link"):
            return self._client.generate_presigned_url(
                "get_object", Params=parameters, ExpiresIn=int(lifespan.total_seconds())
            )

    def delete(self, key: str, *, version_id: str) -> None:
        """DeleteObject, of the one version where there are versions: else it is only hidden.

        Only the store's own word that there is no such object counts as "gone already".
        """
        with translated_errors("the deletion of an object"):
            try:
                if version_id:
                    self._client.delete_object(Bucket=self._bucket, Key=key, VersionId=version_id)
                else:
                    self._client.delete_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if error.response["Error"].get("Code") not in _GONE:
                    raise

    @staticmethod
    def etag_of(part_etags: Iterable[str]) -> str | None:
        """The MD5 over the parts' MD5s, and their count: S3's ETag of a multipart object."""
        etags = [bare_etag(etag) for etag in part_etags]
        try:
            digests = b"".join(bytes.fromhex(etag) for etag in etags)
        except ValueError:
            return None
        if not etags:
            return None
        return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(etags)}"

    # Inside

    @property
    def _bucket(self) -> str:
        return str(self._storage.bucket_name)

    @property
    def _client(self) -> S3Client:
        return self._built.quick

    @property
    def _built(self) -> _Clients:
        if self._clients is None:
            with self._building:
                if self._clients is None:
                    self._clients = _Clients(self._storage)
        return self._clients

    def _names_its_region(self) -> bool:
        """Whether options, environment or profile say where the bucket is. No network."""
        storage = self._storage
        if storage.endpoint_url or storage.region_name or storage.client_config.region_name:
            return True
        if type(storage)._create_session is not S3Storage._create_session:  # noqa: SLF001
            # A session of its own may have a region; making it may take a call.
            return True
        try:
            session: boto3.Session = storage._create_session()  # noqa: SLF001
            if session.region_name:
                return True
            # With keys given, even if wrong ones, nobody is asked for any.
            client = session.client(
                "s3",
                aws_access_key_id="-",
                aws_secret_access_key="-",  # noqa: S106
            )
        except BotoCoreError:
            return True
        host = urlsplit(client.meta.endpoint_url).hostname or ""
        return not host.endswith(".amazonaws.com")

    def _object_parameters(self, key: str, mark: str) -> dict[str, Any]:
        wanted = self._storage.get_object_parameters(key)
        if self._storage.default_acl:
            wanted.setdefault("ACL", self._storage.default_acl)
        known = self._client.meta.service_model.operation_model("CreateMultipartUpload")
        members = known.input_shape.members if known.input_shape else {}
        parameters = {
            name: value
            for name, value in wanted.items()
            if name in members and name not in _OWN_PARAMETERS
        }
        parameters["Metadata"] = {**wanted.get("Metadata", {}), MARK: mark}
        return parameters


class _Clients:
    """The two clients of a disk, and how its part URLs are signed."""

    def __init__(self, storage: Any) -> None:
        # A subclass may have its own, one that assumes a role, say.
        session: boto3.Session = storage._create_session()  # noqa: SLF001
        credentials = session.get_credentials()
        if credentials is None:
            # They may be on their way: clients that are built without would never look again.
            raise StorageUnavailable("There are no credentials for the store.")
        self._credentials = credentials

        def client(read_timeout: int, attempts: int) -> S3Client:
            ours = Config(
                signature_version="s3v4",
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=read_timeout,
                retries={"mode": "standard", "total_max_attempts": attempts},
                max_pool_connections=_POOL_SIZE,
                tcp_keepalive=True,
            )
            return session.client(
                "s3",
                region_name=storage.region_name,
                use_ssl=storage.use_ssl,
                endpoint_url=storage.endpoint_url,
                verify=storage.verify,
                config=storage.client_config.merge(ours),
            )

        self.quick = client(READ_TIMEOUT, attempts=2)
        self.patient = client(COMPLETE_TIMEOUT, attempts=1)
        self.target = self._find_target(str(storage.bucket_name))

    def signing_key(self) -> SigningKey:
        """The credentials as they are now: temporary ones are renewed by botocore."""
        frozen = self._credentials.get_frozen_credentials()
        return SigningKey(frozen.access_key or "", frozen.secret_key or "", frozen.token or "")

    def botocore_url(self, bucket: str, key: str, upload_id: str, number: int, expires: int) -> str:
        """One part's URL as botocore signs it."""
        return self.quick.generate_presigned_url(
            "upload_part",
            Params={"Bucket": bucket, "Key": key, "UploadId": upload_id, "PartNumber": number},
            ExpiresIn=expires,
        )

    def _find_target(self, bucket: str) -> PresignTarget | None:
        """Where botocore sends this bucket's uploads, if our signature then equals its own.

        Whatever our signing does not know (another signer, an accelerated or dual-stack endpoint
        that signs otherwise, an ARN for a bucket) shows here as a difference, and botocore signs.
        """
        key, upload_id, expires = "probe/\N{SNOWMAN} ~+", "a/b=+", 3600
        try:
            theirs = self.botocore_url(bucket, key, upload_id, 1, expires)
            target = _target_of(theirs, key)
            date = dict(parse_qsl(urlsplit(theirs).query))["X-Amz-Date"]
            now = dt.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
            ours = presign_part_urls(
                target,
                self.signing_key(),
                key=key,
                upload_id=upload_id,
                count=1,
                expires=expires,
                now=now,
            )[0]
        except (BotoCoreError, KeyError, ValueError):
            return None
        if _without_order(ours) == _without_order(theirs):
            return target
        logger.info("Part URLs for bucket %s are signed by botocore, one by one.", bucket)
        return None


def _is_readable(head: HeadObjectOutputTypeDef) -> bool:
    """Whether GetObject would answer with the bytes, or with InvalidObjectState."""
    is_archived = head.get("StorageClass") in _ARCHIVE_CLASSES or "ArchiveStatus" in head
    return not is_archived or 'ongoing-request="false"' in head.get("Restore", "")


def _target_of(url: str, key: str) -> PresignTarget:
    parts = urlsplit(url)
    encoded = f"/{quote(key, safe='/~')}"
    if not parts.path.endswith(encoded):
        raise ValueError(parts.path)
    default_port = {"http": ":80", "https": ":443"}[parts.scheme]
    base_path = parts.path.removesuffix(encoded)
    region = dict(parse_qsl(parts.query))["X-Amz-Credential"].split("/")[-3]
    return PresignTarget(
        base_url=f"{parts.scheme}://{parts.netloc}{base_path}",
        host=parts.netloc.removesuffix(default_port),
        base_path=base_path,
        region=region,
    )


def _without_order(url: str) -> tuple[str, list[str]]:
    start, _, query = url.partition("?")
    return start, sorted(query.split("&"))
