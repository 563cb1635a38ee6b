"""A node: its directories, what is wrong with it, and the panel that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backups_remote.testing.daemon.calls import Call
from backups_remote.testing.daemon.tokens import DownloadTokens

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from backups_remote.testing.daemon.faults import Fault
    from backups_remote.testing.daemon.makes import Make
    from backups_remote.testing.daemon.panel import Panel


class NotConnected(Exception):
    """The stand-in does not know its panel yet: see ``StandInDaemon.connect``."""


class Node:
    """The state of a stand-in, which its HTTP server and its jobs share."""

    def __init__(self, root: Path, make: Make) -> None:
        self.make = make
        self.faults: frozenset[Fault] = make.faults
        self.restore_host_allowlist: set[str] = set()
        self.calls: list[Call] = []
        #: What the panel sends as its bearer token; None before it is known.
        self.token: str | None = None
        self.tokens = DownloadTokens()
        self._panel: Panel | None = None
        self._servers = root / "servers"
        self._backups = root / "backups"
        #: A directory for the work on archives.
        self.temporary = root / "tmp"
        for directory in (self._servers, self._backups, self.temporary):
            directory.mkdir(parents=True, exist_ok=True)

    @property
    def panel(self) -> Panel:
        """The panel that the node calls."""
        if self._panel is None:
            raise NotConnected("Call connect() first.")
        return self._panel

    @panel.setter
    def panel(self, panel: Panel) -> None:
        self._panel = panel

    def record(self, to: str, method: str, path: str, status: int | None, body: Any) -> None:
        """Add a call to the log."""
        self.calls.append(Call(to, method, path, status, body))

    def files_of(self, server: UUID) -> Path:
        """The directory of a server's files, whether or not it exists."""
        return self._servers / str(server)

    def archive_of(self, server: UUID, backup: UUID) -> Path:
        """Where an archive lies on the node's own disk, whether or not it exists."""
        return self._backups / self.make.own_disk.format(server=server, backup=backup)
