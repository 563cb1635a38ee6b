"""Completing an upload: once, twice, concurrently, and with wrong parts."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from backups_remote.exceptions import StorageError, UploadNotFound, UploadRejected
from backups_remote.testing.contract.steps import (
    WRONG_ETAG,
    Steps,
    digest,
    etags_of,
    new_key,
    unknown_id,
    wait_for_object,
)

if TYPE_CHECKING:
    from backups_remote.storage import StorageBackend


class CompletionScenarios(Steps):
    """Completing an upload: once, twice, concurrently, and with wrong parts."""

    def test_completing_twice_leaves_the_object_as_it_is(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id, parts = self._upload(backend, key, b"archive")
        backend.complete_upload(key, upload_id, etags_of(parts))
        before = wait_for_object(backend, key)
        with contextlib.suppress(UploadNotFound):
            backend.complete_upload(key, upload_id, etags_of(parts))
        assert wait_for_object(backend, key) == before

    def test_completing_twice_with_other_etags_changes_nothing(
        self, backend: StorageBackend
    ) -> None:
        key = new_key(backend)
        upload_id, parts = self._upload(backend, key, b"archive")
        backend.complete_upload(key, upload_id, etags_of(parts))
        before = wait_for_object(backend, key)
        with contextlib.suppress(StorageError):
            backend.complete_upload(key, upload_id, [WRONG_ETAG])
        assert wait_for_object(backend, key) == before

    def test_completing_what_is_aborted_or_unknown_says_so(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id, parts = self._upload(backend, key, b"archive")
        backend.abort_upload(key, upload_id)
        for gone in (upload_id, unknown_id(upload_id)):
            with pytest.raises(UploadNotFound):
                backend.complete_upload(key, gone, etags_of(parts))
        assert backend.stat(key) is None

    def test_wrong_etags_are_rejected(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id, _ = self._upload(backend, key, b"archive")
        with pytest.raises(UploadRejected):
            backend.complete_upload(key, upload_id, [WRONG_ETAG])
        assert backend.stat(key) is None

    def test_etags_in_the_wrong_order_are_rejected(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id, parts = self._upload(backend, key, b"a" * self.part_size, b"b")
        with pytest.raises(UploadRejected):
            backend.complete_upload(key, upload_id, etags_of(parts)[::-1])
        assert backend.stat(key) is None

    def test_a_part_that_never_arrived_is_rejected(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id, parts = self._upload(backend, key, b"a" * self.part_size)
        with pytest.raises(UploadRejected):
            backend.complete_upload(key, upload_id, [*etags_of(parts), WRONG_ETAG])
        assert backend.stat(key) is None

    def test_parts_below_the_least_size_are_rejected(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id, parts = self._upload(backend, key, b"a", b"b")
        with pytest.raises(UploadRejected):
            backend.complete_upload(key, upload_id, etags_of(parts))
        assert backend.stat(key) is None

    def test_an_upload_survives_a_refused_completion(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id, parts = self._upload(backend, key, b"archive")
        with pytest.raises(UploadRejected):
            backend.complete_upload(key, upload_id, [WRONG_ETAG])
        try:
            backend.complete_upload(key, upload_id, etags_of(parts))
        except StorageError as error:
            raise AssertionError(f"the right completion after it: {error}") from error
        assert wait_for_object(backend, key).size == len(b"archive")

    def test_a_lost_answer_is_settled_by_a_look(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id, before = self._upload(backend, key, b"archive", mark="the mark")
        with self.losing_the_answer_to_complete(backend) as losing:
            try:
                losing.complete_upload(key, upload_id, etags_of(before))
            except StorageError:
                pass
            else:
                raise AssertionError("the answer was not lost")
        assert wait_for_object(backend, key).size == len(b"archive")
        # A finished upload may be gone, empty, or as it was: none of it says that there are other
        # parts than those of the object.
        with contextlib.suppress(UploadNotFound):
            left = backend.list_parts(key, upload_id)
            assert left in ([], before), f"a finished upload lists {len(left)} other parts"

    def test_several_completions_at_once_make_one_object(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        bodies = b"a" * self.part_size, b"b"
        upload_id, parts = self._upload(backend, key, *bodies)

        def complete(_: int) -> bool:
            try:
                backend.complete_upload(key, upload_id, etags_of(parts))
            except StorageError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(complete, range(4)))
        assert wait_for_object(backend, key).size == sum(map(len, bodies))
        assert digest(self._download(backend, key).body) == digest(b"".join(bodies))
