"""What the scenarios share: the hooks that a subclass may override, and their common steps."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar, Final
from unittest import mock

import pytest

from backups_remote.exceptions import StorageError, StorageUnavailable
from backups_remote.testing.contract.http import Answer, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from backups_remote.storage import StorageBackend
    from backups_remote.types import StoredObject, StoredPart

HOUR: Final = dt.timedelta(hours=1)
#: A store's clock may differ from ours by this much.
CLOCK_SKEW: Final = dt.timedelta(minutes=2)
#: Stores list at most a thousand parts or uploads on a page.
MORE_THAN_A_PAGE: Final = 1003
GZIP_TYPES: Final = frozenset({"application/x-gzip", "application/gzip"})
#: The ETag of no part.
WRONG_ETAG: Final = '"00000000000000000000000000000000"'
#: How long an object may take to appear after its completion was answered, in seconds.
_VISIBLE_WITHIN: Final = 10.0


class Steps:
    """The hooks of the contract, and the steps that its scenarios are made of."""

    #: The smallest size that the store accepts for a part other than the last, in bytes.
    part_size: ClassVar[int] = 5 * 1024**2

    @pytest.fixture
    def backend(self) -> StorageBackend:
        """The backend under test, on a running store. Override it."""
        raise NotImplementedError

    def put(self, url: str, body: bytes) -> Answer:
        """Upload a part as a node does. Override it if the URLs of the backend are not HTTP."""
        return ask("PUT", url, body, {"Content-Type": "application/x-gzip"})

    def get(self, link: str) -> Answer:
        """Fetch an archive as a node does. Override it if the links are not HTTP."""
        return ask("GET", link)

    def complete_and_abort(
        self, backend: StorageBackend, key: str, upload_id: str, etags: Sequence[str]
    ) -> None:
        """Complete and abort an upload at the same time. Override it if threads show nothing."""

        def attempt(call: Callable[..., object], *arguments: object) -> None:
            with contextlib.suppress(StorageError):
                call(key, upload_id, *arguments)

        with ThreadPoolExecutor(2) as pool:
            pool.submit(attempt, backend.complete_upload, etags)
            pool.submit(attempt, backend.abort_upload)

    @contextlib.contextmanager
    def losing_the_answer_to_complete(self, backend: StorageBackend) -> Iterator[StorageBackend]:
        """A backend on the same store which does not hear the answer to ``complete_upload``.

        Override it to lose the answer on its way, as a broken connection does. Unless overridden,
        the answer is lost in this process.
        """
        complete = backend.complete_upload

        def complete_and_fail(key: str, upload_id: str, etags: Sequence[str]) -> str:
            complete(key, upload_id, etags)
            raise StorageUnavailable("The answer was lost.")

        with mock.patch.object(backend, "complete_upload", complete_and_fail):
            yield backend

    def at_location(self, backend: StorageBackend, location: str) -> StorageBackend:
        """The same store under another key prefix."""
        raise NotImplementedError("no key prefixes")

    def keeping_versions(self, backend: StorageBackend) -> StorageBackend:
        """The same store, keeping versions of objects."""
        raise NotImplementedError("no versions")

    def without_permission(self, backend: StorageBackend) -> Sequence[StorageBackend]:
        """The same store with access keys that are unknown, wrong or without permissions."""
        raise NotImplementedError("no permissions")

    def without_room(self, backend: StorageBackend) -> contextlib.AbstractContextManager[object]:
        """Make the store full for the duration of a block."""
        raise NotImplementedError("cannot be made full")

    def _download(self, backend: StorageBackend, key: str, filename: str = "a.tar.gz") -> Answer:
        return self.get(backend.download_url(key, version_id="", filename=filename, lifespan=HOUR))

    def _put_all(
        self, backend: StorageBackend, key: str, upload_id: str, bodies: Sequence[bytes]
    ) -> list[str]:
        urls = backend.presign_parts(key, upload_id, len(bodies), HOUR)
        answers = [self.put(url, body) for url, body in zip(urls, bodies, strict=True)]
        assert [answer.status for answer in answers] == [200] * len(bodies)
        return [answer.headers["etag"] for answer in answers]

    def _upload(
        self, backend: StorageBackend, key: str, *bodies: bytes, mark: str = "mark"
    ) -> tuple[str, list[StoredPart]]:
        upload_id = backend.create_upload(key, mark)
        self._put_all(backend, key, upload_id, bodies)
        return upload_id, backend.list_parts(key, upload_id)

    def _finish(
        self, backend: StorageBackend, key: str, *bodies: bytes, mark: str = "mark"
    ) -> list[StoredPart]:
        upload_id, parts = self._upload(backend, key, *bodies, mark=mark)
        backend.complete_upload(key, upload_id, etags_of(parts))
        return parts


def new_key(backend: StorageBackend) -> str:
    """The key of an archive that does not exist."""
    return backend.object_key(uuid.uuid4(), uuid.uuid4())


def etags_of(parts: Sequence[StoredPart]) -> list[str]:
    """The parts' ETags, as listed."""
    return [part.etag for part in parts]


def unknown_id(upload_id: str) -> str:
    """An upload id of the same form that the store never gave out."""
    last = "0" if upload_id[-1:] != "0" else "1"
    return f"{upload_id[:-1]}{last}"


def wait_for_object(backend: StorageBackend, key: str) -> StoredObject:
    """The object under ``key``, which may take a while to appear."""
    give_up = time.monotonic() + _VISIBLE_WITHIN
    while True:
        found = backend.stat(key)
        if found is not None:
            return found
        assert time.monotonic() < give_up, "no object appeared"
        time.sleep(0.1)


def digest(content: bytes) -> str:
    """Size and SHA-256: short enough to be shown where two archives differ."""
    return f"{len(content)} bytes, {hashlib.sha256(content).hexdigest()}"
