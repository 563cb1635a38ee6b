"""What a daemon does in the background: backups, restores, deletions."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from backups_remote.testing.daemon.archive import Hashing, pack, truncate, unpack
from backups_remote.testing.daemon.faults import Fault
from backups_remote.testing.daemon.links import (
    LinkRefused,
    fetched,
    refuse_private_literal,
    refuse_private_name,
)
from backups_remote.testing.daemon.panel import Archived, PanelFailed
from backups_remote.testing.daemon.uploads import PartFailed, StreamedUpload, upload

if TYPE_CHECKING:
    from uuid import UUID

    from backups_remote.testing.daemon.archive import Readable
    from backups_remote.testing.daemon.node import Node
    from backups_remote.testing.daemon.panel import Ticket
    from backups_remote.testing.daemon.work import Work

#: What an archive raises that is none, or broke off.
_UNREADABLE: Final = (
    *(OSError, EOFError, tarfile.TarError, zlib.error),
    http.client.HTTPException,
)


class Job(Protocol):
    """Work that the daemon has accepted."""

    def __call__(self, work: Work) -> None:
        """Do it, and report.

        Raises:
            Forgotten: the daemon was restarted meanwhile.

        """


class BackupJob:
    """Archives a server. ``keeps`` leaves the archive on the node's own disk."""

    def __init__(self, node: Node, server: UUID, backup: UUID, *, keeps: bool, ignore: str) -> None:
        self._node, self._server, self._backup = node, server, backup
        self._keeps = keeps
        self._ignore = ignore

    def __call__(self, work: Work) -> None:
        work.check()
        panel = self._node.panel
        try:
            archived = self._keep(work) if self._keeps else self._send(work)
        except (OSError, tarfile.TarError, PanelFailed, PartFailed):
            with contextlib.suppress(PanelFailed):
                panel.report_failure(work, self._backup)
            return
        try:
            panel.report_success(work, self._backup, archived)
        except PanelFailed:
            if self._keeps and Fault.DELETES_ARCHIVE in self._node.faults:
                self._node.archive_of(self._server, self._backup).unlink(missing_ok=True)

    def _keep(self, work: Work) -> Archived:
        target = self._node.archive_of(self._server, self._backup)
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._node.temporary) as directory:
            path = Path(directory, "archive")
            with path.open("wb") as file:
                archived = self._pack(work, file.write)
            path.rename(target)
        return archived

    def _send(self, work: Work) -> Archived:
        first: Ticket | None = None
        if self._node.make.streams:
            with contextlib.suppress(PanelFailed):  # then it asks as other daemons do
                first = self._node.panel.request_parts(work, self._backup, 1)
        if first is not None:
            with StreamedUpload(self._node, work, self._backup, first) as stream:
                archived = self._pack(work, stream.write)
                stream.flush()
            return archived._replace(parts=stream.parts, streaming=True)
        with tempfile.TemporaryFile(dir=self._node.temporary) as file:
            archived = self._pack(work, file.write)
            ticket = self._node.panel.request_upload(work, self._backup, archived.size)
            parts = upload(self._node, work, file, archived.size, ticket)
        # The uploaded parts are the only copy when the report is sent.
        return archived._replace(parts=parts)

    def _pack(self, work: Work, write: Writes) -> Archived:
        target = Hashing(write, self._node.make.checksum_type)
        files = pack(self._node.files_of(self._server), target, self._ignore, work.check)
        return Archived(target.checksum, target.size, files)


class Writes(Protocol):
    """A file's ``write``."""

    def __call__(self, data: bytes, /) -> object:
        """Take ``data``."""


class RestoreJob:
    """Unpacks an archive over a server's files. ``link`` is None for the node's own disk."""

    def __init__(
        self, node: Node, server: UUID, backup: UUID, *, link: str | None, truncates: bool
    ) -> None:
        self._node, self._server, self._backup = node, server, backup
        self._link = link
        self._truncates = truncates
        self._stack = contextlib.ExitStack()
        self._source: Readable | None = None

    def begin(self) -> None:
        """Do what comes before the answer to the panel.

        Raises:
            LinkRefused: there is nothing to restore from.

        """
        node = self._node
        is_careful = Fault.REFUSES_PRIVATE_ADDRESSES in node.faults
        if self._link is not None and is_careful:
            refuse_private_literal(self._link, node.restore_host_allowlist)
        archive = node.archive_of(self._server, self._backup)
        if self._link is None and not archive.exists():
            raise LinkRefused("the backup is not on this node", 500)
        if Fault.TRUNCATES_FIRST in node.faults:
            self._truncate()
        if self._link is None:
            self._source = self._stack.enter_context(archive.open("rb"))
            return
        if is_careful:
            refuse_private_name(self._link, node.restore_host_allowlist)
        self._source = self._stack.enter_context(fetched(self._link, node))

    def __call__(self, work: Work) -> None:
        with self._stack:
            work.check()
            try:
                if self._source is None:
                    self.begin()
                self._unpack(work)
            except (LinkRefused, *_UNREADABLE):
                successful = False
            else:
                successful = True
        with contextlib.suppress(PanelFailed):
            self._node.panel.report_restore(work, self._backup, self._server, successful=successful)

    def _unpack(self, work: Work) -> None:
        source = self._source
        assert source is not None  # noqa: S101 - begin() opened it
        if self._truncates and Fault.TRUNCATES_FIRST not in self._node.faults:
            source = self._fetch_whole(source)
            self._truncate()
        unpack(source, self._node.files_of(self._server), work.check)

    def _fetch_whole(self, source: Readable) -> Readable:
        file = tempfile.TemporaryFile(dir=self._node.temporary)  # noqa: SIM115
        self._stack.enter_context(file)
        shutil.copyfileobj(source, file)
        file.seek(0)
        return file

    def _truncate(self) -> None:
        if self._truncates:
            truncate(self._node.files_of(self._server))


class DeletionJob:
    """Deletes an archive from the node's own disk in the background."""

    def __init__(self, node: Node, server: UUID, backup: UUID) -> None:
        self._node, self._server, self._backup = node, server, backup

    def __call__(self, work: Work) -> None:
        work.check()
        successful = Fault.CANNOT_DELETE not in self._node.faults
        if successful:
            self._node.archive_of(self._server, self._backup).unlink(missing_ok=True)
        with contextlib.suppress(PanelFailed):
            self._node.panel.report_deletion(work, self._backup, successful=successful)
