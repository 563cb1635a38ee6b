"""Accepting the copies of a moved bucket."""

from __future__ import annotations

import pytest

from backups_remote import lifecycle
from backups_remote.models import Backup
from backups_remote.testing import MemoryBackend
from tests.support.memory import (
    completed_backup,
    row,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]


def copied():
    """A whole backup, whose object in the copied bucket has an ETag of its own."""
    backup = completed_backup()
    MemoryBackend.objects[backup.object_key].etag = "of the copy"
    return backup


def test_a_copy_is_accepted_and_restored():
    backup = copied()
    assert [o.is_accepted for o in lifecycle.accept_copies("memory", dry_run=True)] == [True]
    assert row().object_etag != "of the copy"
    assert [o.is_accepted for o in lifecycle.accept_copies("memory")] == [True]
    assert row().object_etag == "of the copy"
    assert list(lifecycle.accept_copies("memory")) == []
    backup.refresh_from_db()
    assert lifecycle.start_restore(backup) is not None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"body": b"another archive"}, "instead of 7"),
        ({"mark": "another"}, "mark"),
        ({"mark": None}, "mark"),
    ],
)
def test_object_that_differs_is_not_accepted_as_copy(changes, problem):
    backup = copied()
    for name, value in changes.items():
        setattr(MemoryBackend.objects[backup.object_key], name, value)
    [outcome] = lifecycle.accept_copies("memory")
    assert not outcome.is_accepted
    assert problem in outcome.problem
    assert row().object_etag == backup.object_etag


def test_copy_without_mark_is_not_accepted():
    backup = copied()
    Backup.objects.update(upload_mark="")
    MemoryBackend.objects[backup.object_key].mark = ""
    [outcome] = lifecycle.accept_copies("memory")
    assert not outcome.is_accepted


@pytest.mark.parametrize("newer", [{"object_etag": "newer"}, {"version_id": "newer"}])
def test_copy_is_not_accepted_after_concurrent_change(newer):
    backup = copied()
    Backup.objects.update(**newer)
    assert not backup.accept_object(MemoryBackend("memory").stat(backup.object_key))
