"""The daemon's HTTP server: what the panel calls."""

from __future__ import annotations

import contextlib
import hmac
import json
import re
import shutil
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from backups_remote.testing.daemon.faults import Fault
from backups_remote.testing.daemon.jobs import BackupJob, DeletionJob, RestoreJob
from backups_remote.testing.daemon.links import LinkRefused
from backups_remote.testing.daemon.tokens import TokenRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backups_remote.testing.daemon.jobs import Job
    from backups_remote.testing.daemon.node import Node
    from backups_remote.testing.daemon.work import Work, Workforce

#: Seconds after which a slow daemon answers: longer than a panel waits.
SLOW_BY: Final = 40.0

_UUID: Final = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_BACKUPS: Final = re.compile(rf"/api/servers/{_UUID}/backup")
_BACKUP: Final = re.compile(rf"/api/servers/{_UUID}/backup/{_UUID}")
_RESTORE: Final = re.compile(rf"/api/servers/{_UUID}/backup/{_UUID}/restore")
_DOWNLOAD: Final = "/download/backup"
_SYSTEM: Final = "/api/system"
_OWN_DISK: Final = "wings"
_ADAPTERS: Final = frozenset({"s3", _OWN_DISK})


class Reply(NamedTuple):
    """An answer to the panel, and the job that was accepted with it."""

    status: int
    error: str = ""
    job: Job | None = None
    said: Mapping[str, Any] = MappingProxyType({})


class Server(ThreadingHTTPServer):
    """Serves one node. ``restart`` is called where a fault says so."""

    daemon_threads = True

    def __init__(
        self,
        port: int,
        node: Node,
        workforce: Workforce,
        *,
        restart: Callable[[Work], None],
        pace: float,
    ) -> None:
        super().__init__(("127.0.0.1", port), Handler, bind_and_activate=False)
        self.node = node
        self.workforce = workforce
        self.restart = restart
        self.closing = threading.Event()
        self.slow_by = SLOW_BY * pace
        # Bound, but not listening yet: connections are refused, and the port is kept.
        try:
            self.server_bind()
        except OSError:
            self.server_close()
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the other end has gone."""


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    #: Headers and body are sent apart.
    disable_nagle_algorithm = True

    @property
    def _daemon(self) -> Server:
        return cast("Server", self.server)

    def do_GET(self) -> None:
        """Serve a download, or say what daemon this is."""
        parts = urlsplit(self.path)
        if parts.path == _SYSTEM:
            self._handle()
            return
        if parts.path != _DOWNLOAD:
            self._answer(Reply(404, "there is no such page"))
            return
        node = self._daemon.node
        token = parse_qs(parts.query).get("token", [""])[0]
        try:
            server, backup = node.tokens.redeem(token, node.token or "")
            file = node.archive_of(server, backup).open("rb")
        except (TokenRefused, OSError):
            self._answer(Reply(404, "there is no such download"))
            return
        with file:
            length = file.seek(0, 2)
            file.seek(0)
            node.record("daemon", "GET", _DOWNLOAD, 200, None)
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(length))
            self.send_header("Content-Disposition", f"attachment; filename={backup}.tar.gz")
            self.end_headers()
            shutil.copyfileobj(file, self.wfile)

    def do_POST(self) -> None:
        """Begin a backup or a restore."""
        self._handle()

    def do_DELETE(self) -> None:
        """Delete from the node's own disk."""
        self._handle()

    def _handle(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(text) if text else {}
        except ValueError:
            body = None
        if Fault.ANSWERS_502 in self._daemon.node.faults:
            self._send(502, b"<html>Bad Gateway</html>", "text/html", None)
            return
        reply = self._decide(body)
        if reply.job is None:
            self._answer(reply, body)
        else:
            self._accept(reply, reply.job, body)

    def _decide(self, body: Any) -> Reply:
        """What the call is answered, before any fault of the network."""
        node = self._daemon.node
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer":
            return Reply(401, "the Authorization header is missing")
        if node.token is None or not hmac.compare_digest(given.encode(), node.token.encode()):
            return Reply(403, "you are not authorized to access this endpoint")
        if Fault.ANSWERS_500 in node.faults:
            return Reply(500, "an unexpected error was encountered")
        if not isinstance(body, dict):
            return Reply(400, "the body is not JSON")
        return self._route(body)

    def _route(self, body: dict[str, Any]) -> Reply:
        if (self.command, urlsplit(self.path).path) == ("GET", _SYSTEM):
            return Reply(200, said={"version": self._daemon.node.make.version})
        for method, pattern, decide in (
            ("POST", _BACKUPS, self._back_up),
            ("POST", _RESTORE, self._restore),
            ("DELETE", _BACKUP, self._delete),
        ):
            if self.command == method and (found := pattern.fullmatch(self.path)):
                server, *backup = map(UUID, found.groups())
                if not self._daemon.node.files_of(server).is_dir():
                    return Reply(404, "the requested resource does not exist on this instance")
                return decide(server, body, *backup)
        return Reply(404, "there is no such page")

    def _back_up(self, server: UUID, body: dict[str, Any]) -> Reply:
        try:
            backup, adapter = UUID(body["uuid"]), body["adapter"]
        except (KeyError, ValueError, TypeError, AttributeError):
            return Reply(400, "uuid and adapter are required")
        if adapter not in _ADAPTERS:
            return Reply(400, "the adapter is not valid")
        job = BackupJob(
            self._daemon.node,
            server,
            backup,
            keeps=adapter == _OWN_DISK,
            ignore=str(body.get("ignore", "")),
        )
        return Reply(202, job=job)

    def _restore(self, server: UUID, body: dict[str, Any], backup: UUID) -> Reply:
        if body.get("adapter") not in _ADAPTERS:
            return Reply(400, "the adapter is not valid")
        job = RestoreJob(
            self._daemon.node,
            server,
            backup,
            link=None if body["adapter"] == _OWN_DISK else str(body.get("download_url", "")),
            truncates=bool(body.get("truncate_directory")),
        )
        if not self._daemon.node.make.accepts_every_restore:
            try:
                job.begin()
            except LinkRefused as error:
                return Reply(error.status, str(error))
        return Reply(202, job=job)

    def _delete(self, server: UUID, _body: dict[str, Any], backup: UUID) -> Reply:
        node = self._daemon.node
        archive = node.archive_of(server, backup)
        if not archive.exists():
            return Reply(404, "the backup is not on this node")
        if node.make.deletes_in_background:
            return Reply(202, job=DeletionJob(node, server, backup))
        if Fault.CANNOT_DELETE in node.faults:
            return Reply(500, "the backup could not be deleted")
        archive.unlink(missing_ok=True)
        return Reply(204)

    def _accept(self, reply: Reply, job: Job, body: Any) -> None:
        """Answer, and do the work, in the order that the faults say."""
        daemon, faults = self._daemon, self._daemon.node.faults
        # Noted before the answer: whoever waits for the work must not miss it.
        work = daemon.workforce.accept()
        if Fault.RESTARTS in faults:
            self._answer(reply, body)
            work.forget()
            daemon.restart(work)
            daemon.workforce.run(work, job)
        elif Fault.CALLS_BACK_EARLY in faults:
            daemon.workforce.run(work, job)
            self._answer(reply, body)
        elif Fault.RESETS in faults:
            daemon.workforce.start(work, job)
            self._break_off(body)
        elif Fault.SLOW in faults:
            daemon.workforce.start(work, job)
            daemon.closing.wait(daemon.slow_by)
            self._answer(reply, body)
        else:
            self._answer(reply, body)
            daemon.workforce.start(work, job)

    def _answer(self, reply: Reply, body: Any = None) -> None:
        said = {"error": reply.error} if reply.error else dict(reply.said)
        self._send(
            reply.status, json.dumps(said).encode() if said else b"", "application/json", body
        )

    def _send(self, status: int, said: bytes, content_type: str, body: Any) -> None:
        self._record(status, body)
        # The panel may have gone: the work goes on all the same.
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    def _break_off(self, body: Any) -> None:
        self._record(None, body)
        # RST instead of FIN.
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def _record(self, status: int | None, body: Any) -> None:
        if isinstance(body, dict) and isinstance(body.get("download_url"), str):
            body = {**body, "download_url": body["download_url"].partition("?")[0]}
        self._daemon.node.record("daemon", self.command, urlsplit(self.path).path, status, body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""
