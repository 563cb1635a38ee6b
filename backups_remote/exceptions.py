"""Everything that this package raises on purpose.

::

    BackupsRemoteError
    ├── BackupNotFound
    ├── BackupConflict                 what was asked does not fit the backup's state
    │   ├── AlreadyCompleted
    │   ├── BackupLocked
    │   ├── BackupLimitReached
    │   └── RestoreRefused
    ├── UploadsNotSupported
    ├── ReportRefused
    ├── TryAgain                       nothing is wrong with the call: repeat it
    │   ├── SettlementInProgress
    │   └── TokenUnreadable
    └── StorageError
        ├── UploadNotFound
        ├── UploadRejected
        └── StorageUnavailable
            └── DiskNotConfigured

A class's docstring is the message it carries when none is given.
"""

from __future__ import annotations

import inspect


class BackupsRemoteError(Exception):
    """Something went wrong with a remote backup."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or inspect.getdoc(type(self)) or type(self).__name__)


class BackupNotFound(BackupsRemoteError):
    """The backup was not found."""


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


class UploadNotFound(StorageError):
    """The store does not know this multipart upload."""


class UploadRejected(StorageError):
    """The store refused to put the parts together."""


class StorageUnavailable(StorageError):
    """The store could not be reached or did not give a clear answer."""


class DiskNotConfigured(StorageUnavailable):
    """The backup's disk is not configured."""
