"""Drilling down the list of backups by date."""

from __future__ import annotations

import datetime as dt
import re
from html import unescape

import pytest

from backups_remote.models import Backup
from tests.admin.pages import LIST, backup_in, listed, moment, page_of, text
from tests.support.factories import BackupFactory

pytestmark = [pytest.mark.databases, pytest.mark.django_db]

State = Backup.State


def dates_on(client, query=""):
    dates = client.get(LIST + query).context["cl"].dates()
    return dates["back"] and dates["back"]["title"], [c["title"] for c in dates["choices"]]


def test_dates_are_drilled_down(admin_client):
    for date in ((2023, 11, 5), (2024, 2, 28), (2024, 12, 31), (2025, 3, 2)):
        BackupFactory(disk="wings", created_at=moment(*date))

    assert dates_on(admin_client) == (None, ["2023", "2024", "2025"])
    assert dates_on(admin_client, "?created_at__year=2023") == (
        "All dates",
        ["November 2023", "December 2023"],
    )
    assert dates_on(admin_client, "?created_at__year=2025")[1][-1] == "March 2025"
    back, days = dates_on(admin_client, "?created_at__year=2024&created_at__month=2")
    assert (back, len(days), days[-1]) == ("2024", 29, "February 29")
    assert dates_on(admin_client, "?created_at__year=2025&created_at__month=3")[1] == [
        "March 1",
        "March 2",
    ]
    last = "?created_at__year=2024&created_at__month=2&created_at__day=28"
    assert dates_on(admin_client, last) == ("February 2024", ["February 28"])
    assert len(listed(admin_client.get(LIST + last))) == 1


def test_dates_link_to_their_backups_and_keep_the_filters(admin_client):
    wanted = backup_in(State.FAILED, created_at=moment(2024, 5, 1))
    backup_in(State.FAILED, created_at=moment(2025, 5, 1))
    backup_in(State.COMPLETED, created_at=moment(2024, 5, 1))

    answer = admin_client.get(LIST, {"state": "failed"})
    for title in ("2024", "May 2024", "May 1"):
        links = dict(re.findall(r'<a href="(\?[^"]*)">([^<]*)</a>', answer.content.decode()))
        link = next(link for link, found in links.items() if found == title)
        answer = admin_client.get(LIST + unescape(link))
        assert listed(answer) == {wanted.pk}


def test_dates_start_at_the_first_choice(admin_client):
    assert dates_on(admin_client) == (None, [])
    BackupFactory(disk="wings", created_at=moment(2024, 5, 3))
    BackupFactory(disk="wings", created_at=moment(2024, 5, 4))
    assert dates_on(admin_client) == ("2024", ["May 3", "May 4"])
    BackupFactory(disk="wings", created_at=moment(2024, 7, 4))
    assert dates_on(admin_client) == ("All dates", ["May 2024", "June 2024", "July 2024"])


def test_a_day_or_a_month_of_any_year_is_a_filter_and_no_choice(admin_client):
    wanted = BackupFactory(disk="wings", created_at=moment(2024, 2, 3))
    BackupFactory(disk="wings", created_at=moment(2024, 2, 4))

    for query in ("?created_at__day=3", "?created_at__month=2&created_at__day=3"):
        assert listed(admin_client.get(LIST + query)) == {wanted.pk}
        assert dates_on(admin_client, query) == ("2024", ["February 3", "February 4"])
    assert listed(admin_client.get(LIST + "?created_at__day=31")) == set()


def test_dates_use_the_time_zone(admin_client, settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    BackupFactory(disk="wings", created_at=dt.datetime(2024, 12, 31, 20, tzinfo=dt.UTC))
    BackupFactory(disk="wings", created_at=dt.datetime(2025, 1, 2, 20, tzinfo=dt.UTC))

    assert dates_on(admin_client)[1] == ["January 1", "January 2", "January 3"]
    assert len(listed(admin_client.get(LIST + "?created_at__year=2025"))) == 2


def test_pages_without_time_zones(admin_client, settings):
    settings.USE_TZ = False
    backup = BackupFactory(disk="wings", created_at=dt.datetime(2024, 5, 3, 23))  # noqa: DTZ001

    assert "2 years" not in text(admin_client.get(page_of(backup)))
    assert listed(admin_client.get(LIST, {"created_at__year": 2024})) == {backup.pk}
    assert "ago" in text(admin_client.get(LIST))
