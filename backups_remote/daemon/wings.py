"""The client for Wings, the daemon of Pterodactyl, Pelican and Calagopus.

Needs the extra ``wings``: urllib3 for the calls, PyJWT for download links.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import socket
import threading
import uuid
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple
from urllib.parse import urlencode

import jwt
import urllib3
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from urllib3.exceptions import HTTPError

from backups_remote.daemon.base import Daemon, Deletion
from backups_remote.exceptions import (
    DaemonError,
    DaemonNotReached,
    DaemonRefused,
    DaemonUnclear,
    TokenUnreadable,
)
from backups_remote.storage import get_backend

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from uuid import UUID

    from backups_remote.models import Backup

#: Bytes of an answer that are read: enough for an error's text.
_LONGEST_ANSWER: Final = 16 * 1024
#: Characters of the daemon's own words that are shown.
_LONGEST_REASON: Final = 300
_LONGEST_VERSION: Final = 50
_QUERY: Final = re.compile(r"\?[^\s\"'<>]*")
_UNPRINTABLE: Final = re.compile(r"[^ -~\u00a0-\uffff]+")

_ACCEPTED: Final = range(200, 300)
_REDIRECTS: Final = range(300, 400)
_REFUSED: Final = range(400, 500)


class WingsDaemon(Daemon):
    """Calls one node's Wings, with the node's token.

    Subclass it to change the limits or what TLS certificates are trusted, and name the subclass
    in the setting ``DAEMON``.
    """

    #: Seconds until a connection must stand.
    connect_timeout: ClassVar[float] = 5.0
    #: Seconds that the daemon may be silent.
    read_timeout: ClassVar[float] = 30.0
    #: Seconds until a call must be over, however slowly the daemon goes on answering. None: twice
    #: the limits above together.
    call_timeout: ClassVar[float | None] = None
    #: How long a download link is good.
    link_lifespan: ClassVar[dt.timedelta] = dt.timedelta(minutes=15)

    def make_backup(self, backup: Backup) -> None:
        """``POST /api/servers/{server}/backup``."""
        self._call(
            "POST",
            f"/api/servers/{backup.server_uuid}/backup",
            {
                "adapter": get_backend(backup.disk).adapter,
                "uuid": str(backup.uuid),
                "ignore": "\n".join(backup.ignored_files),
            },
        )

    @sensitive_variables("link")
    def restore_backup(self, backup: Backup, *, link: str | None, truncate: bool) -> None:
        """``POST /api/servers/{server}/backup/{backup}/restore``."""
        self._call(
            "POST",
            f"/api/servers/{backup.server_uuid}/backup/{backup.uuid}/restore",
            {
                "adapter": get_backend(backup.disk).adapter,
                "truncate_directory": truncate,
                "download_url": link or "",
            },
        )

    def delete_backup(self, backup: Backup) -> Deletion:
        """``DELETE /api/servers/{server}/backup/{backup}``.

        A 404 from the daemon itself means that the archive is gone; a proxy's proves nothing.
        """
        answer = self._call(
            "DELETE", f"/api/servers/{backup.server_uuid}/backup/{backup.uuid}", gone={404}
        )
        return Deletion.UNDER_WAY if answer.status == 202 else Deletion.DONE  # noqa: PLR2004

    @sensitive_variables("token")
    def download_url(self, backup: Backup, *, user_uuid: UUID) -> str:
        """``{node}/download/backup?token=…``: the token is good for one download."""
        now = timezone.now()
        claims = {
            "iss": "backups_remote",
            "aud": [self._base],
            "jti": uuid.uuid4().hex,
            "iat": now,
            # A node's clock may be a little behind the panel's.
            "nbf": now - dt.timedelta(minutes=5),
            "exp": now + self.link_lifespan,
            "server_uuid": str(backup.server_uuid),
            "backup_uuid": str(backup.uuid),
            "user_uuid": str(user_uuid),
            "unique_id": uuid.uuid4().hex,
            "scope": "backup-download",
        }
        token = jwt.encode(claims, self._token(), algorithm="HS256")
        return f"{self._base}/download/backup?{urlencode({'token': token})}"

    def probe(self) -> str:
        """``GET /api/system``."""
        answer = self._call("GET", "/api/system")
        try:
            version = json.loads(answer.text)["version"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return ""
        return _printable(str(version))[:_LONGEST_VERSION]

    def tls_context(self) -> ssl.SSLContext | None:
        """How the daemon's certificate is verified; None: against the system's authorities."""
        return None

    @property
    def _base(self) -> str:
        return self.node.url.rstrip("/")

    @property
    def _longest_call(self) -> float:
        if self.call_timeout is not None:
            return self.call_timeout
        return 2 * (self.connect_timeout + self.read_timeout)

    def _token(self) -> str:
        try:
            return self.node.token
        except TokenUnreadable as error:
            raise DaemonNotReached(str(error)) from None

    @sensitive_variables("body", "headers", "token")
    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        gone: frozenset[int] | set[int] = frozenset(),
    ) -> _Answer:
        """Make one call, once; its answer if it is 2xx, or the daemon's own with one of ``gone``.

        Raises:
            DaemonNotReached: no connection was made.
            DaemonRefused: an answer says that nothing was begun.
            DaemonUnclear: anything else.

        """
        token = self._token()
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        tracker = _Tracker()
        try:
            with tracker.ended_after(self._longest_call), tracker.pool(self) as pool:
                answer = pool.request(
                    method,
                    f"{self._base}{path}",
                    body=None if body is None else json.dumps(body).encode(),
                    headers=headers,
                    redirect=False,
                    preload_content=False,
                )
                status = answer.status
                text = _text_of(answer)
        except (HTTPError, OSError, ValueError) as error:
            # safeguard: call-without-connection-not-begun
            kind = DaemonUnclear if tracker.connected else DaemonNotReached
            words = _TOO_LATE if tracker.is_over else _describe(error)
            raise kind(f"The daemon of {self.node.name}: {words}.") from None
        # safeguard: proxy-not-found-not-gone
        if status in _ACCEPTED or (status in gone and _reason_of(text)[1]):
            return _Answer(status, text)
        raise self._error(status, text, token)

    @sensitive_variables("token", "text")
    def _error(self, status: int, text: str, token: str) -> DaemonError:
        """What an answer that is no success says about the call."""
        reason, is_own = _reason_of(text)
        # A link or a token that the daemon repeats must not get into a log.
        reason = _QUERY.sub("?…", reason.replace(token, "…"))
        reason = _printable(reason)[:_LONGEST_REASON]
        message = f"The daemon of {self.node.name} answered {status}"
        message += f": {reason}" if reason else "."
        if status in _REFUSED or status in _REDIRECTS:
            return DaemonRefused(message)
        # safeguard: proxy-error-unclear
        if status == 500 and is_own:  # noqa: PLR2004
            return DaemonRefused(message)
        return DaemonUnclear(message)


class _Answer(NamedTuple):
    status: int
    text: str


class _Tracker:
    """Notes whether a connection was made, TLS included: until then nothing can have begun.

    urllib3 raises the same error for a broken handshake and for a connection that broke later. And
    its limits apply to each read: a peer that sends a byte now and then never exceeds them.
    """

    def __init__(self) -> None:
        self.connected = False
        self.is_over = False
        #: The same connection as urllib3's, TLS or not.
        self._line: socket.socket | None = None

    @contextlib.contextmanager
    def ended_after(self, seconds: float) -> Iterator[None]:
        """Break the connection off if it still stands after so long."""
        timer = threading.Timer(seconds, self._hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            if self._line is not None:
                self._line.close()

    def hold(self, line: socket.socket) -> socket.socket:
        """Note the connection, which TLS is about to take over."""
        self._line = line.dup()
        if self.is_over:
            self._hang_up()
        return line

    def _hang_up(self) -> None:
        self.is_over = True
        if self._line is not None:
            with contextlib.suppress(OSError):  # it has ended by itself
                self._line.shutdown(socket.SHUT_RDWR)

    def pool(self, daemon: WingsDaemon) -> urllib3.PoolManager:
        tracker = self

        class Connection(urllib3.connection.HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return tracker.hold(super()._new_conn())

            def connect(self) -> None:
                super().connect()
                tracker.connected = True

        class TLSConnection(urllib3.connection.HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return tracker.hold(super()._new_conn())

            def connect(self) -> None:
                super().connect()
                tracker.connected = True

        class Pool(urllib3.HTTPConnectionPool):
            ConnectionCls = Connection

        class TLSPool(urllib3.HTTPSConnectionPool):
            ConnectionCls = TLSConnection

        timeout = urllib3.Timeout(connect=daemon.connect_timeout, read=daemon.read_timeout)
        manager = urllib3.PoolManager(
            num_pools=1, retries=False, timeout=timeout, ssl_context=daemon.tls_context()
        )
        manager.pool_classes_by_scheme = {"http": Pool, "https": TLSPool}
        return manager


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text).strip()


def _text_of(answer: urllib3.BaseHTTPResponse) -> str:
    """The beginning of a body. One that breaks off does not change what its status says."""
    try:
        return answer.read(_LONGEST_ANSWER).decode("utf-8", "replace")
    except (HTTPError, OSError):
        return ""
    finally:
        answer.close()


def _reason_of(text: str) -> tuple[str, bool]:
    """The daemon's own words in an answer, and whether they are its own, not a proxy's page."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return "", False
    if not isinstance(said, dict):
        return "", False
    if isinstance(said.get("error"), str):
        return said["error"], True
    errors = said.get("errors")
    if isinstance(errors, list) and errors:
        first = errors[0]
        return str(first.get("detail", "") if isinstance(first, dict) else first), True
    return "", False


def _describe(error: Exception) -> str:
    """A network fault in words that hold no URL."""
    for kind, words in _FAULTS:
        if isinstance(error, kind):
            return words
    return f"the call failed ({type(error).__name__})"


_TOO_LATE: Final = "it did not answer within the time limit"
#: The first kind that matches decides.
_FAULTS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (urllib3.exceptions.NameResolutionError, "its host name is not known"),
    (urllib3.exceptions.NewConnectionError, "no connection could be made"),
    (urllib3.exceptions.ConnectTimeoutError, "no connection within the time limit"),
    (urllib3.exceptions.SSLError, "no TLS connection could be made"),
    (urllib3.exceptions.ReadTimeoutError, _TOO_LATE),
    (urllib3.exceptions.ProtocolError, "the connection broke before an answer came"),
    (urllib3.exceptions.LocationParseError, "its URL is not valid"),
)
