"""Lists of parts and uploads, under any prefix and of any length."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from backups_remote.testing.contract.steps import (
    HOUR,
    MORE_THAN_A_PAGE,
    Steps,
    etags_of,
    new_key,
    wait_for_object,
)

if TYPE_CHECKING:
    from backups_remote.storage import StorageBackend


class ListScenarios(Steps):
    """Lists of parts and uploads, under any prefix and of any length."""

    def test_open_uploads_are_listed(self, backend: StorageBackend) -> None:
        wanted = {
            (key, backend.create_upload(key, "m")) for key in (new_key(backend), new_key(backend))
        }
        listed = [(upload.key, upload.upload_id) for upload in backend.open_uploads()]
        assert wanted <= set(listed)
        assert len(listed) == len(set(listed))
        for key, upload_id in wanted:
            assert backend.parse_key(key) is not None
            assert [u.upload_id for u in backend.open_uploads_of(key)] == [upload_id]
            backend.abort_upload(key, upload_id)
        assert not wanted & {(upload.key, upload.upload_id) for upload in backend.open_uploads()}

    def test_no_open_upload_is_an_empty_list(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        assert backend.open_uploads_of(key) == []
        assert [upload for upload in backend.open_uploads() if upload.key == key] == []

    def test_a_location_is_any_text_and_keeps_to_itself(self, backend: StorageBackend) -> None:
        here = self.at_location(backend, "gär tén/+&=?#%20~!'()*;:@$,[]/日本")
        there = self.at_location(backend, "gär tén/+&=?#%20~!'()*;:@$,[]/日")
        key, foreign = new_key(here), new_key(there)
        assert here.parse_key(key) is not None
        assert here.parse_key(foreign) is None
        there_id = there.create_upload(foreign, "m")
        upload_id, parts = self._upload(here, key, b"archive", mark="m")
        assert [upload.upload_id for upload in here.open_uploads()] == [upload_id]
        assert [upload.key for upload in here.open_uploads_of(key)] == [key]
        here.complete_upload(key, upload_id, etags_of(parts))
        assert wait_for_object(here, key).size == len(b"archive")
        assert self._download(here, key).body == b"archive"
        here.delete(key, version_id=wait_for_object(here, key).version_id)
        assert here.stat(key) is None
        there.abort_upload(foreign, there_id)

    @pytest.mark.slow
    def test_more_than_a_thousand_parts_are_listed(self, backend: StorageBackend) -> None:
        """A single byte each: stores judge the size of parts when they put them together."""
        key = new_key(backend)
        upload_id = backend.create_upload(key, "mark")
        urls = backend.presign_parts(key, upload_id, MORE_THAN_A_PAGE, HOUR)
        with ThreadPoolExecutor(8) as pool:
            statuses = set(pool.map(lambda url: self.put(url, b"x").status, urls))
        assert statuses == {200}
        parts = backend.list_parts(key, upload_id)
        assert [part.number for part in parts] == list(range(1, MORE_THAN_A_PAGE + 1))
        backend.abort_upload(key, upload_id)

    @pytest.mark.slow
    def test_more_than_a_thousand_uploads_are_listed(self, backend: StorageBackend) -> None:
        wanted: set[tuple[str, str]] = set()

        def begin(key: str) -> None:
            wanted.add((key, backend.create_upload(key, "mark")))

        with ThreadPoolExecutor(8) as pool:
            try:
                list(pool.map(begin, [new_key(backend) for _ in range(MORE_THAN_A_PAGE)]))
                listed = [(upload.key, upload.upload_id) for upload in backend.open_uploads()]
                assert wanted <= set(listed), (
                    f"{len(wanted & set(listed))} of {MORE_THAN_A_PAGE} are listed"
                )
                assert len(listed) == len(set(listed))
            finally:
                list(pool.map(lambda begun: backend.abort_upload(*begun), wanted))
