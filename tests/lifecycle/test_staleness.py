"""What counts as a sign of life of an upload."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os

import pytest
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.models import Backup
from backups_remote.storage import get_backend
from tests.support.daemon import cut
from tests.support.http import MIB

pytestmark = [pytest.mark.databases, pytest.mark.django_db(transaction=True)]


def seven_hours_and_more(backup):
    long_ago = timezone.now() - dt.timedelta(hours=8)
    Backup.objects.filter(pk=backup.pk).update(created_at=long_ago, upload_started_at=long_ago)


def test_age_counts_from_the_newest_part(daemon, backup, monkeypatch):
    """The first part arrived a day ago, the last one just now; the one between is to come."""
    bodies = cut(os.urandom(10 * MIB + 1), 5 * MIB)
    ticket = daemon.ask(backup, sum(map(len, bodies))).json()
    for number in (0, 2):
        daemon.put(ticket["parts"][number], bodies[number])
    seven_hours_and_more(backup)
    backend = get_backend(backup.disk)
    listed = backend.list_parts

    def list_parts(*args):
        first, *others = listed(*args)
        a_day_ago = first.uploaded_at - dt.timedelta(days=1)
        return [dataclasses.replace(first, uploaded_at=a_day_ago), *others]

    monkeypatch.setattr(backend, "list_parts", list_parts)
    assert list(lifecycle.sweep()) == []
    backup.refresh_from_db()
    assert backup.state is Backup.State.UPLOADING


def test_project_time_zone_does_not_change_part_age(daemon, backup, settings):
    """Without USE_TZ rows are in TIME_ZONE, whichever zone is active; stores say the zone."""
    settings.USE_TZ = False
    ticket = daemon.ask(backup, 5 * MIB + 1).json()
    daemon.put(ticket["parts"][0], bytes(5 * MIB))
    seven_hours_and_more(backup)
    with timezone.override("Pacific/Honolulu"):
        assert list(lifecycle.sweep()) == []
    backup.refresh_from_db()
    assert backup.state is Backup.State.UPLOADING
