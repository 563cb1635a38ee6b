"""The sweep keeps its memory, however many uploads of however many parts there are."""

from __future__ import annotations

import datetime as dt
import tracemalloc

import pytest
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import StorageUnavailable
from backups_remote.models import Backup
from backups_remote.storage import get_backend
from backups_remote.testing import MemoryBackend
from backups_remote.types import StoredObject, StoredPart
from tests.support.factories import BackupFactory, ServerFactory
from tests.support.rows import remove

pytestmark = [pytest.mark.django_db, pytest.mark.once]

PARTS, PART_SIZE = 10_000, 5 * 1024**2
SIZE = PARTS * PART_SIZE
WORKERS = 2


class VastBackend(MemoryBackend):
    """Every upload has all its 10,000 parts, and no bytes."""

    def list_parts(self, key, upload_id):
        now = dt.datetime.now(dt.UTC)
        return [StoredPart(n, f'"{n:032x}"', PART_SIZE, now) for n in range(1, PARTS + 1)]

    def complete_upload(self, key, upload_id, etags):
        self.completed.add(key)
        return "etag"

    def stat(self, key, *, version_id=""):
        if key not in self.completed:
            return None
        return StoredObject(SIZE, "etag", "mark", "application/x-gzip")


@pytest.fixture
def vast(settings, monkeypatch):
    settings.BACKUPS_REMOTE = {
        "DEFAULT_DISK": "vast",
        "BACKENDS": {"vast": f"{__name__}.VastBackend"},
    }
    monkeypatch.setattr(VastBackend, "completed", set(), raising=False)
    return get_backend("vast")


def peak_of_a_sweep(vast, server, count, *, reported, ends="completed"):
    """The most memory that a sweep of so many uploads takes, in MiB."""
    now = timezone.now()
    for number in range(count):
        backup = BackupFactory(
            server=server,
            upload_id=f"u{number}",
            upload_mark="mark",
            object_key=f"k{number}-{count}-{reported}",
            upload_size=SIZE,
            part_size=PART_SIZE,
            upload_started_at=now,
        )
        if reported:
            etags = [f'"{n:032x}"' for n in range(1, PARTS + 1)]
            assert backup.record_success(checksum="c", size=SIZE, etags=etags, claimed_until=now)
        del backup
    tracemalloc.start()
    try:
        outcomes = list(lifecycle.sweep(older_than=dt.timedelta(0), workers=WORKERS))
        return tracemalloc.get_traced_memory()[1] / 1024**2
    finally:
        tracemalloc.stop()
        assert len(outcomes) == count
        assert Backup.objects.in_state(ends).count() == count
        remove(Backup.objects.all())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("reported", [False, True], ids=["silent", "reported"])
def test_memory_does_not_grow_with_the_number_of_uploads(vast, reported):
    server = ServerFactory()
    # On a busy machine not all workers are always at work at once.
    few = max(peak_of_a_sweep(vast, server, 2 * WORKERS, reported=reported) for _ in range(2))
    many = peak_of_a_sweep(vast, server, 8 * WORKERS, reported=reported)
    print(f"\n{2 * WORKERS} uploads: {few:.0f} MiB, {8 * WORKERS} uploads: {many:.0f} MiB")
    assert many < few * 1.3 + 2


@pytest.mark.timeout(300)
def test_memory_does_not_grow_without_a_store(vast, monkeypatch):
    def down(*_args, **_kwargs):
        raise StorageUnavailable

    monkeypatch.setattr(VastBackend, "stat", down)
    server = ServerFactory()
    few = peak_of_a_sweep(vast, server, 2 * WORKERS, reported=True, ends="reported")
    many = peak_of_a_sweep(vast, server, 12 * WORKERS, reported=True, ends="reported")
    assert many < few * 1.3 + 2
