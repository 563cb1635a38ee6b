"""Storage backends: where archives are stored.

``get_backend(disk)`` returns the backend of a disk. Subclass ``StorageBackend`` to support another
kind of disk.
"""

from backups_remote.storage.base import StorageBackend
from backups_remote.storage.parts import bare_etag, ceil_div, multipart_etag, plan_parts
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
    "multipart_etag",
    "plan_parts",
    "register_backend",
]
