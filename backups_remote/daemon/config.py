"""A node's part of its daemon's configuration, as text for config.yml."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from backups_remote.addresses import is_internal
from backups_remote.conf import app_settings
from backups_remote.exceptions import DiskNotConfigured
from backups_remote.storage import get_backend

if TYPE_CHECKING:
    from backups_remote.models import Node


def config_of(node: Node, remote: str) -> str:
    """The lines of config.yml that connect the daemon with a panel. They hold the token.

    ``remote`` is the panel's base URL as the daemon reaches it.

    Raises:
        TokenUnreadable: the token was encrypted under a SECRET_KEY that is gone.

    """
    return (
        "# The daemon's config.yml; the token is not shown again.\n"
        f"uuid: {node.uuid}\n"
        f"token_id: {node.token_id}\n"
        f"token: {node.token}\n"
        f"remote: {remote.rstrip('/')}{_allowlist(node)}"
    )


def host_to_allow(disk: str) -> str:
    """The internal host of a disk's URLs, which newer daemons restore from only if told; or ""."""
    try:
        host = get_backend(disk).host_for_nodes()
    except DiskNotConfigured:
        return ""
    return host if host is not None and is_internal(host) else ""


def _allowlist(node: Node) -> str:
    host = host_to_allow(node.disk or app_settings.default_disk)
    if not host:
        return ""
    return (
        f"\n# Its archives are fetched from {host}, an internal address. Wings 1.13.1 and later"
        "\n# restore from there only with:"
        "\n# system:"
        "\n#   backups:"
        f"\n#     restore_host_allowlist: [{json.dumps(host)}]"
    )
