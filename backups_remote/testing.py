"""For the tests of projects that use this app: a store in memory.

::

    BACKUPS_REMOTE = {
        "DEFAULT_DISK": "memory",
        "BACKENDS": {"memory": "backups_remote.testing.MemoryBackend"},
    }

It keeps the rules of a store, as far as this app relies on them, and signs nothing: its URLs are
for ``put_part``, not for HTTP.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from backups_remote.exceptions import UploadNotFound, UploadRejected
from backups_remote.storage import StorageBackend, bare_etag
from backups_remote.types import ArchiveKey, OpenUpload, StoredObject, StoredPart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass
class _Upload:
    key: str
    mark: str
    started_at: dt.datetime
    parts: dict[int, bytes] = field(default_factory=dict)
    uploaded_at: dict[int, dt.datetime] = field(default_factory=dict)


@dataclass
class _Object:
    body: bytes
    etag: str
    mark: str
    is_readable: bool = True


class MemoryBackend(StorageBackend):
    """Every disk that it serves is one store, shared by the process until ``clear``."""

    presigned_uploads: ClassVar[bool] = True
    adapter: ClassVar[str] = "s3"

    uploads: ClassVar[dict[str, _Upload]] = {}
    objects: ClassVar[dict[str, _Object]] = {}
    _numbers: ClassVar[Iterator[int]] = itertools.count(1)

    @classmethod
    def clear(cls) -> None:
        """Forget everything, as between two tests."""
        cls.uploads.clear()
        cls.objects.clear()

    @classmethod
    def put_part(cls, url: str, body: bytes) -> str:
        """Upload a part to one of the URLs handed out; its ETag, quoted."""
        upload_id, _, number = url.removeprefix("memory://").partition("/")
        upload = cls._upload(upload_id)
        upload.parts[int(number)] = body
        upload.uploaded_at[int(number)] = dt.datetime.now(dt.UTC)
        return _etag(body)

    def object_key(self, server: uuid.UUID, backup: uuid.UUID) -> str:
        """``<server uuid>/<backup uuid>.tar.gz``."""
        return f"{server}/{backup}.tar.gz"

    def parse_key(self, key: str) -> ArchiveKey | None:
        """The ids in such a key."""
        server, _, name = key.partition("/")
        try:
            return ArchiveKey(uuid.UUID(server), uuid.UUID(name.removesuffix(".tar.gz")))
        except ValueError:
            return None

    def create_upload(self, key: str, mark: str) -> str:
        """Begin an upload."""
        upload_id = f"upload-{next(self._numbers)}"
        self.uploads[upload_id] = _Upload(key, mark, dt.datetime.now(dt.UTC))
        return upload_id

    def presign_parts(
        self, key: str, upload_id: str, count: int, lifespan: dt.timedelta
    ) -> list[str]:
        """URLs for ``put_part``; they do not expire."""
        del key, lifespan
        return [f"memory://{upload_id}/{number}" for number in range(1, count + 1)]

    def list_parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """The parts put so far."""
        del key
        upload = self._upload(upload_id)
        return [
            StoredPart(number, _etag(body), len(body), upload.uploaded_at[number])
            for number, body in sorted(upload.parts.items())
        ]

    def complete_upload(self, key: str, upload_id: str, etags: Sequence[str]) -> str:
        """Put the parts together."""
        upload = self._upload(upload_id)
        bodies = [upload.parts.get(number) for number in range(1, len(etags) + 1)]
        kept = [body for body in bodies if body is not None]
        if len(kept) != len(bodies) or [_etag(body) for body in kept] != list(etags):
            raise UploadRejected
        etag = self.etag_of(etags)
        self.objects[key] = _Object(b"".join(kept), etag, upload.mark)
        del self.uploads[upload_id]
        return etag

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Forget an upload."""
        del key
        self.uploads.pop(upload_id, None)

    def stat(self, key: str, *, version_id: str = "") -> StoredObject | None:
        """The finished object; there are no versions."""
        del version_id
        found = self.objects.get(key)
        if found is None:
            return None
        return StoredObject(
            size=len(found.body),
            etag=found.etag,
            mark=found.mark,
            content_type="application/x-gzip",
            is_readable=found.is_readable,
        )

    def open_uploads(self) -> Iterator[OpenUpload]:
        """Every upload that is neither completed nor aborted."""
        for upload_id, upload in list(self.uploads.items()):
            yield OpenUpload(upload.key, upload_id, upload.started_at)

    def download_url(
        self, key: str, *, version_id: str, filename: str, lifespan: dt.timedelta
    ) -> str:
        """A link that names the object."""
        del version_id, filename, lifespan
        return f"memory://{key}"

    def delete(self, key: str, *, version_id: str) -> None:
        """Forget an object."""
        del version_id
        self.objects.pop(key, None)

    @staticmethod
    def etag_of(part_etags: Sequence[str]) -> str:  # type: ignore[override]
        """An ETag as S3 makes it."""
        joined = "".join(bare_etag(etag) for etag in part_etags)
        digest = hashlib.md5(bytes.fromhex(joined), usedforsecurity=False).hexdigest()
        return f"{digest}-{len(part_etags)}"

    @classmethod
    def _upload(cls, upload_id: str) -> _Upload:
        try:
            return cls.uploads[upload_id]
        except KeyError:
            raise UploadNotFound from None


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
