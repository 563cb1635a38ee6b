"""Uploading an archive in parts, and the object that they become."""

from __future__ import annotations

import datetime as dt
import os
import time
from typing import TYPE_CHECKING

from backups_remote.storage import bare_etag
from backups_remote.testing.contract.steps import (
    CLOCK_SKEW,
    GZIP_TYPES,
    HOUR,
    Steps,
    digest,
    etags_of,
    new_key,
    wait_for_object,
)

if TYPE_CHECKING:
    from backups_remote.storage import StorageBackend


class UploadScenarios(Steps):
    """Uploading an archive in parts, and the object that they become."""

    def test_parts_become_an_object(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        bodies = [os.urandom(self.part_size), os.urandom(self.part_size), b"the rest"]
        upload_id = backend.create_upload(key, "the mark")
        assert backend.stat(key) is None
        assert backend.list_parts(key, upload_id) == []
        put = self._put_all(backend, key, upload_id, bodies)
        parts = backend.list_parts(key, upload_id)
        assert [(part.number, part.size) for part in parts] == [
            (number, len(body)) for number, body in enumerate(bodies, start=1)
        ]
        assert [bare_etag(part.etag) for part in parts] == [bare_etag(etag) for etag in put]
        backend.complete_upload(key, upload_id, etags_of(parts))
        found = wait_for_object(backend, key)
        assert found.size == sum(map(len, bodies))
        assert found.content_type in GZIP_TYPES
        assert found.is_readable
        assert digest(self._download(backend, key).body) == digest(b"".join(bodies))

    def test_an_object_carries_its_uploads_mark(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        self._finish(backend, key, b"archive", mark="the mark")
        assert wait_for_object(backend, key).mark == "the mark"

    def test_the_objects_etag_is_the_one_that_its_parts_give(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        parts = self._finish(backend, key, b"archive")
        known, found = backend.etag_of(etags_of(parts)), wait_for_object(backend, key)
        assert known in {None, found.etag}, f"etag_of says {known}, HEAD {found.etag}"

    def test_completion_answers_the_objects_etag_or_none(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id, parts = self._upload(backend, key, b"archive")
        answered = backend.complete_upload(key, upload_id, etags_of(parts))
        found = wait_for_object(backend, key).etag
        assert answered in {"", found}, f"Complete answered {answered}, HEAD {found}"

    def test_the_etag_stays_what_it_is(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        self._finish(backend, key, b"archive")
        assert {wait_for_object(backend, key).etag for _ in range(3)} == {
            wait_for_object(backend, key).etag
        }

    def test_parts_arrive_in_any_order(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id = backend.create_upload(key, "mark")
        urls = backend.presign_parts(key, upload_id, 3, HOUR)
        bodies = [b"a" * self.part_size, b"b" * self.part_size, b"c"]
        for number in (3, 1, 2):
            assert self.put(urls[number - 1], bodies[number - 1]).status == 200
        parts = backend.list_parts(key, upload_id)
        assert [part.number for part in parts] == [1, 2, 3]
        backend.complete_upload(key, upload_id, etags_of(parts))
        assert digest(self._download(backend, key).body) == digest(b"".join(bodies))

    def test_urls_signed_again_are_of_the_same_upload(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id = backend.create_upload(key, "mark")
        assert self.put(backend.presign_parts(key, upload_id, 1, HOUR)[0], b"1").status == 200
        (second,) = backend.presign_parts(key, upload_id, 1, HOUR, first=2)
        assert self.put(second, b"2").status == 200
        assert [part.number for part in backend.list_parts(key, upload_id)] == [1, 2]
        assert backend.stat(key) is None

    def test_a_part_sent_again_replaces_the_first(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id = backend.create_upload(key, "mark")
        (url,) = backend.presign_parts(key, upload_id, 1, HOUR)
        for body in (b"first", b"second"):
            answer = self.put(url, body)
            assert answer.status == 200, f"PUT answered {answer.status}"
        # A store may list every try; the newest one counts.
        newest = max(backend.list_parts(key, upload_id), key=lambda part: part.uploaded_at)
        second = [p for p in backend.list_parts(key, upload_id) if p.size == len(b"second")]
        assert newest.uploaded_at == second[-1].uploaded_at
        backend.complete_upload(key, upload_id, [second[-1].etag])
        assert self._download(backend, key).body == b"second"

    def test_times_are_the_stores_own_and_aware(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id, parts = self._upload(backend, key, b"archive")
        (begun,) = [u.started_at for u in backend.open_uploads_of(key) if u.upload_id == upload_id]
        for moment in (begun, parts[0].uploaded_at):
            assert abs(dt.datetime.now(dt.UTC) - moment) < CLOCK_SKEW

    def test_a_url_is_good_for_its_part_alone(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id = backend.create_upload(key, "mark")
        (url,) = backend.presign_parts(key, upload_id, 1, HOUR)
        other = url.replace("partNumber=1", "partNumber=2")
        assert other != url, "a URL does not name its part"
        answer = self.put(other, b"x")
        assert answer.status != 200, "a tampered URL was answered 200"
        assert backend.list_parts(key, upload_id) == []

    def test_a_url_expires(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        upload_id = backend.create_upload(key, "mark")
        (url,) = backend.presign_parts(key, upload_id, 1, dt.timedelta(seconds=1))
        time.sleep(3.1)
        answer = self.put(url, b"x")
        assert answer.status != 200, "an expired URL was answered 200"
