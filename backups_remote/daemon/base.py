"""The interface of a client that calls a node's daemon."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from backups_remote.exceptions import DaemonNotConfigured

if TYPE_CHECKING:
    from uuid import UUID

    from backups_remote.models import Backup, Node


class Deletion(enum.Enum):
    """What a daemon answered when it was told to delete an archive from its own disk."""

    #: The archive is gone.
    DONE = enum.auto()
    #: The daemon deletes it in the background and reports the end.
    UNDER_WAY = enum.auto()


class Daemon(ABC):
    """Calls the daemon of ``node``. One instance is for one thread.

    Each call returns once the daemon has accepted it. Otherwise it raises one of two kinds of
    error, on which the caller's row depends:

    - ``DaemonNotBegun``: the daemon has certainly not begun;
    - ``DaemonUnclear``: it may have begun. Its report, or the sweep, will tell.

    Raise nothing else for what a node or a network does.
    """

    def __init__(self, node: Node) -> None:
        self.node = node

    @abstractmethod
    def make_backup(self, backup: Backup) -> None:
        """Have the daemon archive the backup's server. It may call back before this returns."""

    @abstractmethod
    def restore_backup(self, backup: Backup, *, link: str | None, truncate: bool) -> None:
        """Have the daemon unpack the archive onto the backup's server.

        ``link`` is where it fetches the archive, None for its own disk. ``truncate`` says that
        the server's files are deleted first.
        """

    @abstractmethod
    def delete_backup(self, backup: Backup) -> Deletion:
        """Have the daemon delete the archive from its own disk. A missing one counts as deleted."""

    @abstractmethod
    def download_url(self, backup: Backup, *, user_uuid: UUID) -> str:
        """A link for one download of an archive on the node's own disk. It makes no call."""

    def probe(self) -> str:
        """Ask whether the daemon answers and takes the node's token; its version, if it tells.

        Not abstract: classes that were written before it have none.
        """
        raise DaemonNotConfigured(f"{type(self).__name__} cannot ask a daemon how it is.")
