"""The summary above the list of backups, in a real browser."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from backups_remote.admin.chart import short_date
from backups_remote.models import Backup
from tests.admin.browser import LOOKS, MARKS, fits, see_list
from tests.support.factories import ServerFactory

pytestmark = [pytest.mark.once, pytest.mark.themes, *MARKS]

DAYS = 30


@pytest.fixture
def a_month():
    """Backups on each of thirty days, on some of them a failed one."""
    server = ServerFactory(name="Survival SMP")
    now = timezone.now()
    Backup.objects.bulk_create(
        Backup(
            server=server,
            node=server.node,
            disk="s3",
            size=1024**3,
            created_at=now - dt.timedelta(days=days),
            completed_at=now,
            is_successful=number > 0 or days % 7 > 0,
        )
        for days in range(DAYS)
        for number in range(1 + days % 4)
    )


def boxes(found):
    return [each.bounding_box() for each in found.all() if each.is_visible()]


@pytest.mark.parametrize("page", LOOKS, indirect=True, ids=str)
def test_chart_fills_the_width_and_can_be_read(page, a_month):
    see_list(page)

    chart = page.locator(".backup-chart > svg")
    box, around = chart.bounding_box(), page.locator(".backup-totals-days").bounding_box()
    assert box["x"] + box["width"] == pytest.approx(around["x"] + around["width"], abs=1)
    assert box["width"] > 0.8 * around["width"]
    bars = boxes(page.locator(".backup-chart-completed"))
    assert len(bars) >= DAYS - 5
    assert all(bar["width"] >= 5 and bar["height"] >= 2 for bar in bars)
    dates = boxes(page.locator(".backup-chart-date"))
    assert len(dates) == (3 if page.viewport_size["width"] == 400 else 5)
    for left, right in itertools.pairwise(dates):
        assert left["x"] + left["width"] < right["x"]
    # Neither narrow nor wide pages change the size of the texts.
    sizes = chart.evaluate(
        "svg => [...svg.querySelectorAll('text')].map(text => getComputedStyle(text).fontSize)"
    )
    assert set(sizes) == {"11px"}
    assert fits(page)


def test_summary_is_folded_and_its_table_opened_by_the_keyboard(page, a_month):
    see_list(page)

    page.get_by_text("The numbers in a table").focus()
    page.keyboard.press("Enter")
    today = page.get_by_role("link", name=short_date(timezone.localdate()), exact=True).first
    expect(today).to_be_visible()
    page.get_by_text("Summary of all backups").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".backup-chart")).to_be_hidden()
    page.keyboard.press("Enter")
    today.click()

    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    expect(page.locator(".backup-chart")).to_have_count(0)
    page.get_by_role("link", name="Summary of all backups").click()
    expect(page.locator(".backup-chart")).to_be_visible()
