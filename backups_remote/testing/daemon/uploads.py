"""Uploads of an archive in parts."""

from __future__ import annotations

import tempfile
import time
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

from backups_remote.testing.daemon.backoff import Backoff
from backups_remote.testing.daemon.faults import Fault
from backups_remote.testing.daemon.transport import NoAnswer, Slice, call

if TYPE_CHECKING:
    from uuid import UUID

    from backups_remote.testing.daemon.node import Node
    from backups_remote.testing.daemon.panel import Ticket
    from backups_remote.testing.daemon.work import Work

_OK: Final = 200
_FORBIDDEN: Final = 403
_SERVER_ERROR: Final = 500
_TIMEOUT: Final = 7200.0
_HEADERS: Final = {"Content-Type": "application/x-gzip", "User-Agent": "Go-http-client/1.1"}


class PartFailed(Exception):
    """A part did not arrive. The message has no URL: those are signed."""


class Part(NamedTuple):
    """Where the bytes of a part lie."""

    file: IO[bytes]
    offset: int
    length: int


def upload(
    node: Node, work: Work, file: IO[bytes], size: int, ticket: Ticket
) -> list[dict[str, Any]]:
    """PUT the parts of ``file``, one after another; their list for the report.

    Raises:
        PartFailed: a part did not arrive.

    """
    parts = []
    for number, url in enumerate(ticket.urls, start=1):
        offset = (number - 1) * ticket.part_size
        length = max(0, min(ticket.part_size, size - offset))
        etag = _put(node, work, url, Part(file, offset, length))
        parts.append({"etag": etag, "part_number": number})
    return parts


class StreamedUpload:
    """Uploads what is written to it, part by part, while it is written."""

    def __init__(self, node: Node, work: Work, backup: UUID, first: Ticket) -> None:
        self._node, self._work, self._backup = node, work, backup
        self._part_size = first.part_size
        self._urls = list(first.urls)
        self._buffer = tempfile.TemporaryFile(dir=node.temporary)  # noqa: SIM115
        self._length = 0
        self.parts: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._buffer.close()

    def write(self, data: bytes) -> None:
        """Take ``data``; upload each part that it fills.

        Raises:
            PanelFailed: the panel gave no URL for a part.
            PartFailed: a part did not arrive.

        """
        view = memoryview(data)
        while view:
            taken = self._buffer.write(view[: self._part_size - self._length])
            self._length += taken
            view = view[taken:]
            if self._length == self._part_size:
                self.flush()

    def flush(self) -> None:
        """Upload what was written since the last part, as the last part.

        Raises:
            PanelFailed, PartFailed: as ``write``.

        """
        if not self._length:
            return
        number = len(self.parts) + 1
        if number > len(self._urls):
            more = self._node.panel.request_parts(self._work, self._backup, number)
            self._urls += more.urls
        if number > len(self._urls):
            raise PartFailed("The panel has no more parts.")
        url = self._urls[number - 1]
        etag = _put(self._node, self._work, url, Part(self._buffer, 0, self._length))
        self.parts.append({"etag": etag, "part_number": number})
        self._buffer.seek(0)
        self._buffer.truncate()
        self._length = 0


def _put(node: Node, work: Work, url: str, part: Part) -> str:
    """PUT one part; its ETag, as the store wrote it."""
    backoff = Backoff(work)
    status, etag, is_consumed = None, "", False
    while True:
        work.check()
        began = time.monotonic()
        if not is_consumed:
            status, etag = _try(node, url, part)
        # The client of these daemons finds an empty body the next time, and sends nothing.
        is_consumed = Fault.CONSUMES_BODY in node.faults
        if status == _OK:
            return etag
        is_repeated = (
            status is None or status >= _SERVER_ERROR or (status == _FORBIDDEN and not is_consumed)
        )
        if not is_repeated or not backoff.wait(time.monotonic() - began):
            raise PartFailed(f"The store's answer to a part: {status}.")


def _try(node: Node, url: str, part: Part) -> tuple[int | None, str]:
    part.file.seek(part.offset)
    headers = {**_HEADERS, "Content-Length": str(part.length)}
    body = Slice(part.file, part.length)
    try:
        answer = call("PUT", url, headers=headers, body=body, timeout=_TIMEOUT)
    except NoAnswer:
        node.record("store", "PUT", urlsplit(url).path, None, None)
        return None, ""
    node.record("store", "PUT", urlsplit(url).path, answer.status, None)
    return answer.status, answer.headers.get("ETag", "")
