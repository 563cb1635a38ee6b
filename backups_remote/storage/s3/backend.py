"""S3-compatible stores, configured as django-storages' S3Storage.

Bucket, endpoint, credentials, ``location`` and object parameters are the ones of the STORAGES
alias. What is safe on every store is fixed here: SigV4, no checksum parameters, our own retries.

A disk is in one place: a storage class that computes its bucket or its location anew is refused.

The boto clients are built once a process and shared: boto3's guide "Clients" documents them as
thread-safe, unlike resources and sessions.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import posixpath
import re
import threading
import uuid
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast
from urllib.parse import urlsplit

from botocore.exceptions import ClientError
from django.core.files.storage import storages

from backups_remote.conf import app_settings
from backups_remote.exceptions import StorageError, StorageUnavailable, UploadNotFound
from backups_remote.storage.base import StorageBackend
from backups_remote.storage.parts import bare_etag, multipart_etag
from backups_remote.storage.s3 import objects
from backups_remote.storage.s3.checks import check_configuration, check_store
from backups_remote.storage.s3.clients import Clients
from backups_remote.storage.s3.differences import Call, Means
from backups_remote.storage.s3.errors import configuration_errors, means, translated_errors
from backups_remote.storage.s3.listing import list_parts, pages_of_uploads
from backups_remote.storage.s3.parameters import CONTENT_TYPE, object_parameters
from backups_remote.storage.s3.place import place_of, refuse_another_place
from backups_remote.storage.s3.presign import presign_part_urls
from backups_remote.storage.s3.trial import try_upload
from backups_remote.types import ArchiveKey, OpenUpload, StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from django.core.checks import CheckMessage
    from mypy_boto3_s3.client import S3Client

    from backups_remote.types import StoredPart

_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


class S3Backend(StorageBackend):
    """A disk whose STORAGES backend is django-storages' S3Storage, or a subclass of it."""

    presigned_uploads: ClassVar[bool] = True
    adapter: ClassVar[str] = "s3"

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        with configuration_errors(alias):
            self._storage = cast("Any", storages[alias])
        self._place = place_of(alias, self._storage)
        location = self._place.location.strip("/")
        self._prefix = f"{location}/" if location else ""
        self._key_pattern = re.compile(
            f"{re.escape(self._prefix)}({_UUID})/({_UUID})\\.tar\\.gz", re.ASCII
        )
        self._building = threading.Lock()
        self._clients: Clients | None = None
        self._lists_every_upload = True

    # Configuration

    def check(self) -> list[CheckMessage]:
        return check_configuration(self.alias, self._storage)

    def check_connection(self) -> list[CheckMessage]:
        found = check_store(self.alias, lambda: self._built, self._bucket, self._prefix)
        if not any(message.is_serious() for message in found):
            is_public = self.alias in app_settings.public_endpoints
            found += try_upload(self, is_public=is_public)
        return found

    def host_for_nodes(self) -> str | None:
        """The host of the public endpoint, of the disk's own, or of the one that boto3 is told.

        boto3 looks into its environment (``AWS_ENDPOINT_URL_S3``) and its configuration file. None
        for a disk that ``check`` finds fault with: its clients may not be buildable.
        """
        if any(message.is_serious() for message in self.check()):
            return None
        endpoint = app_settings.public_endpoints.get(self.alias) or self._storage.endpoint_url
        try:
            return urlsplit(endpoint or self._built.signing.meta.endpoint_url).hostname
        except (StorageError, ValueError):  # no credentials; no URL, which another check reports
            return None

    # Keys

    def object_key(self, server: uuid.UUID, backup: uuid.UUID) -> str:
        """``<location>/<server uuid>/<backup uuid>.tar.gz``."""
        return posixpath.join(self._prefix, str(server), f"{backup}.tar.gz")

    def parse_key(self, key: str) -> ArchiveKey | None:
        match = self._key_pattern.fullmatch(key)  # safeguard: key-fully-matched
        if match is None:
            return None
        return ArchiveKey(server=uuid.UUID(match[1]), backup=uuid.UUID(match[2]))

    # Uploads

    def create_upload(self, key: str, mark: str) -> str:
        """CreateMultipartUpload, with the alias's object parameters and ``mark``."""
        with configuration_errors(self.alias):
            parameters = object_parameters(self._storage, self._client, key, mark)
        with translated_errors("the start of an upload", Call.CREATE):
            answer = self._client.create_multipart_upload(
                **parameters,
                Bucket=self._bucket,
                Key=key,
                ContentType=CONTENT_TYPE,
            )
            return answer["UploadId"]

    def presign_parts(
        self, key: str, upload_id: str, count: int, lifespan: dt.timedelta, *, first: int = 1
    ) -> list[str]:
        """Signed in bulk where our signature equals botocore's, else one by one by botocore."""
        with translated_errors("the signing of URLs"):
            clients = self._built
            expires = clients.seconds_to_sign_for(lifespan)
            target = clients.target
            if target is not None:
                return presign_part_urls(
                    target,
                    clients.signing_key(),
                    key=key,
                    upload_id=upload_id,
                    count=count,
                    first=first,
                    expires=expires,
                    now=dt.datetime.now(dt.UTC),
                )
            return [
                clients.botocore_url(self._bucket, key, upload_id, number, expires)
                for number in range(first, first + count)
            ]

    def list_parts(self, key: str, upload_id: str) -> list[StoredPart]:
        return list_parts(self._client, self._bucket, key, upload_id)

    def upload_exists(self, key: str, upload_id: str) -> bool:
        """Whether ListMultipartUploads, asked for this key, names the upload.

        ListParts cannot tell: Swift still lists the parts of a finished upload, and s3proxy
        answers an empty list for uploads that are finished, aborted or unknown. It is asked only
        where the key may not list uploads, or the store does not offer that list.
        """
        try:
            return any(upload.upload_id == upload_id for upload in self.open_uploads_of(key))
        except StorageUnavailable as error:
            refusal = error.__cause__
            if (
                not isinstance(refusal, ClientError)
                or means(refusal, Call.LIST_UPLOADS) is not Means.NOT_LISTED
            ):
                raise
        return super().upload_exists(key, upload_id)

    def complete_upload(self, key: str, upload_id: str, etags: Sequence[str]) -> str:
        """CompleteMultipartUpload, sent once: a blind repeat is not safe on every store."""
        with translated_errors("the completion of an upload", Call.COMPLETE):
            try:
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
            except ClientError as error:
                # safeguard: forgotten-only-if-told
                if means(error, Call.COMPLETE) is Means.LOOK and self._is_forgotten(key, upload_id):
                    raise UploadNotFound from error
                raise
            # Not every store names the object's ETag in its answer.
            return bare_etag(answer.get("ETag", ""))

    def abort_upload(self, key: str, upload_id: str) -> None:
        with (  # safeguard: missing-upload-aborted
            contextlib.suppress(UploadNotFound),
            translated_errors("the abort of an upload", Call.ABORT),
        ):
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)

    def open_uploads(self) -> Iterator[OpenUpload]:
        """Every page of ListMultipartUploads under the alias's location.

        Where that list is empty, the whole bucket's list is read as well: MinIO answers an empty
        list for a prefix that is not a whole key. Even then it names only the uploads that began
        since its last start; ``open_uploads_of`` finds the others.
        """
        is_empty = True
        for upload in self._uploads_under(self._prefix, Call.LIST_UPLOADS):
            is_empty = False
            yield upload
        if is_empty and self._prefix:
            for upload in self._uploads_under("", Call.LIST_ALL_UPLOADS):
                if upload.key.startswith(self._prefix):  # safeguard: whole-bucket-filtered
                    yield upload

    def lists_every_upload(self) -> bool:
        """As the Server header of the last list tells."""
        return self._lists_every_upload

    def lists_by_prefix(self, key: str, upload_id: str) -> bool | None:
        """Whether ListMultipartUploads names the upload for all but the last character of its key.

        The list by exact key comes second: an upload that it still names was open during the
        first. A proxy may replace the Server header, but not this.
        """
        by_prefix = self._uploads_under(key[:-1], Call.LIST_UPLOADS)
        if any(upload.upload_id == upload_id for upload in by_prefix):
            return True
        exactly = self.open_uploads_of(key)
        return False if any(upload.upload_id == upload_id for upload in exactly) else None

    def open_uploads_of(self, key: str) -> list[OpenUpload]:
        """ListMultipartUploads with the whole key as prefix, which every store answers."""
        found = self._uploads_under(key, Call.LIST_UPLOADS)
        # safeguard: uploads-of-key-alone
        return [upload for upload in found if upload.key == key]

    # Objects

    def stat(self, key: str, *, version_id: str = "") -> StoredObject | None:
        return objects.stat(self._client, self._bucket, key, version_id)

    def is_intact(self, key: str, *, version_id: str = "") -> bool:
        """Whether the first byte of the object can be read. Says nothing of its other parts."""
        return objects.is_intact(self._client, self._bucket, key, version_id)

    def download_url(
        self, key: str, *, version_id: str, filename: str, lifespan: dt.timedelta
    ) -> str:
        """A presigned GetObject URL. Daemons accept no content type but gzip."""
        parameters = {  # safeguard: link-content-type
            "Bucket": self._bucket,
            "Key": key,
            "ResponseContentType": CONTENT_TYPE,
            "ResponseContentDisposition": f'attachment; filename="{filename}"',
        }
        if version_id:
            parameters["VersionId"] = version_id
        with translated_errors("the signing of a link"):
            clients = self._built
            return clients.presigned(
                "get_object", parameters, clients.seconds_to_sign_for(lifespan)
            )

    def delete(self, key: str, *, version_id: str) -> None:
        objects.delete(self._client, self._bucket, key, version_id)

    @staticmethod
    def etag_of(part_etags: Iterable[str]) -> str | None:
        return multipart_etag(part_etags)

    @property
    def _bucket(self) -> str:
        return str(self._place.bucket_name)

    @property
    def _client(self) -> S3Client:
        return self._built.quick

    @property
    def _built(self) -> Clients:
        # safeguard: calls-of-one-place
        refuse_another_place(self.alias, self._storage, self._place)
        if self._clients is None:
            with self._building:  # safeguard: clients-built-once
                if self._clients is None:
                    with (
                        configuration_errors(self.alias),
                        translated_errors("the set-up of a client"),
                    ):
                        self._clients = Clients(
                            self._storage,
                            public_endpoint=app_settings.public_endpoints.get(self.alias),
                        )
        return self._clients

    def _is_forgotten(self, key: str, upload_id: str) -> bool:
        """Whether ListParts says that there is no such upload. False for an unclear answer."""
        try:
            self.list_parts(key, upload_id)
        except UploadNotFound:
            return True
        except StorageError:
            return False
        return False

    def _uploads_under(self, prefix: str, call: Call) -> Iterator[OpenUpload]:
        for page in pages_of_uploads(self._client, self._bucket, prefix, call):
            self._lists_every_upload = page.lists_every_upload
            yield from page.uploads
