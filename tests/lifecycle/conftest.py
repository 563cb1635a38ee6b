"""Shorter waits for tests that would only wait."""

import datetime as dt

import pytest

from backups_remote.lifecycle import complete, lease


@pytest.fixture
def brief_lease(monkeypatch):
    """Leases of 0.6 seconds: as long as a sweep waits for a claim."""
    monkeypatch.setattr(lease, "LEASE", dt.timedelta(seconds=0.6))
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.1)


@pytest.fixture
def brief_looks(monkeypatch):
    """After a rejected completion the object is looked up again soon."""
    monkeypatch.setattr(complete, "_LOOKS_AFTER_REJECTION", (0.0, 0.05, 0.1))
