"""A storage backend in memory, which can behave like a real store, and fail like one.

It keeps the rules of a store as far as this app relies on them, and signs nothing: its URLs are
for ``put_part``, not for HTTP.
"""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeVar

from backups_remote.exceptions import StorageTimeout, StorageUnavailable, UploadNotFound
from backups_remote.storage import StorageBackend, multipart_etag
from backups_remote.storage.s3.differences import Call, Means, lists_every_upload
from backups_remote.testing.dialects import DIALECTS, Dialect, State
from backups_remote.testing.store import MemoryStore, part_etag
from backups_remote.types import ArchiveKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from backups_remote.types import OpenUpload, StoredObject, StoredPart

T = TypeVar("T")

#: How many uploads a store lists on a page.
_PAGE: Final = 1000


@dataclass
class _Timeout:
    outcome: Literal["done", "late", "never"]
    times: int


class MemoryBackend(MemoryStore, StorageBackend):
    """Every disk that it serves is the same store, shared by the process until ``clear``."""

    presigned_uploads: ClassVar[bool] = True
    adapter: ClassVar[str] = "s3"

    _timeouts: ClassVar[dict[str, _Timeout]] = {}
    _late: ClassVar[list[Callable[[], object]]] = []
    #: Held for each call, as several threads of a sweep make them.
    _lock: ClassVar[threading.RLock] = threading.RLock()

    # For tests: control of the store

    @classmethod
    def clear(cls) -> None:
        """Reset the store, as between two tests: its contents, dialect, versions and faults."""
        for kept in (cls.uploads, cls.objects, cls._ended, cls._older, cls._timeouts):
            kept.clear()
        cls._began.clear()
        cls._aborted_beside.clear()
        cls._completed_beside.clear()
        cls._late.clear()
        MemoryBackend.keeps_versions = False
        MemoryBackend.dialect = DIALECTS["seaweedfs"]

    @classmethod
    def behave_like(cls, store: str | Dialect) -> None:
        """Take on the dialect of a store: a key of ``DIALECTS``, or a dialect of your own.

        Raises:
            KeyError: there is no dialect of that name.

        """
        MemoryBackend.dialect = DIALECTS[store] if isinstance(store, str) else store

    @classmethod
    def restart(cls) -> None:
        """Restart the store: what its dialect does not persist is lost."""
        cls._began.clear()
        if cls.dialect.forgets_at_restart:
            cls.uploads.clear()
            for found in cls.objects.values():
                found.mark = None

    @classmethod
    def time_out(
        cls, method: str, *, outcome: Literal["done", "late", "never"] = "never", times: int = 1
    ) -> None:
        """Have the next ``times`` calls of ``method`` of this backend raise StorageTimeout.

        The store carries the call out at once (``done``), when ``finish_late`` is called
        (``late``), or not at all (``never``).
        """
        cls._timeouts[method] = _Timeout(outcome, times)

    @classmethod
    def abort_beside_complete(cls, upload_id: str) -> None:
        """Have the completion of this upload run beside an abort that is told it succeeded.

        The dialect says what is left: the object, nothing, or an object that cannot be read.
        """
        cls._aborted_beside.add(upload_id)

    @classmethod
    def complete_beside_another(cls, upload_id: str) -> None:
        """Have another process complete this upload at the same time, and win.

        The object is made, and the dialect says what the completion that lost is answered.
        """
        cls._completed_beside.add(upload_id)

    @classmethod
    def finish_late(cls) -> None:
        """Carry out the calls that timed out with ``outcome="late"``."""
        with cls._lock:
            late, cls._late[:] = list(cls._late), []
            for work in late:
                work()

    @classmethod
    def put_part(cls, url: str, body: bytes) -> str:
        """Upload a part to one of the URLs of ``presign_parts``; return its ETag, quoted.

        Raises:
            UploadNotFound: the upload has ended, and this store accepts no more parts for it.
            StorageUnavailable: this store does not replace parts.

        """
        upload_id, _, number = url.removeprefix("memory://").partition("/")
        with cls._lock:
            return cls._put_part(upload_id, int(number), body)

    @classmethod
    def _put_part(cls, upload_id: str, number: int, body: bytes) -> str:
        state, upload = cls._find(upload_id)
        if upload is None or (state is not None and state not in cls.dialect.takes_parts):
            raise UploadNotFound
        if number in upload.parts and not cls.dialect.replaces_parts:
            raise StorageUnavailable("The store answered NotImplemented to a part sent again.")
        upload.parts[number] = body
        upload.uploaded_at[number] = dt.datetime.now(dt.UTC)
        if state is State.FINISHED and cls.dialect.late_parts_break_objects:
            for found in cls._versions_of(upload.key):
                found.is_broken = found.is_broken or found.upload_id == upload_id
        return part_etag(body)

    @classmethod
    def fetch(cls, link: str) -> bytes:
        """The bytes behind a download link.

        Raises:
            StorageUnavailable: there is no object, or it cannot be read.

        """
        found = cls.objects.get(link.removeprefix("memory://"))
        if found is None or found.is_broken or not found.is_readable:
            raise StorageUnavailable("The store does not hand this object out.")
        return found.body

    # The interface of a storage backend

    def object_key(self, server: uuid.UUID, backup: uuid.UUID) -> str:
        """``<server uuid>/<backup uuid>.tar.gz``."""
        return f"{server}/{backup}.tar.gz"

    def parse_key(self, key: str) -> ArchiveKey | None:
        server, _, name = key.partition("/")
        try:
            return ArchiveKey(uuid.UUID(server), uuid.UUID(name.removesuffix(".tar.gz")))
        except ValueError:
            return None

    def create_upload(self, key: str, mark: str) -> str:
        return self._do("create_upload", partial(self._create, key, mark))

    def presign_parts(
        self, key: str, upload_id: str, count: int, lifespan: dt.timedelta, *, first: int = 1
    ) -> list[str]:
        """URLs for ``put_part``. They do not expire."""
        del key, lifespan
        return [f"memory://{upload_id}/{number}" for number in range(first, first + count)]

    def list_parts(self, key: str, upload_id: str) -> list[StoredPart]:
        del key
        return self._do("list_parts", partial(self._list_parts, upload_id))

    def upload_exists(self, key: str, upload_id: str) -> bool:
        return any(upload.upload_id == upload_id for upload in self.open_uploads_of(key))

    def complete_upload(self, key: str, upload_id: str, etags: Sequence[str]) -> str:
        return self._do("complete_upload", partial(self._complete, key, upload_id, list(etags)))

    def abort_upload(self, key: str, upload_id: str) -> None:
        del key
        self._do("abort_upload", partial(self._abort, upload_id))

    def stat(self, key: str, *, version_id: str = "") -> StoredObject | None:
        return self._do("stat", partial(self._stat, key, version_id))

    def is_intact(self, key: str, *, version_id: str = "") -> bool:
        return self._do("is_intact", partial(self._is_intact, key, version_id))

    def open_uploads(self) -> Iterator[OpenUpload]:
        """The open uploads that the dialect lists."""
        listed = self._do("open_uploads", self._list_uploads)
        yield from listed[:_PAGE]
        code = self.dialect.code_for_second_page
        if len(listed) > _PAGE and code:
            self._fail_unless(Means.MARKER_REFUSED, Call.LIST_UPLOADS, code)
        yield from listed[_PAGE:]

    def lists_every_upload(self) -> bool:
        """As the dialect's Server header tells."""
        return lists_every_upload(self.dialect.server_header)

    def lists_by_prefix(self, key: str, upload_id: str) -> bool | None:
        if not self.upload_exists(key, upload_id):
            return None
        return not self.dialect.lists_exact_keys_only

    def open_uploads_of(self, key: str) -> list[OpenUpload]:
        return self._do("open_uploads_of", partial(self._list_uploads, key))

    def download_url(
        self, key: str, *, version_id: str, filename: str, lifespan: dt.timedelta
    ) -> str:
        """A link for ``fetch``."""
        del version_id, filename, lifespan
        return f"memory://{key}"

    def delete(self, key: str, *, version_id: str) -> None:
        self._do("delete", partial(self._delete, key, version_id))

    @staticmethod
    def etag_of(part_etags: Iterable[str]) -> str | None:
        return multipart_etag(part_etags)

    def _do(self, method: str, work: Callable[[], T]) -> T:
        with self._lock:
            timeout = self._timeouts.get(method)
            if timeout is None or timeout.times == 0:
                return work()
            timeout.times -= 1
            if timeout.outcome == "done":
                work()
            elif timeout.outcome == "late":
                self._late.append(work)
        raise StorageTimeout
