"""Calls from the panel to a node's daemon.

``Daemon`` is the interface, ``WingsDaemon`` the client for Wings. The setting ``DAEMON`` chooses
one; a project may name a class of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.utils.module_loading import import_string

from backups_remote.conf import app_settings
from backups_remote.daemon.base import Daemon, Deletion
from backups_remote.exceptions import DaemonNotConfigured

if TYPE_CHECKING:
    from backups_remote.daemon.wings import WingsDaemon
    from backups_remote.models import Node

__all__ = ["Daemon", "Deletion", "WingsDaemon", "get_daemon", "is_callable"]


def get_daemon(node: Node) -> Daemon:
    """The client that calls the daemon of ``node``.

    Raises:
        DaemonNotConfigured: the setting ``DAEMON`` is None, or the node has no URL.

    """
    if app_settings.daemon is None:
        raise DaemonNotConfigured("The setting DAEMON is not set: this project calls no daemon.")
    if not node.url:
        raise DaemonNotConfigured(f"The node {node.name} has no URL.")
    daemon_class = cast("type[Daemon]", import_string(app_settings.daemon))
    return daemon_class(node)


def is_callable(node: Node) -> bool:
    """Whether the panel calls the daemon of ``node``."""
    return app_settings.daemon is not None and bool(node.url)


def __getattr__(name: str) -> object:
    # Loaded when it is asked for: it needs the packages of the extra "wings".
    if name == "WingsDaemon":
        from backups_remote.daemon.wings import WingsDaemon

        return WingsDaemon
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
