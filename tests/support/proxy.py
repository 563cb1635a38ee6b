"""A proxy between panel, node and store that goes wrong on demand.

It forwards every request unchanged, the Host header included: the signatures were made for the
proxy's address and the store checks them against the Host that it receives.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.waiting import PATIENCE, wait_until

_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "te"}
_RESET = struct.pack("ii", 1, 0)


def error_body(code):
    """An error as S3 writes it."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>Injected.</Message>"
        "<Resource>/</Resource><RequestId>1</RequestId></Error>"
    ).encode()


@dataclass
class Fault:
    """What happens to chosen calls.

    ``operation`` is one of create, part, list_parts, complete, abort, list_uploads, head, get,
    delete; ``key`` is a part of the key or, for list_uploads, of the prefix. The calls number
    ``nth`` … ``nth + times - 1`` of those that fit are hit.
    """

    operation: str
    key: str = ""
    nth: int = 1
    times: int = 1
    #: Seconds before the call is forwarded, and before it is answered; or the event that it waits
    #: for.
    before: float | threading.Event = 0
    after: float | threading.Event = 0
    forward: bool = True
    #: "real", "drop" (close without an answer), "reset" (RST), "truncate", "empty" (a 200
    #: without a body) or a status with the code of an S3 error.
    answer: str | tuple[int, str] = "real"

    seen: int = field(default=0, init=False)
    hits: int = field(default=0, init=False)

    def on(self, operation, key="", nth=1, times=1):
        """The same fault on other calls, unused."""
        return replace(self, operation=operation, key=key, nth=nth, times=times)


@dataclass(frozen=True)
class Call:
    """One line of the log. ``answered`` is None where nothing was answered."""

    operation: str
    key: str
    started: float
    fault: Fault | None = None
    store_status: int | None = None


class Proxy:
    """``with Proxy(store.endpoint) as proxy``; ``proxy.url`` is what panels are given."""

    def __init__(self, upstream):
        parts = urlsplit(upstream)
        self.upstream = (parts.hostname, parts.port)
        #: Answers lose their metadata, as with a store that keeps none.
        self.drops_metadata = False
        self.log = []
        self._faults = []
        self._lock = threading.Lock()
        self._sockets = set()
        self._server = None

    def __enter__(self):
        proxy = self

        class Handler(_Handler):
            owner = proxy

        class Server(ThreadingHTTPServer):
            # Threads end with their connections, which close() cuts.
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request, client_address):
                """Panels that die in mid-call are what this is for."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._server.shutdown()
        self._thread.join()
        with self._lock:
            left = list(self._sockets)
        for connection in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        give_up = time.monotonic() + 15
        while self._sockets and time.monotonic() < give_up:
            time.sleep(0.02)

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def inject(self, *faults):
        """Have these faults happen until ``clear``."""
        with self._lock:
            self._faults.extend(faults)

    def remove(self, *faults):
        with self._lock:
            self._faults = [f for f in self._faults if all(f is not gone for gone in faults)]

    def clear(self):
        """Go well again."""
        with self._lock:
            self._faults.clear()
        self.drops_metadata = False

    @contextlib.contextmanager
    def going_wrong(self, *faults):
        """These faults, for the length of the block."""
        self.inject(*faults)
        try:
            yield faults[0]
        finally:
            self.remove(*faults)

    def retell(self, method, target, status, headers, content):
        """What becomes of a store's answer on its way; unchanged, unless a subclass says more."""
        return status, headers, content

    def count(self, key=""):
        """How often each operation was called on ``key``."""
        with self._lock:
            return Counter(call.operation for call in self.log if key in call.key)

    def calls(self, key, operation=None):
        with self._lock:
            return [c for c in self.log if key in c.key and operation in {None, c.operation}]

    def wait_for(self, operation, key, times=1):
        """Wait until a call has arrived here."""
        wait_until(lambda: self.count(key)[operation] >= times, f"a call of {operation}")

    def _arrived(self, operation, key):
        with self._lock:
            chosen = None
            for fault in self._faults:
                if fault.operation != operation or fault.key not in key:
                    continue
                fault.seen += 1
                if chosen is None and fault.nth <= fault.seen < fault.nth + fault.times:
                    fault.hits += 1
                    chosen = fault
            self.log.append(Call(operation, key, time.monotonic(), chosen))
            return chosen


def classify(method, target):
    """The operation and the key (or the prefix) that a request is about."""
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True)
    key = unquote(parts.path).lstrip("/").partition("/")[2]
    if method == "POST" and "uploads" in query:
        return "create", key
    if "uploadId" in query:
        by_method = {"POST": "complete", "PUT": "part", "GET": "list_parts", "DELETE": "abort"}
        return by_method.get(method, "other"), key
    if method == "GET" and "uploads" in query:
        return "list_uploads", query.get("prefix", [""])[0]
    if not key:
        return "other", ""
    return {"HEAD": "head", "GET": "get", "DELETE": "delete"}.get(method, "other"), key


def _pause(until):
    if isinstance(until, threading.Event):
        until.wait(PATIENCE)
    else:
        time.sleep(until)


class _Handler(BaseHTTPRequestHandler):
    owner = None
    protocol_version = "HTTP/1.1"
    timeout = 60
    # Small answers on a kept connection must not wait for the other side's delayed ACK.
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self):
        with self.owner._lock:
            self.owner._sockets.add(self.request)
        super().setup()

    def finish(self):
        try:
            with contextlib.suppress(OSError, ValueError):
                super().finish()
        finally:
            with self.owner._lock:
                self.owner._sockets.discard(self.request)

    def log_message(self, *args):
        """The log is ``Proxy.log``."""

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        operation, key = classify(self.command, self.path)
        fault = self.owner._arrived(operation, key) or Fault(operation)
        _pause(fault.before)
        status, headers, content = 0, [], b""
        if fault.forward:
            answer = self._ask_store(body)
            status, headers, content = self.owner.retell(self.command, self.path, *answer)
        _pause(fault.after)
        if fault.answer in {"drop", "reset"}:
            if fault.answer == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close_connection = True
        elif fault.answer == "truncate":
            # As long as announced, then nothing more: the answer breaks off in the middle.
            self._answer(status, headers, content, cut=max(len(content) // 2, 0))
            self.close_connection = True
        elif fault.answer == "cut":
            # Whole as HTTP sees it, and only half of the document.
            self._answer(status, headers, content[: len(content) // 2])
        elif fault.answer == "empty":
            self._answer(200, [], b"")
        elif isinstance(fault.answer, tuple):
            status, code = fault.answer
            self._answer(status, [("Content-Type", "application/xml")], error_body(code))
        else:
            self._answer(status, headers, content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815

    def _ask_store(self, body):
        upstream = http.client.HTTPConnection(*self.owner.upstream, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP | {"expect"}:
                    upstream.putheader(name, value)
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            content = answer.read()
            headers = [
                (name, value)
                for name, value in answer.getheaders()
                if name.lower() not in _HOP_BY_HOP
                and not (self.owner.drops_metadata and name.lower().startswith("x-amz-meta-"))
            ]
            return answer.status, headers, content
        finally:
            upstream.close()

    def _answer(self, status, headers, content, cut=None):
        self.send_response_only(status)
        told = {name.lower() for name, _ in headers}
        for name, value in headers:
            # A HEAD announces a length that it does not send: the store's own.
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD" and status != 204:
            self.send_header("Content-Length", str(len(content)))
        elif self.command == "HEAD" and "content-length" not in told:
            self.send_header("Content-Length", "0")
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(content if cut is None else content[:cut])
        self.wfile.flush()
