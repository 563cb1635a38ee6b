"""S3-compatible stores. Nothing else in this package knows boto or django-storages."""

from backups_remote.storage.s3.backend import S3Backend
from backups_remote.storage.s3.errors import translated_errors
from backups_remote.storage.s3.parameters import CONTENT_TYPE, MARK

__all__ = ["CONTENT_TYPE", "MARK", "S3Backend", "translated_errors"]
