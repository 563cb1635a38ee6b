"""The interface that every kind of disk implements.

A backend serves one disk (one alias). Callers ask its capability flags, never its class. What it
hands out and takes are the frozen values of ``backups_remote.types``; what it raises is
``StorageUnavailable`` unless a method names more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import datetime as dt
    import uuid
    from collections.abc import Iterable, Iterator, Sequence

    from django.core.checks import CheckMessage

    from backups_remote.types import ArchiveKey, OpenUpload, StoredObject, StoredPart


class StorageBackend:
    """Where the archives of one disk live."""

    #: Nodes upload parts straight to the store with presigned URLs, and the panel has them put
    #: together. Such a backend implements every method below.
    #: Without it, a node keeps its archive itself and its word about it is all there is.
    presigned_uploads: ClassVar[bool] = False

    #: What the daemon calls this kind of disk ("adapter" in its own API).
    adapter: ClassVar[str] = "wings"

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.alias!r}>"

    def check(self) -> list[CheckMessage]:
        """What is wrong with this disk's configuration. Must not touch the network."""
        return []

    def check_connection(self) -> list[CheckMessage]:
        """What is wrong with the store itself. Runs under ``check --deploy`` only."""
        return []

    def object_key(self, server: uuid.UUID, backup: uuid.UUID) -> str:
        """The whole key of an archive's object, the disk's own prefix included."""
        raise NotImplementedError

    def parse_key(self, key: str) -> ArchiveKey | None:
        """The inverse of ``object_key``; None for a key that is not ours."""
        raise NotImplementedError

    def create_upload(self, key: str, mark: str) -> str:
        """Begin a multipart upload whose object will carry ``mark``; its upload id."""
        raise NotImplementedError

    def presign_parts(
        self, key: str, upload_id: str, count: int, lifespan: dt.timedelta
    ) -> list[str]:
        """A URL for each of the parts 1 … ``count``, good for ``lifespan`` from now."""
        raise NotImplementedError

    def list_parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """Every part that the store holds, by number.

        Raises:
            UploadNotFound: the upload is finished, aborted, or never was. Some stores answer a
                finished one with an empty list instead: never read that as "no parts".

        """
        raise NotImplementedError

    def complete_upload(self, key: str, upload_id: str, etags: Sequence[str]) -> str:
        """Put the parts 1 … n together, once; the object's ETag, unquoted.

        Raises:
            UploadNotFound: the store does not know the upload (any more).
            UploadRejected: the parts are not what the store holds.

        """
        raise NotImplementedError

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Throw an upload's parts away. One that is gone already counts as thrown away."""
        raise NotImplementedError

    def stat(self, key: str, *, version_id: str = "") -> StoredObject | None:
        """The finished object, or None where there is none.

        Where versions are kept, ``version_id`` asks for that very one, else for the latest.
        """
        raise NotImplementedError

    def open_uploads(self) -> Iterator[OpenUpload]:
        """Every unfinished upload under this disk's prefix, ours or not."""
        raise NotImplementedError

    def download_url(
        self, key: str, *, version_id: str, filename: str, lifespan: dt.timedelta
    ) -> str:
        """A link that serves the archive as application/x-gzip under ``filename``."""
        raise NotImplementedError

    def delete(self, key: str, *, version_id: str) -> None:
        """Delete the object for good, that very version where versions are kept.

        An object that is gone already counts as deleted.
        """
        raise NotImplementedError

    @staticmethod
    def etag_of(part_etags: Iterable[str]) -> str | None:
        """The ETag that the store gives an object made of these parts, where that is known."""
        del part_etags
        return None
