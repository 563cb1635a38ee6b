"""The end of an upload: aborts, and calls about an upload that has ended."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from backups_remote.exceptions import UploadNotFound
from backups_remote.testing.contract.steps import (
    HOUR,
    Steps,
    etags_of,
    new_key,
    unknown_id,
    wait_for_object,
)

if TYPE_CHECKING:
    from backups_remote.storage import StorageBackend

#: How often a completion and an abort are sent at once.
_RACES: Final = 8


class EndScenarios(Steps):
    """The end of an upload: aborts, and calls about an upload that has ended."""

    # Aborts

    def test_an_aborted_upload_is_gone(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id, _ = self._upload(backend, key, b"archive")
        backend.abort_upload(key, upload_id)
        assert not backend.upload_exists(key, upload_id)
        assert backend.open_uploads_of(key) == []
        with contextlib.suppress(UploadNotFound):
            assert backend.list_parts(key, upload_id) == []

    def test_what_is_gone_counts_as_aborted(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id = backend.create_upload(key, "mark")
        backend.abort_upload(key, upload_id)
        backend.abort_upload(key, upload_id)
        backend.abort_upload(key, unknown_id(upload_id))

    def test_aborting_what_is_finished_leaves_the_object(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id, parts = self._upload(backend, key, b"archive")
        backend.complete_upload(key, upload_id, etags_of(parts))
        before = wait_for_object(backend, key)
        backend.abort_upload(key, upload_id)
        assert wait_for_object(backend, key) == before
        assert self._download(backend, key).body == b"archive"

    def test_aborting_one_upload_leaves_another_of_its_key(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        first, _ = self._upload(backend, key, b"first")
        second, parts = self._upload(backend, key, b"second", mark="2")
        backend.abort_upload(key, first)
        assert [upload.upload_id for upload in backend.open_uploads_of(key)] == [second]
        backend.complete_upload(key, second, etags_of(parts))
        assert wait_for_object(backend, key).size == len(b"second")

    # Calls about an upload that has ended

    def test_the_parts_of_no_upload_are_not_listed(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id, _ = self._upload(backend, key, b"archive")
        backend.abort_upload(key, upload_id)
        for gone in (upload_id, unknown_id(upload_id)):
            with contextlib.suppress(UploadNotFound):
                assert backend.list_parts(key, gone) == []

    def test_an_upload_exists_from_its_begin_to_its_end(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id = backend.create_upload(key, "mark")
        assert backend.upload_exists(key, upload_id)
        assert not backend.upload_exists(key, unknown_id(upload_id))
        self._put_all(backend, key, upload_id, [b"archive"])
        assert backend.upload_exists(key, upload_id)
        parts = backend.list_parts(key, upload_id)
        backend.complete_upload(key, upload_id, etags_of(parts))
        assert not backend.upload_exists(key, upload_id)
        assert backend.open_uploads_of(key) == []

    def test_a_part_after_an_abort_is_refused(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id = backend.create_upload(key, "mark")
        (url,) = backend.presign_parts(key, upload_id, 1, HOUR)
        backend.abort_upload(key, upload_id)
        answer = self.put(url, b"late")
        assert answer.status != 200, f"PUT to an aborted upload answered {answer.status}"

    def test_a_part_after_the_end_is_refused(self, backend: StorageBackend) -> None:
        _key, _upload_id, url = self._finish_with_url(backend)
        answer = self.put(url, b"LATE")
        assert answer.status != 200, f"PUT to a finished upload answered {answer.status}"

    def test_a_part_after_the_end_harms_no_archive(self, backend: StorageBackend) -> None:
        key, _upload_id, url = self._finish_with_url(backend)
        self.put(url, b"LATE")
        answer = self._download(backend, key)
        assert answer.body == b"archive", f"GET answered {answer.status}"

    def test_a_harmed_archive_shows_in_its_parts(self, backend: StorageBackend) -> None:
        """Where HEAD cannot tell, the parts still listed must give another ETag than HEAD's."""
        key, upload_id, url = self._finish_with_url(backend)
        etag = wait_for_object(backend, key).etag
        self.put(url, b"LATE")
        if self._download(backend, key).body == b"archive":
            return
        assert backend.etag_of(etags_of(backend.list_parts(key, upload_id))) != etag

    def test_an_archive_that_cannot_be_read_is_not_intact(self, backend: StorageBackend) -> None:
        """Complete and Abort at once, and a part after the end: what is left may be broken."""
        for _ in range(_RACES):
            key = new_key(backend)
            upload_id, parts = self._upload(backend, key, b"archive")
            self.complete_and_abort(backend, key, upload_id, etags_of(parts))
            is_there = backend.stat(key) is not None
            is_readable = self._download(backend, key).body == b"archive"
            assert backend.is_intact(key) == is_readable, f"there: {is_there}"
        key, _upload_id, url = self._finish_with_url(backend)
        assert wait_for_object(backend, key)
        assert backend.is_intact(key)
        self.put(url, b"LATE")
        assert backend.is_intact(key) == (self._download(backend, key).body == b"archive")

    def _finish_with_url(self, backend: StorageBackend) -> tuple[str, str, str]:
        """Finish an upload of one part: its key, its id, and the URL of its part."""
        key = new_key(backend)
        upload_id = backend.create_upload(key, "mark")
        (url,) = backend.presign_parts(key, upload_id, 1, HOUR)
        assert self.put(url, b"archive").status == 200
        backend.complete_upload(key, upload_id, etags_of(backend.list_parts(key, upload_id)))
        return key, upload_id, url
