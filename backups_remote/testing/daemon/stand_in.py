"""The stand-in for a node's daemon."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from backups_remote.testing.daemon.faults import Fault
from backups_remote.testing.daemon.http import Server
from backups_remote.testing.daemon.makes import MAKES
from backups_remote.testing.daemon.node import Node
from backups_remote.testing.daemon.panel import Panel, PanelFailed
from backups_remote.testing.daemon.tokens import DownloadTokens
from backups_remote.testing.daemon.work import Workforce

if TYPE_CHECKING:
    import os
    from uuid import UUID

    from backups_remote.testing.daemon.calls import Call
    from backups_remote.testing.daemon.work import Work

#: Seconds between two looks whether the server is to end.
_POLL: Final = 0.02


class StandInDaemon:
    """A node's daemon, with its files below ``root``. Use it as a context manager.

    Server files lie in ``<root>/servers/<uuid>``, archives on its own disk in ``<root>/backups``.
    Only directories that exist are servers of this node: ``add_server`` makes one.

    ``make`` is a key of ``MAKES``. ``pace`` is the length of one second of the daemon's waits in
    real seconds: with 0.01, it gives up a call after 0.3 s rather than 30 s. ``panel_timeout`` is
    how many real seconds it waits for an answer of the panel, by default as its make does. With
    ``resets_servers``, it calls ``servers/reset`` when it is connected and after each restart.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        make: str = "pterodactyl",
        *,
        pace: float = 1.0,
        panel_timeout: float | None = None,
        resets_servers: bool = False,
    ) -> None:
        self._node = Node(Path(root).resolve(), MAKES[make])
        self._pace = pace
        self._panel_timeout = panel_timeout
        self._resets_servers = resets_servers
        self._workforce = Workforce(pace)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._server is None:
            self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # Life

    def start(self, port: int = 0) -> None:
        """Listen at ``port`` of 127.0.0.1, by default at a free one.

        Raises:
            OSError: the port is taken.

        """
        self._open(port)

    def connect(self, panel_url: str, token_id: str, token: str) -> None:
        """Make it a node of the panel at ``panel_url``. It may run already: see ``url``."""
        node = self._node
        node.panel = Panel(
            node.make,
            panel_url,
            (token_id, token),
            timeout=node.make.panel_timeout if self._panel_timeout is None else self._panel_timeout,
            record=node.record,
        )
        node.token = token
        self._announce()

    def restart(self) -> None:
        """Forget all work: nothing of it is ever reported. Older download links end, too."""
        self._restart(None)

    def wait(self, timeout: float = 30.0) -> None:
        """Wait until no work is left.

        Raises:
            TimeoutError: some is left after ``timeout`` seconds.

        """
        self._workforce.wait(timeout)

    def close(self) -> None:
        """Forget all work, and stop listening."""
        self._close()
        self._workforce.forget_all()

    # What is where

    @property
    def url(self) -> str:
        """The base URL, for ``Node.url``.

        Raises:
            RuntimeError: it was not started, or is closed.

        """
        return f"http://127.0.0.1:{self._running.server_port}"

    @property
    def calls(self) -> list[Call]:
        """The calls so far, its own and those that it got, without tokens and signatures."""
        return list(self._node.calls)

    def add_server(self, server: UUID) -> Path:
        """Make the directory of a server's files, if there is none yet."""
        files = self._node.files_of(server)
        files.mkdir(parents=True, exist_ok=True)
        return files

    def archive_path(self, server: UUID, backup: UUID) -> Path:
        """Where an archive lies on the node's own disk, whether or not it exists."""
        return self._node.archive_of(server, backup)

    # Faults

    @property
    def faults(self) -> frozenset[Fault]:
        """The faults that are on: at first those of its make."""
        return self._node.faults

    @property
    def restore_host_allowlist(self) -> set[str]:
        """The hosts that ``Fault.REFUSES_PRIVATE_ADDRESSES`` lets through. Change it in place."""
        return self._node.restore_host_allowlist

    def switch_on(self, *faults: Fault) -> None:
        """Have these go wrong from now on."""
        self._switch(self._node.faults.union(faults))

    def switch_off(self, *faults: Fault) -> None:
        """Have these no longer go wrong."""
        self._switch(self._node.faults.difference(faults))

    def _switch(self, faults: frozenset[Fault]) -> None:
        changes = faults ^ self._node.faults
        self._node.faults = faults
        if Fault.DOWN in changes:
            port = self._running.server_port
            self._close()
            self._open(port)

    # The server

    @property
    def _running(self) -> Server:
        if self._server is None:
            raise RuntimeError("The daemon is not running.")
        return self._server

    def _open(self, port: int) -> None:
        server = Server(port, self._node, self._workforce, restart=self._restart, pace=self._pace)
        self._server = server
        if Fault.DOWN not in self._node.faults:
            server.server_activate()
            self._thread = threading.Thread(target=server.serve_forever, args=(_POLL,), daemon=True)
            self._thread.start()

    def _close(self) -> None:
        server, self._server = self._server, None
        thread, self._thread = self._thread, None
        if server is None:
            return
        server.closing.set()
        if thread is not None:
            server.shutdown()
            thread.join()
        server.server_close()

    def _restart(self, besides: Work | None) -> None:
        self._workforce.forget_all(besides=besides)
        self._node.tokens = DownloadTokens()
        self._announce()

    def _announce(self) -> None:
        if not self._resets_servers:
            return
        with contextlib.suppress(PanelFailed):
            self._workforce.run(self._workforce.accept(), self._node.panel.reset_servers)
