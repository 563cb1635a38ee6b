"""The node's own disk: the daemon keeps the archive, and its report cannot be verified."""

from __future__ import annotations

from backups_remote.storage.base import StorageBackend


class WingsBackend(StorageBackend):
    """Archives that stay on the node that made them."""
