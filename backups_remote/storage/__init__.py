"""Storage backends: where bytes live.

``get_backend(disk)`` is the way in; ``StorageBackend`` is what to implement for another kind of
disk.
"""

from backups_remote.storage.base import StorageBackend
from backups_remote.storage.parts import bare_etag, ceil_div, plan_parts
from backups_remote.storage.registry import (
    configured_disks,
    forget_backends,
    get_backend,
    register_backend,
)

__all__ = [
    "StorageBackend",
    "bare_etag",
    "ceil_div",
    "configured_disks",
    "forget_backends",
    "get_backend",
    "plan_parts",
    "register_backend",
]
