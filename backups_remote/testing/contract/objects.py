"""Download links, deletions and versions of objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backups_remote.testing.contract.steps import (
    GZIP_TYPES,
    Steps,
    etags_of,
    new_key,
    wait_for_object,
)

if TYPE_CHECKING:
    from backups_remote.storage import StorageBackend


class ObjectScenarios(Steps):
    """Download links, deletions and versions of objects."""

    def test_a_link_says_gzip(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        self._finish(backend, key, b"archive")
        answer = self._download(backend, key, "b.tar.gz")
        assert (answer.status, answer.body) == (200, b"archive")
        value = answer.headers.get("content-type", "none")
        assert value in GZIP_TYPES, f"its content type is {value}"

    def test_a_link_names_the_file(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        self._finish(backend, key, b"archive")
        answer = self._download(backend, key, "b.tar.gz")
        value = answer.headers.get("content-disposition", "none")
        assert 'filename="b.tar.gz"' in value, f"its content disposition is {value}"

    def test_what_is_deleted_is_gone_and_gone_counts_as_deleted(
        self, backend: StorageBackend
    ) -> None:
        key = new_key(backend)
        backend.delete(key, version_id="")
        self._finish(backend, key, b"archive")
        version_id = wait_for_object(backend, key).version_id
        backend.delete(key, version_id=version_id)
        assert backend.stat(key) is None
        backend.delete(key, version_id=version_id)
        backend.delete(key, version_id="")
        assert backend.open_uploads_of(key) == []

    def test_deleting_an_object_leaves_an_open_upload(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        self._finish(backend, key, b"first")
        upload_id, parts = self._upload(backend, key, b"second")
        backend.delete(key, version_id=wait_for_object(backend, key).version_id)
        backend.complete_upload(key, upload_id, etags_of(parts))
        assert wait_for_object(backend, key).size == len(b"second")

    def test_a_version_is_looked_at_and_deleted_by_itself(self, backend: StorageBackend) -> None:
        versioned = self.keeping_versions(backend)
        key = new_key(versioned)
        versions = {}
        for mark in ("1", "2"):
            self._finish(versioned, key, mark.encode() * int(mark), mark=mark)
            versions[mark] = wait_for_object(versioned, key).version_id
        assert len({*versions.values(), ""}) == 3
        first = versioned.stat(key, version_id=versions["1"])
        assert first is not None
        assert (first.size, first.mark, first.version_id) == (1, "1", versions["1"])
        versioned.delete(key, version_id=versions["1"])
        assert versioned.stat(key, version_id=versions["1"]) is None
        assert wait_for_object(versioned, key).mark == "2"

    def test_a_version_that_is_gone_counts_as_deleted(self, backend: StorageBackend) -> None:
        versioned = self.keeping_versions(backend)
        key = new_key(versioned)
        self._finish(versioned, key, b"archive")
        version_id = wait_for_object(versioned, key).version_id
        versioned.delete(key, version_id=version_id)
        versioned.delete(key, version_id=version_id)
        assert versioned.stat(key, version_id=version_id) is None
        assert versioned.stat(key) is None
