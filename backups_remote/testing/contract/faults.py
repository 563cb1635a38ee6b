"""Stores that refuse: without permission, or full."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backups_remote.exceptions import StorageUnavailable
from backups_remote.testing.contract.steps import HOUR, Steps, etags_of, new_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from backups_remote.storage import StorageBackend


class FaultScenarios(Steps):
    """Stores that refuse: without permission, or full."""

    def test_without_permission_nothing_is_gone(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        absent = new_key(backend)
        upload_id, parts = self._upload(backend, key, b"archive")
        for refused in self.without_permission(backend):
            calls: list[Callable[[], object]] = [
                partial(refused.stat, absent),
                partial(refused.list_parts, key, upload_id),
                partial(refused.upload_exists, key, upload_id),
                partial(refused.complete_upload, key, upload_id, etags_of(parts)),
                partial(refused.abort_upload, key, upload_id),
                partial(list, refused.open_uploads()),
                partial(refused.open_uploads_of, key),
                partial(refused.delete, absent, version_id=""),
                partial(refused.create_upload, key, "mark"),
            ]
            for call in calls:
                try:
                    said = call()
                except StorageUnavailable:
                    continue
                raise AssertionError(f"{call} answered {said!r} without permission")
        assert backend.list_parts(key, upload_id) == parts

    def test_without_room_nothing_is_called_whole(self, backend: StorageBackend) -> None:
        key = new_key(backend)
        with self.without_room(backend):
            try:
                upload_id = backend.create_upload(key, "mark")
            except StorageUnavailable:
                return
            (url,) = backend.presign_parts(key, upload_id, 1, HOUR)
            answer = self.put(url, os.urandom(self.part_size))
            if answer.status == 200:
                with pytest.raises(StorageUnavailable):
                    backend.complete_upload(
                        key, upload_id, etags_of(backend.list_parts(key, upload_id))
                    )
            else:
                assert backend.list_parts(key, upload_id) == []
            assert backend.stat(key) is None
        backend.abort_upload(key, upload_id)
