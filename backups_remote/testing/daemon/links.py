"""Downloads from a link, and the addresses that newer daemons refuse."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from backups_remote.testing.daemon.transport import NoAnswer, download

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from http.client import HTTPResponse

    from backups_remote.testing.daemon.node import Node

#: The content types of an archive.
_ARCHIVES: Final = frozenset({"application/x-gzip", "application/gzip"})
_OK: Final = 200
_TIMEOUT: Final = 7200.0
_PRIVATE: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16"),
        *("100.64.0.0/10", "198.18.0.0/15", "0.0.0.0/8", "::1/128", "fc00::/7", "fe80::/10"),
    )
)


class LinkRefused(Exception):
    """The daemon does not restore from there; ``status`` is its answer to the panel."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def refuse_private_literal(link: str, allowlist: AbstractSet[str]) -> None:
    """Refuse a link whose host is written as a private address.

    Raises:
        LinkRefused: it is, and the allowlist does not name it.

    """
    host = urlsplit(link).hostname or ""
    if host not in allowlist and _is_private(host):
        raise LinkRefused("the download URL's address is not allowed")


def refuse_private_name(link: str, allowlist: AbstractSet[str]) -> None:
    """Refuse a link whose host resolves to a private address.

    Raises:
        LinkRefused: it does, and the allowlist does not name it.

    """
    host = urlsplit(link).hostname or ""
    if host in allowlist:
        return
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        raise LinkRefused("the download URL's host is not known", 500) from None
    if any(_is_private(str(address[4][0])) for address in found):
        raise LinkRefused("the download URL's host is not allowed", 500)


@contextlib.contextmanager
def fetched(link: str, node: Node) -> Iterator[HTTPResponse]:
    """The archive behind ``link``, to be read within the block.

    Raises:
        LinkRefused: it cannot be fetched, or is no archive.

    """
    if urlsplit(link).scheme not in {"http", "https"}:
        raise LinkRefused("the download URL is not valid")
    make, path = node.make, urlsplit(link).path
    with contextlib.ExitStack() as stack:
        try:
            agent = make.user_agent.partition(" (")[0]
            answer = stack.enter_context(download(link, user_agent=agent, timeout=_TIMEOUT))
        except NoAnswer as error:
            node.record("store", "GET", path, None, None)
            raise LinkRefused(f"the backup could not be downloaded: {error}", 500) from None
        node.record("store", "GET", path, answer.status, None)
        if make.checks_link_status and answer.status != _OK:
            raise LinkRefused(f"the download URL answered {answer.status}")
        if answer.headers.get("Content-Type") not in _ARCHIVES:
            raise LinkRefused("the download URL does not serve a gzip archive")
        yield answer


def _is_private(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return any(address in network for network in _PRIVATE)
