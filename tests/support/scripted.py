"""An HTTP server that gives the answers it is told, and keeps the calls."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """What is sent back. ``status`` None breaks the connection; ``before`` runs first."""

    status: int | None = 202
    body: object = None
    content_type: str = "application/json"
    headers: dict = field(default_factory=dict)
    before: object = None


@dataclass
class Call:
    method: str
    path: str
    headers: dict
    body: object


#: What a daemon says of a backup that it does not have.
GONE = {"error": "The requested backup was not found on this server."}


class ScriptedServer:
    """Answers each call with ``answer``, on a port of its own."""

    def __init__(self, answer=None, tls=None):
        self.answer = answer or Answer()
        self.calls = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                scripted.calls.append(
                    Call(
                        self.command,
                        self.path,
                        dict(self.headers),
                        json.loads(body) if body else None,
                    )
                )
                scripted.respond(self)

            do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def respond(self, handler):
        self.send(handler, self.answer)

    def send(self, handler, answer):
        if answer.before is not None:
            answer.before()
        if answer.status is None:
            # RST instead of FIN: the connection breaks.
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.close_connection = True
            handler.connection.close()
            return
        body = answer.body
        if body is None:
            body = b""
        elif not isinstance(body, bytes):
            body = json.dumps(body).encode()
        handler.send_response(answer.status)
        headers = {"Content-Type": answer.content_type, "Content-Length": str(len(body))}
        for name, value in {**headers, **answer.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.close_connection = "Content-Length" in answer.headers  # too little is sent
        # The client may be gone.
        with contextlib.suppress(OSError):
            handler.wfile.write(body)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
