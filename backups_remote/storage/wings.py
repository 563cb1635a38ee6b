"""The node's own disk: the daemon keeps the archive, its word is all there is."""

from __future__ import annotations

from backups_remote.storage.base import StorageBackend


class WingsBackend(StorageBackend):
    """Archives that stay on the node that made them."""
