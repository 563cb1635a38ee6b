"""HTTP calls as daemons make them: one try, no redirects, no proxies. No error has a URL."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import io
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message

#: Bytes of a body that are sent, or of an answer that are skipped, at once.
_CHUNK: Final = 1024**2
#: Bytes of an answer that are read: the URLs of 10,000 parts are some megabytes.
_LONGEST_ANSWER: Final = 64 * 1024**2


class NoAnswer(Exception):
    """The connection could not be made, or broke."""


class TimedOut(NoAnswer):
    """No answer came in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the panel or the store."""

    status: int
    headers: Message
    body: bytes


class Slice(io.RawIOBase):
    """The next ``length`` bytes of ``file``, as the body of a call."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        super().__init__()
        self._file = file
        self._left = length

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(min(self._left, _CHUNK if size < 0 else size))
        self._left -= len(data)
        return data


def call(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | Slice | None = None,
    timeout: float,
) -> Answer:
    """Make one call, and read its answer.

    Raises:
        TimedOut: the other end was silent for ``timeout`` seconds.
        NoAnswer: the connection could not be made, or broke.

    """
    with _sent(method, url, headers, body, timeout) as answer:
        return Answer(answer.status, answer.headers, _text_of(answer))


@contextlib.contextmanager
def download(url: str, *, user_agent: str, timeout: float) -> Iterator[http.client.HTTPResponse]:
    """GET a link; read the answer within the block.

    Raises:
        NoAnswer: the connection could not be made, or broke.

    """
    with _sent("GET", url, {"User-Agent": user_agent}, None, timeout) as answer:
        yield answer


@contextlib.contextmanager
def _sent(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | Slice | None,
    timeout: float,
) -> Iterator[http.client.HTTPResponse]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    with contextlib.closing(kind(parts.netloc, timeout=timeout)) as connection:
        try:
            connection.request(
                method, target, body=body, headers={**headers, "Accept-Encoding": "gzip"}
            )
            answer = connection.getresponse()
        except TimeoutError:
            raise TimedOut("no answer in time") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoAnswer(f"no answer ({type(error).__name__})") from None
        with answer:
            yield answer


def _text_of(answer: http.client.HTTPResponse) -> bytes:
    try:
        body = answer.read(_LONGEST_ANSWER)
        if answer.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
    except TimeoutError:
        raise TimedOut("the answer broke off") from None
    except (OSError, EOFError, http.client.HTTPException, zlib.error) as error:
        raise NoAnswer(f"the answer broke off ({type(error).__name__})") from None
    return body
