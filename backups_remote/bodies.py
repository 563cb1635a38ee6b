"""The body of a node's call, in whatever framing the server hands it over.

A client, a proxy or a CDN may send a body without its length: ``Transfer-Encoding: chunked``, or
HTTP/2. WSGI (PEP 3333) has no way to say so; servers that end the stream themselves set
``wsgi.input_terminated``. Under ASGI the stream always ends.
"""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Final, cast

from django.http import RawPostDataException, UnreadablePostError
from rest_framework.exceptions import APIException
from rest_framework.request import Request

if TYPE_CHECKING:
    from django.http import HttpRequest

#: In bytes. A report of 10,000 parts is well under a megabyte; some stores' ETags are longer.
LARGEST_BODY: Final = 4 * 1024**2


class BodyTooLarge(APIException):
    """413: no report is so large."""

    status_code = 413
    default_detail = "The body is too large."
    default_code = "body_too_large"


class BodyNotReceived(APIException):
    """503: a body was announced and did not arrive whole. Daemons repeat the call; a 4xx is final.

    Nothing is wrong with what the node sent.
    """

    status_code = 503
    default_detail = "The body did not reach the panel."
    default_code = "body_not_received"


class NodeRequest(Request):
    """A request whose body is read whatever its framing, and no further than LARGEST_BODY."""

    def _load_stream(self) -> None:
        body = received_body(self._request)
        self._stream = io.BytesIO(body) if body else None  # type: ignore[assignment]


def received_body(request: HttpRequest) -> bytes:
    """The whole body.

    Raises:
        BodyTooLarge: it has more than LARGEST_BODY bytes.
        BodyNotReceived: it was announced, and the server hands over less.

    """
    try:
        body = _read(request)
    except (OSError, RawPostDataException, UnreadablePostError) as error:
        raise BodyNotReceived(f"The body could not be read to its end: {error}") from error
    if len(body) > LARGEST_BODY:
        raise BodyTooLarge
    announced = _announced_length(request)
    if len(body) < announced:  # safeguard: short-body-repeated
        raise BodyNotReceived(
            f"{len(body)} of the body's {announced} bytes reached the panel; "
            "see the log of its server, or of the proxy in front of it."
        )
    if not body and "HTTP_TRANSFER_ENCODING" in request.META:  # safeguard: unread-body-repeated
        raise BodyNotReceived(
            "The body was sent in chunks, and the panel's server hands over none of them; "
            "it, or the proxy in front of it, must pass them on."
        )
    return body


def _announced_length(request: HttpRequest) -> int:
    try:
        return max(int(request.META.get("CONTENT_LENGTH") or 0), 0)
    except ValueError:
        return 0


def _read(request: HttpRequest) -> bytes:
    # A middleware may have read it already: then Django keeps it, or raises.
    if request._read_started and (body := request.body):  # type: ignore[attr-defined]  # noqa: SLF001
        return body
    environ = getattr(request, "environ", {})
    # Django reads no further than Content-Length, so nothing at all without one.
    stream = environ["wsgi.input"] if environ.get("wsgi.input_terminated") else request
    return _read_from(cast("IO[bytes]", stream))


def _read_from(stream: IO[bytes]) -> bytes:
    """Everything, up to one byte more than is allowed. A stream may hand over less than asked."""
    pieces = []
    left = LARGEST_BODY + 1
    while left and (piece := stream.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
