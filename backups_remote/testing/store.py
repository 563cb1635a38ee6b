"""The rules of a store in memory: what each call does, and answers in the dialect of a store.

What an error code means is looked up in ``backups_remote.storage.s3.differences``, as for a real
store.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NoReturn

from backups_remote.exceptions import StorageUnavailable, UploadRejected
from backups_remote.storage import bare_etag, multipart_etag
from backups_remote.storage.s3.differences import Call, Means, error_for, meaning_of
from backups_remote.testing.dialects import DIALECTS, Dialect, State
from backups_remote.types import OpenUpload, StoredObject, StoredPart

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Upload:
    """An open upload, or one that has ended."""

    key: str
    mark: str
    started_at: dt.datetime
    parts: dict[int, bytes] = field(default_factory=dict)
    uploaded_at: dict[int, dt.datetime] = field(default_factory=dict)


@dataclass
class StoredArchive:
    """A finished object."""

    body: bytes
    etag: str
    #: None once the store has lost it.
    mark: str | None
    is_readable: bool = True
    version_id: str = ""
    #: The upload that it was completed from.
    upload_id: str = ""
    #: HEAD shows it whole, but it cannot be read.
    is_broken: bool = False


class MemoryStore:
    """One store, shared by the process: its state, and what its calls do to it."""

    #: The open uploads by their ids, and the latest objects by their keys.
    uploads: ClassVar[dict[str, Upload]] = {}
    objects: ClassVar[dict[str, StoredArchive]] = {}
    #: Whether an object that is replaced is kept as an older version.
    keeps_versions: ClassVar[bool] = False
    dialect: ClassVar[Dialect] = DIALECTS["seaweedfs"]

    #: The ids of the uploads whose completion meets an abort.
    _aborted_beside: ClassVar[set[str]] = set()
    #: The ids of the uploads that another process completes at the same time.
    _completed_beside: ClassVar[set[str]] = set()
    _ended: ClassVar[dict[str, tuple[State, Upload]]] = {}
    _older: ClassVar[dict[str, list[StoredArchive]]] = {}
    #: The ids of the uploads that began since the store's last start.
    _began: ClassVar[set[str]] = set()
    _numbers: ClassVar[Iterator[int]] = itertools.count(1)

    def _create(self, key: str, mark: str) -> str:
        if any(text in key for text in self.dialect.refuses_in_keys):
            raise StorageUnavailable("The store refuses this key.")
        upload_id = f"upload-{next(self._numbers)}"
        self.uploads[upload_id] = Upload(key, mark, dt.datetime.now(dt.UTC))
        self._began.add(upload_id)
        return upload_id

    def _list_parts(self, upload_id: str) -> list[StoredPart]:
        state, upload = self._find(upload_id)
        if state in self.dialect.lists_no_parts:
            return []
        if upload is None or (state is not None and not self._still_lists(state, upload_id)):
            self._refuse(Call.LIST_PARTS, state or State.UNKNOWN)
        return [
            StoredPart(number, part_etag(body), len(body), upload.uploaded_at[number])
            for number, body in sorted(upload.parts.items())
        ]

    def _still_lists(self, state: State, upload_id: str) -> bool:
        upload = self._ended[upload_id][1]
        there = any(found.upload_id == upload_id for found in self._versions_of(upload.key))
        return state in self.dialect.lists_parts and there

    def _complete(self, key: str, upload_id: str, etags: list[str]) -> str:
        state, upload = self._find(upload_id)
        if state is State.FINISHED and self.dialect.completes_again and key in self.objects:
            if self.dialect.answers_etag_of_request:
                return multipart_etag(etags) or ""
            return self.objects[key].etag
        if upload is None or state is not None:
            self._refuse(Call.COMPLETE, state or State.UNKNOWN, upload_id)
        bodies = [upload.parts.get(number) for number in range(1, len(etags) + 1)]
        kept = [body for body in bodies if body is not None]
        wanted = [bare_etag(etag) for etag in etags]
        if len(kept) != len(bodies) or [bare_etag(part_etag(body)) for body in kept] != wanted:
            if not self.dialect.survives_refusal:
                self._end(upload_id, State.ABORTED)
            raise UploadRejected
        self._end(upload_id, State.FINISHED)
        whole = b"".join(kept)
        etag = multipart_etag(etags) or ""
        held = bare_etag(part_etag(whole)) if self.dialect.etag_is_md5 else etag
        made = StoredArchive(whole, held, upload.mark, upload_id=upload_id)
        if self.keeps_versions:
            made.version_id = f"version-{next(self._numbers)}"
            if key in self.objects:
                self._older.setdefault(key, []).append(self.objects[key])
        self.objects[key] = made
        if upload_id in self._aborted_beside:
            self._undo(key, made, upload)
        code = self.dialect.code_beside_complete
        if upload_id in self._completed_beside and code:
            self._refuse_with(code, Call.COMPLETE, upload_id)
        return etag if self.dialect.answers_etag else ""

    def _undo(self, key: str, made: StoredArchive, upload: Upload) -> None:
        """Do what an abort does that runs beside the completion."""
        left = self.dialect.abort_beside_complete_leaves
        if left == "nothing":
            self._delete(key, made.version_id)
        elif left == "broken":
            made.is_broken = True
            upload.parts.clear()

    def _abort(self, upload_id: str) -> None:
        state, _ = self._find(upload_id)
        if state is None:
            self._end(upload_id, State.ABORTED)
            return
        code = self.dialect.codes.get((Call.ABORT, state))
        if code is not None:
            self._fail_unless(Means.UPLOAD_GONE, Call.ABORT, code)

    def _stat(self, key: str, version_id: str) -> StoredObject | None:
        found = self._version(key, version_id) if version_id else self.objects.get(key)
        if found is None:
            return None
        return StoredObject(
            size=len(found.body),
            etag=found.etag,
            mark=found.mark,
            content_type="application/x-gzip",
            version_id=found.version_id,
            is_readable=found.is_readable,
        )

    def _is_intact(self, key: str, version_id: str) -> bool:
        found = self._version(key, version_id) if version_id else self.objects.get(key)
        if found is None:
            return False
        if found.is_broken:
            code = self.dialect.codes.get((Call.GET, State.FINISHED), "")
            self._fail_unless(Means.OBJECT_BROKEN, Call.GET, code)
        return not found.is_broken

    def _list_uploads(self, key: str | None = None) -> list[OpenUpload]:
        self._drop_idle_uploads()
        code = self.dialect.code_before_first_upload
        if code and not self._began:
            self._fail_unless(Means.EMPTY, Call.LIST_UPLOADS, code)
            return []
        return [
            OpenUpload(upload.key, upload_id, upload.started_at)
            for upload_id, upload in list(self.uploads.items())
            if key in {None, upload.key}
            and (
                key is not None
                or upload_id in self._began
                or not self.dialect.lists_since_start_only
            )
        ]

    def _delete(self, key: str, version_id: str) -> None:
        if not version_id:
            # In a store with versions this only hides the object: older versions stay.
            self.objects.pop(key, None)
            return
        gone = self._version(key, version_id)
        if gone is None:
            code = self.dialect.codes.get((Call.DELETE, State.UNKNOWN))
            if code is not None:
                # The look that this calls for has just shown that the version is gone.
                self._fail_unless(Means.LOOK, Call.DELETE, code)
            return
        older = self._older.get(key, [])
        if gone in older:
            older.remove(gone)
        elif older:
            self.objects[key] = older.pop()
        else:
            del self.objects[key]

    def _refuse(self, call: Call, state: State, upload_id: str = "") -> NoReturn:
        code = self.dialect.codes.get((call, state), "NoSuchUpload")
        self._refuse_with(code, call, upload_id)

    def _refuse_with(self, code: str, call: Call, upload_id: str) -> NoReturn:
        if meaning_of(call, code) is Means.LOOK:
            self._list_parts(upload_id)
        raise error_for(call, code, "a test")

    def _fail_unless(self, meaning: Means, call: Call, code: str) -> None:
        if meaning_of(call, code) is not meaning:
            raise error_for(call, code, "a test")

    @classmethod
    def _end(cls, upload_id: str, state: State) -> None:
        cls._ended[upload_id] = state, cls.uploads.pop(upload_id)

    @classmethod
    def _drop_idle_uploads(cls) -> None:
        kept_for = cls.dialect.drops_uploads_after
        if kept_for is None:
            return
        for upload_id, upload in list(cls.uploads.items()):
            newest = max([upload.started_at, *upload.uploaded_at.values()])
            if dt.datetime.now(dt.UTC) - newest > kept_for:
                cls._end(upload_id, State.ABORTED)

    @classmethod
    def _find(cls, upload_id: str) -> tuple[State | None, Upload | None]:
        """The upload and its state, which is None while it is open."""
        cls._drop_idle_uploads()
        if upload_id in cls.uploads:
            return None, cls.uploads[upload_id]
        if upload_id in cls._ended:
            return cls._ended[upload_id]
        return State.UNKNOWN, None

    @classmethod
    def _versions_of(cls, key: str) -> list[StoredArchive]:
        latest = [cls.objects[key]] if key in cls.objects else []
        return [*cls._older.get(key, []), *latest]

    @classmethod
    def _version(cls, key: str, version_id: str) -> StoredArchive | None:
        if not cls.keeps_versions:
            return cls.objects.get(key)
        found = (kept for kept in cls._versions_of(key) if kept.version_id == version_id)
        return next(found, None)


def part_etag(body: bytes) -> str:
    """The ETag of a part, quoted."""
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
