"""The lock of a backup that fails and completes after all."""

from __future__ import annotations

import pytest

from backups_remote import lifecycle
from tests.support.memory import (
    complete_in_store,
    row,
    success,
    uploaded,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]


def test_lock_is_restored_when_failed_backup_completes():
    backup = uploaded(is_locked=True)
    assert backup.fail("why")
    assert not row().is_locked
    complete_in_store(backup)
    lifecycle.record_report(row(), success(backup))
    assert row().is_locked
    assert not row().was_locked


def test_unlocked_backup_stays_unlocked_when_it_completes():
    backup = uploaded()
    assert backup.fail("why")
    complete_in_store(backup)
    lifecycle.record_report(row(), success(backup))
    assert not row().is_locked


def test_lock_set_while_backup_fails_is_kept():
    backup = uploaded()
    seen_before = row()
    assert lifecycle.lock_backup(backup)
    assert not seen_before.fail("why")
    assert row().is_locked
