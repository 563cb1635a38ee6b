"""Rules about addresses: of daemons, of panels, of stores. No network is used."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

#: A host name, also one of a single label, such as a container's.
_HOST: Final = re.compile(
    r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?", re.ASCII | re.IGNORECASE
)
#: Addresses that newer daemons restore from only if their configuration names them, besides those
#: that Python calls private (Wings 1.13.1).
_INTERNAL: Final = tuple(map(ipaddress.ip_network, ("100.64.0.0/10", "198.18.0.0/15")))


def validate_base_url(url: str) -> None:
    """A URL that paths are appended to: http or https, a host, perhaps a port and a path.

    Raises:
        ValidationError: it is none, or has credentials, a query or a fragment.

    """
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        raise ValidationError(_("Enter a valid URL."), "invalid") from None
    if parts.scheme not in {"http", "https"}:
        raise ValidationError(_("Enter a URL that begins with http:// or https://."), "scheme")
    if not (_HOST.fullmatch(host) or _is_address(host)) or any(map(str.isspace, url)):
        raise ValidationError(_("Enter a URL with a valid host name or address."), "host")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ValidationError(_("Enter a URL without credentials, query and fragment."), "base_url")


def is_internal(host: str) -> bool:
    """Whether ``host`` is an address in a private, loopback or shared network, or a name of one.

    A name without a dot, such as a container's, is known in such a network only. Other names are
    not looked up.
    """
    if not _is_address(host):
        return "." not in host.rstrip(".")
    address = ipaddress.ip_address(host)
    return address.is_private or any(
        address.version == network.version and address in network for network in _INTERNAL
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
