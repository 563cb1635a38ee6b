"""Pytest fixtures for projects that use this app. They need pytest, not pytest-django.

Load them in the project's top ``conftest.py``::

    pytest_plugins = ["backups_remote.testing.plugin"]

and ask for them in a test::

    from backups_remote import lifecycle

    def test_a_backup_is_completed(db, memory_store, complete_backup, server):
        backup = lifecycle.start_backup(server)
        complete_backup(backup, b"the archive")
        assert backup.is_successful
        assert memory_store.objects[backup.object_key].body == b"the archive"

    def test_a_store_that_does_not_answer(db, memory_store, complete_backup, server):
        memory_store.time_out("complete_upload")
        ...

The plugin registers the marker ``slow`` of ``backups_remote.testing.contract``, and has pytest
show the values in that contract's failed assertions.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import pytest
from django.conf import settings
from django.test import override_settings

from backups_remote import lifecycle, signals
from backups_remote.testing.memory import MemoryBackend
from backups_remote.types import Report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from backups_remote.models import Backup

# Has an effect only before the contract is imported.
pytest.register_assert_rewrite("backups_remote.testing.contract")


class CompleteBackup(Protocol):
    """The type of the fixture ``complete_backup``."""

    def __call__(self, backup: Backup, archive: bytes = b"archive") -> Report:
        """Play the node's part of ``backup``; return the report that was accepted."""


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of the contract."""
    config.addinivalue_line("markers", "slow: lists of more than a thousand parts or uploads")


@pytest.fixture
def memory_store() -> Iterator[type[MemoryBackend]]:
    """An empty store in memory, on the disk ``memory``, which is the default disk of the test.

    The project's other settings apply. The store is cleared before and after the test.
    """
    ours = getattr(settings, "BACKUPS_REMOTE", {})
    backends = {
        **ours.get("BACKENDS", {}),
        "memory": f"{MemoryBackend.__module__}.{MemoryBackend.__qualname__}",
    }
    MemoryBackend.clear()
    with override_settings(BACKUPS_REMOTE={**ours, "DEFAULT_DISK": "memory", "BACKENDS": backends}):
        yield MemoryBackend
    MemoryBackend.clear()


@pytest.fixture
def complete_backup(memory_store: type[MemoryBackend]) -> CompleteBackup:
    """A function that does a node's work: ask for URLs, upload an archive, report the success."""

    def complete(backup: Backup, archive: bytes = b"archive") -> Report:
        ticket = lifecycle.request_upload(backup, len(archive))
        for number, url in enumerate(ticket.urls):
            start = number * ticket.part_size
            memory_store.put_part(url, archive[start : start + ticket.part_size])
        checksum = hashlib.sha1(archive, usedforsecurity=False).hexdigest()
        report = Report(successful=True, checksum=f"sha1:{checksum}", size=len(archive))
        lifecycle.record_report(backup, report)
        return report

    return complete


@pytest.fixture
def backup_signals() -> Iterator[list[tuple[str, UUID]]]:
    """The app's signals during the test: the name of each, and the uuid of its backup.

    Signals are sent on commit: use a transactional test, or capture the on-commit callbacks.
    """
    received: list[tuple[str, UUID]] = []

    def on_completed(backup: Backup, **_: object) -> None:
        received.append(("backup_completed", backup.uuid))

    def on_failed(backup: Backup, **_: object) -> None:
        received.append(("backup_failed", backup.uuid))

    def on_restore_reported(backup: Backup, **_: object) -> None:
        received.append(("restore_reported", backup.uuid))

    receivers = (
        (signals.backup_completed, on_completed),
        (signals.backup_failed, on_failed),
        (signals.restore_reported, on_restore_reported),
    )
    for signal, receiver in receivers:
        signal.connect(receiver)
    yield received
    for signal, receiver in receivers:
        signal.disconnect(receiver)
