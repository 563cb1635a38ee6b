"""Which backend serves which disk.

A disk is one of these:

- ``wings``, the node's own disk;
- an alias for which ``BACKUPS_REMOTE["BACKENDS"]`` names a backend;
- an alias of STORAGES, if a backend is registered for its storage class or one of its base classes.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from backups_remote.conf import WINGS_DISK, app_settings
from backups_remote.exceptions import DiskNotConfigured
from backups_remote.storage.base import StorageBackend
from backups_remote.storage.wings import WingsBackend

if TYPE_CHECKING:
    from collections.abc import Callable

#: Dotted path of a Django storage class → the backend, or the backend's dotted path.
_kinds: Final[dict[str, type[StorageBackend] | str]] = {
    "storages.backends.s3.S3Storage": "backups_remote.storage.s3.S3Backend",
}
_built: Final[dict[str, StorageBackend]] = {}
_building = threading.Lock()


def register_backend(storage_class: str, backend: type[StorageBackend] | str) -> None:
    """Have ``backend`` serve disks whose STORAGES backend is ``storage_class`` or a subclass.

    ``storage_class`` is a dotted path, ``backend`` may be one. Call it from ``AppConfig.ready()``.
    """
    _kinds[storage_class] = backend
    forget_backends()


def get_backend(disk: str) -> StorageBackend:
    """The backend of ``disk``, built once per process.

    Raises:
        DiskNotConfigured: there is no such disk, no backend serves it, or it cannot be built.

    """
    if disk not in _built:
        with _building:
            if disk not in _built:
                _built[disk] = _build(disk)
    return _built[disk]


def configured_disks() -> list[str]:
    """Every alias that a backend serves, ``wings`` first."""
    disks = [WINGS_DISK, *app_settings.backends, *settings.STORAGES]
    return [disk for disk in dict.fromkeys(disks) if _is_served(disk)]


def is_named(disk: str) -> bool:
    """Whether the settings have ``disk`` for backups, also if it cannot be set up as it is.

    A storage class that cannot be imported counts: its library may only be missing.
    """
    if disk == WINGS_DISK or disk in app_settings.backends:
        return True
    storage = settings.STORAGES.get(disk)
    if storage is None:
        return False
    try:
        return _kind_of(import_string(storage.get("BACKEND", ""))) is not None
    except Exception:  # noqa: BLE001 - whatever a module raises
        return True


def forget_backends() -> None:
    """Drop all built backends: after a change of settings, or a fork."""
    _built.clear()


def _is_served(disk: str) -> bool:
    try:
        _backend_class(disk)
    except DiskNotConfigured:
        return False
    return True


def _build(disk: str) -> StorageBackend:
    kind = _backend_class(disk)
    try:
        return kind(disk)
    except DiskNotConfigured:
        raise
    except Exception as error:
        # A project's own backend may raise anything.
        name = type(error).__name__
        raise DiskNotConfigured(f"The disk {disk!r} cannot be set up ({name}).") from error


def _backend_class(disk: str) -> type[StorageBackend]:
    if disk in app_settings.backends:
        return _load(disk, app_settings.backends[disk])
    if disk == WINGS_DISK:
        return WingsBackend
    storage = settings.STORAGES.get(disk)
    if storage is None:
        raise DiskNotConfigured(f"The disk {disk!r} is not configured.")
    kind = _kind_of(_import(disk, storage.get("BACKEND", "")))
    if kind is None:
        raise DiskNotConfigured(f"No storage backend serves the disk {disk!r}.")
    return _load(disk, kind)


def _kind_of(storage_class: object) -> type[StorageBackend] | str | None:
    """What is registered for a storage class or one of its base classes."""
    for ancestor in getattr(storage_class, "__mro__", ()):
        kind = _kinds.get(f"{ancestor.__module__}.{ancestor.__qualname__}")
        if kind is not None:
            return kind
    return None


def _load(disk: str, backend: type[StorageBackend] | str) -> type[StorageBackend]:
    loaded: Any = _import(disk, backend) if isinstance(backend, str) else backend
    if isinstance(loaded, type) and issubclass(loaded, StorageBackend):
        return loaded
    raise DiskNotConfigured(f"The backend of the disk {disk!r} is not a StorageBackend.")


def _import(disk: str, path: str) -> object:
    try:
        return import_string(path)
    except Exception as error:
        # A module whose client library is missing may raise anything.
        raise DiskNotConfigured(f"The disk {disk!r} cannot be imported.") from error


def _on_setting_changed(*, setting: str, **_kwargs: object) -> None:
    if setting in {"BACKUPS_REMOTE", "STORAGES"} or setting.startswith("AWS_"):
        forget_backends()


def _after_fork() -> None:
    # The parent may have held the lock, and its sockets must not be shared.
    global _building  # noqa: PLW0603
    _building = threading.Lock()
    forget_backends()


setting_changed.connect(_on_setting_changed, dispatch_uid="backups_remote.storage")
_at_fork: Callable[..., None] | None = getattr(os, "register_at_fork", None)
if _at_fork is not None:
    _at_fork(after_in_child=_after_fork)
