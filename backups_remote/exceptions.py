"""The exceptions of this package.

::

    BackupsRemoteError
    ├── BackupNotFound
    │   └── ServerNotFound             and so no backup of it
    ├── InvalidValue                   also a ValueError: no row can hold the value
    ├── BackupConflict                 the backup's state does not allow the call
    │   ├── AlreadyCompleted
    │   ├── BackupLocked
    │   ├── BackupLimitReached
    │   ├── RestoreRefused
    │   └── StatusChanged              the server's status is not the one that was read
    ├── UploadsNotSupported
    ├── ReportRefused
    ├── TryAgain                       the call is valid: repeat it later
    │   ├── SettlementInProgress
    │   └── TokenUnreadable
    ├── StorageError
    │   ├── UploadNotFound
    │   ├── UploadRejected
    │   └── StorageUnavailable
    │       ├── DiskNotConfigured
    │       ├── StorageRefused
    │       └── StorageTimeout
    └── DaemonError                    a node's daemon did not accept a call
        ├── DaemonNotBegun             it has certainly not begun
        │   ├── DaemonRefused
        │   ├── DaemonNotReached
        │   └── DaemonNotConfigured
        └── DaemonUnclear              it may have begun

The docstring of a class is its default message.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID


class BackupsRemoteError(Exception):
    """Something went wrong with a remote backup."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or inspect.getdoc(type(self)) or type(self).__name__)


class BackupNotFound(BackupsRemoteError):
    """The backup was not found."""


class ServerNotFound(BackupNotFound):
    """The server was not found."""


class InvalidValue(BackupsRemoteError, ValueError):
    """A value cannot be stored; the message begins with the name of its field."""


class BackupConflict(BackupsRemoteError):
    """The backup's state does not allow this."""


class AlreadyCompleted(BackupConflict):
    """The backup is already in completed state."""


class BackupLocked(BackupConflict):
    """The backup is locked."""


class BackupLimitReached(BackupConflict):
    """The server has as many backups as its limit allows."""


class RestoreRefused(BackupConflict):
    """The backup cannot be restored."""


class StatusChanged(BackupConflict):
    """The server's status has changed since it was read; nothing was saved."""


class UploadsNotSupported(BackupsRemoteError):
    """The configured backup adapter is not an S3 compatible adapter."""


class ReportRefused(BackupsRemoteError):
    """The report does not match what the store holds."""


class TryAgain(BackupsRemoteError):
    """The call could not be answered now; repeat it."""


class SettlementInProgress(TryAgain):
    """The backup is being completed in the store; ask again in a moment."""


class TokenUnreadable(TryAgain):
    """The node's token cannot be decrypted; SECRET_KEY may have changed without a fallback."""


class StorageError(BackupsRemoteError):
    """The store did not do what was asked."""

    #: The backups that ``rotate_backups`` deleted all the same; empty from other functions.
    deleted: tuple[UUID, ...] = ()


class UploadNotFound(StorageError):
    """The store does not know this multipart upload."""


class UploadRejected(StorageError):
    """The store refused to put the parts together."""


class StorageUnavailable(StorageError):
    """The store could not be reached or did not give a clear answer."""


class DiskNotConfigured(StorageUnavailable):
    """The disk is not configured, or its options cannot work."""


class StorageRefused(StorageUnavailable):
    """The store refuses the call: a permission is missing, or a rule of the bucket forbids it."""


class StorageTimeout(StorageUnavailable):
    """The store did not answer in time; it may still be working on the call."""


class DaemonError(BackupsRemoteError):
    """The node's daemon did not accept the call."""

    #: The backup that ``back_up`` created before the call; None from other functions.
    backup_uuid: UUID | None = None
    #: The backups that ``rotate_backups`` deleted all the same; empty from other functions.
    deleted: tuple[UUID, ...] = ()


class DaemonNotBegun(DaemonError):
    """The node's daemon has certainly not begun."""


class DaemonRefused(DaemonNotBegun):
    """The node's daemon refused the call."""


class DaemonNotReached(DaemonNotBegun):
    """The node's daemon could not be reached."""


class DaemonNotConfigured(DaemonNotBegun):
    """The panel calls no daemon on this node."""


class DaemonUnclear(DaemonError):
    """The node's daemon gave no clear answer; it may have begun."""
