"""Disks and buckets for tests."""

from __future__ import annotations

import uuid

from tests.conftest import S3_BACKEND


def with_disk(settings, backend=S3_BACKEND, **options):
    """Make ``s3`` with these OPTIONS the default disk."""
    settings.STORAGES = {
        **settings.STORAGES,
        "s3": {"BACKEND": backend, "OPTIONS": {"region_name": "us-east-1", **options}},
    }
    settings.BACKUPS_REMOTE = {"DEFAULT_DISK": "s3"}


def new_bucket(s3, *, versioned=False, locking=False):
    """The name of a new bucket; one that is ``locking`` keeps versions too."""
    name = f"b-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locking)
    if versioned:
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name
