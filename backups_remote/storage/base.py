"""The interface that the backend of every kind of disk implements.

A backend serves one disk (one alias). Callers read its capability flags, never its class. Its
arguments and results are the frozen values of ``backups_remote.types``. It raises
``StorageUnavailable``, and other errors where a method names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from backups_remote.exceptions import UploadNotFound

if TYPE_CHECKING:
    import datetime as dt
    import uuid
    from collections.abc import Iterable, Iterator, Sequence

    from django.core.checks import CheckMessage

    from backups_remote.types import ArchiveKey, OpenUpload, StoredObject, StoredPart


class StorageBackend:
    """Where the archives of one disk live."""

    #: Nodes upload parts directly to the store with presigned URLs, and the panel completes the
    #: upload. Such a backend implements every method below.
    #: If False, a node keeps its archives itself and its report cannot be verified.
    presigned_uploads: ClassVar[bool] = False

    #: The daemon's name for this kind of disk ("adapter" in its API).
    adapter: ClassVar[str] = "wings"

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.alias!r}>"

    def check(self) -> list[CheckMessage]:
        """Problems of this disk's configuration. Must not use the network."""
        return []

    def check_connection(self) -> list[CheckMessage]:
        """Problems of the store itself. Runs under ``check --deploy`` only."""
        return []

    def host_for_nodes(self) -> str | None:
        """The host of the URLs that nodes are given; None if it is not known without network.

        For a warning only: newer daemons restore from an internal address only if they are told.
        """
        return None

    def object_key(self, server: uuid.UUID, backup: uuid.UUID) -> str:
        """The key of an archive's object, including the disk's own prefix."""
        raise NotImplementedError

    def parse_key(self, key: str) -> ArchiveKey | None:
        """The inverse of ``object_key``; None for a key that is not ours."""
        raise NotImplementedError

    def create_upload(self, key: str, mark: str) -> str:
        """Begin a multipart upload whose object will carry ``mark``; return its upload id."""
        raise NotImplementedError

    def presign_parts(
        self, key: str, upload_id: str, count: int, lifespan: dt.timedelta, *, first: int = 1
    ) -> list[str]:
        """A URL for each of ``count`` parts from number ``first`` on, valid for ``lifespan``.

        Credentials that expire earlier shorten that: the store refuses the URLs from then on.
        """
        raise NotImplementedError

    def list_parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """Every part that the store holds, sorted by number.

        Raises:
            UploadNotFound: the upload is finished, aborted or unknown. Some stores answer with an
                empty list instead: never read that as "no parts".

        """
        raise NotImplementedError

    def upload_exists(self, key: str, upload_id: str) -> bool:
        """Whether the upload is open: the store accepts parts for it.

        Some stores list the parts of a finished upload, or answer an unknown upload with an empty
        list. A backend for such stores looks into the list of open uploads instead.
        """
        try:
            self.list_parts(key, upload_id)
        except UploadNotFound:
            return False
        return True

    def complete_upload(self, key: str, upload_id: str, etags: Sequence[str]) -> str:
        """Complete the upload from the parts 1 … n, with one call.

        Returns the ETag that the store answered, without quotes; "" for none. Neither an answer
        nor an error proves anything: one of several concurrent completions may succeed while the
        others fail, and some stores compute the ETag from the request. ``stat`` tells.

        Raises:
            UploadNotFound: the store does not know the upload.
            UploadRejected: the parts are not what the store holds.
            StorageTimeout: the store did not answer within the time limit and may still be
                working on the call. Any answer, and a broken connection, are no timeout.

        """
        raise NotImplementedError

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Discard an upload and its parts. An upload that is gone already counts as aborted."""
        raise NotImplementedError

    def stat(self, key: str, *, version_id: str = "") -> StoredObject | None:
        """The finished object, or None if there is none.

        In a store with versions: the one with ``version_id`` if that is given, else the latest.
        """
        raise NotImplementedError

    def is_intact(self, key: str, *, version_id: str = "") -> bool:
        """Whether the store hands out bytes of the object that ``stat`` shows.

        Asked before each restore. On Swift an object can be shown as whole and fail to be read.
        The default is for stores where that cannot happen.
        """
        del key, version_id
        return True

    def open_uploads(self) -> Iterator[OpenUpload]:
        """Every unfinished upload under this disk's prefix, this app's or not.

        What was listed before an error is yielded before the error is raised. Some stores cannot
        name them all (MinIO names those that began since its last start): an upload that is not
        listed here may still be open. ``open_uploads_of`` tells.
        """
        raise NotImplementedError

    def lists_every_upload(self) -> bool:
        """Whether the last ``open_uploads`` named every upload.

        If not, the sweep calls ``open_uploads_of`` for the keys that it knows, and reports that.
        """
        return True

    def lists_by_prefix(self, key: str, upload_id: str) -> bool | None:
        """Whether a list for a part of ``key`` as prefix names this open upload.

        None if the upload is not open. The sweep asks this of an upload that it knows: where the
        answer is no, ``open_uploads`` misses some, whatever ``lists_every_upload`` says.
        """
        del key, upload_id
        return True

    def open_uploads_of(self, key: str) -> list[OpenUpload]:
        """The unfinished uploads of this key: all of them, on every store."""
        return [upload for upload in self.open_uploads() if upload.key == key]

    def download_url(
        self, key: str, *, version_id: str, filename: str, lifespan: dt.timedelta
    ) -> str:
        """A URL that serves the archive as application/x-gzip under ``filename``."""
        raise NotImplementedError

    def delete(self, key: str, *, version_id: str) -> None:
        """Delete the object permanently; in a store with versions, the one with ``version_id``.

        An object that is gone already counts as deleted.
        """
        raise NotImplementedError

    @staticmethod
    def etag_of(part_etags: Iterable[str]) -> str | None:
        """The ETag that the store is expected to give an object made of these parts, if known.

        Some stores give another (rclone: the MD5 of all bytes): a different ETag proves nothing.
        """
        del part_etags
        return None
