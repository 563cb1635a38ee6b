"""Settings are read at every access; how long URLs live."""

from __future__ import annotations

import datetime as dt

import pytest

from backups_remote.conf import app_settings

pytestmark = pytest.mark.once


def test_settings_are_read_at_every_access(settings):
    settings.BACKUPS_REMOTE = {"MAX_PARTS": 7}
    assert app_settings.max_parts == 7
    settings.BACKUPS_REMOTE = {"MAX_PARTS": 8}
    assert app_settings.max_parts == 8


def test_url_lifespan_grows_with_size_within_bounds():
    hour, week = dt.timedelta(hours=1), dt.timedelta(days=7)
    lifespans = [app_settings.url_lifespan(size) for size in (0, 1, 1024**3, 1024**4, 1024**5)]
    assert lifespans == sorted(lifespans)
    assert lifespans[0] == hour
    assert lifespans[2] == hour + dt.timedelta(seconds=1024)
    assert lifespans[-1] == week


def test_a_fixed_lifespan_holds_for_every_size(settings):
    settings.BACKUPS_REMOTE = {"URL_LIFESPAN": 900}
    assert app_settings.url_lifespan(1024**5) == dt.timedelta(minutes=15)


def test_time_until_a_backup_is_overdue_can_be_seconds_or_none(settings):
    settings.BACKUPS_REMOTE = {}
    assert app_settings.backup_overdue_after == dt.timedelta(hours=24)
    settings.BACKUPS_REMOTE = {"BACKUP_OVERDUE_AFTER": 5400}
    assert app_settings.backup_overdue_after == dt.timedelta(minutes=90)
    settings.BACKUPS_REMOTE = {"BACKUP_OVERDUE_AFTER": None}
    assert app_settings.backup_overdue_after is None
