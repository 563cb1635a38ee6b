"""The summary above the list of backups, and the lists of servers that it leads to."""

from __future__ import annotations

import datetime as dt
import re
from html import unescape
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import pytest
from django.contrib import admin
from django.db import connection
from django.test import RequestFactory
from django.utils import timezone
from django.utils.html import strip_tags

from backups_remote.admin import BackupAdmin, ServerAdmin, summary, times
from backups_remote.admin import chart as admin_chart
from backups_remote.lifecycle import totals
from backups_remote.models import Backup, BackupTotals, Server
from tests.admin.pages import LIST, backup_in, listed, queries_of, user_with
from tests.support.factories import BackupFactory, ServerFactory
from tests.support.moments import ago

pytestmark = [pytest.mark.databases, pytest.mark.django_db]

SERVERS = "/admin/backups_remote/server/"
MIB = 1024**2
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
State = Backup.State


@pytest.fixture
def large(monkeypatch):
    """A table counts as large from the sixth backup on."""
    monkeypatch.setattr(totals, "COUNTED_AT_ONCE", 5)


def shown(client, query=""):
    """The HTML of the summary."""
    answer = client.get(LIST + query)
    assert answer.status_code == 200
    return part_of(answer)


def part_of(answer):
    found = re.search(
        r'<details class="backup-totals".*?</dl>.*?</details>', answer.content.decode(), re.DOTALL
    )
    return found and found[0]


def words(html):
    return " ".join(unescape(strip_tags(html)).split())


def states(html):
    """Each state with its count and the query of its link."""
    found = re.findall(
        r'<li><a href="(\?state=\w+)"><span class="backup-totals-count">(.*?)</span> (.*?)</a>',
        html,
    )
    return {label: (count, query) for query, count, label in found}


def counts(html):
    return {label: count for label, (count, _query) in states(html).items()}


def table(html, title):
    """The rows of the table with a column of that title, each cell with its link if it has one."""
    found = next(t for t in re.findall(r"<table.*?</table>", html, re.DOTALL) if title in t)
    rows = re.findall(r"<tr>(.*?)</tr>", found.partition("<tbody>")[2], re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[(words(cell), link_in(cell)) for cell in row] for row in cells]


def link_in(html):
    found = re.search(r'href="([^"]*)"', html)
    return found and unescape(found[1])


def chart(html):
    """The chart, parsed as XML: it is well-formed."""
    found = re.search(r'<svg role="img".*?</svg>', html, re.DOTALL)
    return found and ET.fromstring(found[0])


def pieces(svg, kind):
    """The parts of the bars of that kind, by the place of their day."""
    return {
        place: part
        for place, bar in enumerate(svg.iter("g"))
        for part in bar.iter("rect")
        if part.get("class") == f"backup-chart-{kind}"
    }


def percents(part):
    """Where a part of the chart begins, and how wide it is."""
    return tuple(float(part.get(name).removesuffix("%")) for name in ("x", "width"))


# Counts


def test_each_state_has_its_count_and_links_to_its_list(admin_client):
    for number, state in enumerate(State, start=1):
        for _ in range(number):
            backup_in(state)

    found = states(shown(admin_client))

    assert list(found) == [str(state.label) for state in State]
    for number, (count, query) in enumerate(found.values(), start=1):
        assert count == str(number)
        assert len(listed(admin_client.get(LIST + query))) == number


def test_an_empty_table_has_a_summary(admin_client):
    html = shown(admin_client)
    assert set(counts(html).values()) == {"0"}
    assert chart(html) is None
    assert "Whole backups" not in html
    assert "Oldest open upload None" in words(html)


def test_disks_show_their_completed_backups_and_link_to_them(admin_client):
    backup_in(State.COMPLETED, disk="wings", size=3 * MIB)
    backup_in(State.COMPLETED, disk="wings", size=4 * MIB)
    backup_in(State.FAILED, disk="wings")
    backup_in(State.COMPLETED, disk="old & slow", size=MIB)

    rows = table(shown(admin_client), "Disk")

    assert [[cell for cell, _link in row] for row in rows] == [
        ["old & slow", "1", "1.0 MB"],
        ["wings", "2", "7.0 MB"],
    ]
    for (_cell, query), expected in zip((row[0] for row in rows), (1, 2), strict=True):
        assert len(listed(admin_client.get(LIST + query))) == expected


def test_numbers_are_written_as_the_language_does(admin_client, settings):
    settings.LANGUAGE_CODE = "de"
    server = ServerFactory()
    now = timezone.now()
    fields = {"server": server, "node": server.node, "disk": "s3", "size": 1536 * MIB}
    fields |= {"completed_at": now, "is_successful": True, "created_at": now}
    Backup.objects.bulk_create(Backup(**fields) for _ in range(1_001))

    html = shown(admin_client)

    assert "1.001" in counts(html).values()
    assert table(html, "s3")[0][2][0] == "1,5 TB"
    dates = [text.text for text in chart(html).iter("text") if "date" in text.get("class")]
    assert re.fullmatch(r"\d{1,2}\. [A-Z][a-zä]+", dates[-1])


def test_bounded_counts_say_that_there_may_be_more(admin_client, monkeypatch):
    monkeypatch.setattr(totals, "MOST", 2)
    for state in (State.PENDING, State.PENDING, State.UPLOADING, *[State.DELETING] * 3):
        backup_in(state)
    found = counts(shown(admin_client))
    assert (found["Pending"], found["Uploading"], found["Being deleted"]) == ("2+", "1+", "2+")
    assert found["Completed"] == "0"


def test_oldest_open_upload_is_named_with_its_age(admin_client):
    backup_in(State.UPLOADING, name="young")
    old = backup_in(State.UPLOADING, name="old <b>", created_at=ago(3 * HOUR))
    html = shown(admin_client)
    assert f"Oldest open upload old <b> {old.server} 3 hours ago" in words(html)
    assert f'<a href="/admin/backups_remote/backup/{old.pk}/change/">old &lt;b&gt;</a>' in html


# The chart


def test_chart_stacks_completed_and_failed_backups_of_each_day(admin_client):
    for days, (completed, failed) in {0: (6, 2), 1: (0, 1), 29: (4, 0), 30: (9, 9)}.items():
        for state in [State.COMPLETED] * completed + [State.FAILED] * failed:
            backup_in(state, created_at=ago(days * DAY))
    backup_in(State.PENDING)

    svg = chart(shown(admin_client))

    bars = list(svg.iter("g"))
    assert len(bars) == 30
    completed, failed = pieces(svg, "completed"), pieces(svg, "failed")
    assert set(completed) == {0, 29}
    assert set(failed) == {28, 29}
    heights = [float(part.get("height")) for part in (completed[29], failed[29], completed[0])]
    assert heights == [
        6 * heights[2] / 4,
        2 * heights[2] / 4,
        pytest.approx(admin_chart.PLOT * 0.45),
    ]
    # One upon the other, from the base line up.
    for lower, upper in ((completed[29], failed[29]), (failed[28], None), (completed[0], None)):
        bottom = float(lower.get("y")) + float(lower.get("height"))
        assert bottom == pytest.approx(admin_chart.PLOT, abs=0.2)
        if upper is not None:
            edge = float(upper.get("y")) + float(upper.get("height"))
            assert edge == pytest.approx(float(lower.get("y")), abs=0.2)
    # Side by side from edge to edge, and each bar in the middle of its day.
    days = [percents(bar.find("rect")) for bar in bars]
    parts = [percents(completed[place]) for place in (29, 0)]
    assert [start for start, _width in days] == pytest.approx(
        [n * 100 / 30 for n in range(30)], abs=0.01
    )
    assert [width for _start, width in days] == pytest.approx([100 / 30] * 30, abs=0.01)
    for (start, width), place in zip(parts, (29, 0), strict=True):
        assert start + width / 2 == pytest.approx((place + 0.5) * 100 / 30, abs=0.01)


def test_chart_has_a_text_alternative(admin_client):
    backup_in(State.COMPLETED)
    backup_in(State.FAILED)
    backup_in(State.COMPLETED, created_at=ago(3 * DAY))
    first, last = (admin_chart.short_date(timezone.localdate() - n * DAY) for n in (29, 0))

    html = shown(admin_client)

    svg = chart(html)
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == (
        f"Bar chart of the backups that were created from {first} to {last}, a bar for each day. "
        "Completed: 2. Failed: 1."
    )
    assert [svg.find("title").text, svg.find("desc").text] == [
        "The last 30 days",
        svg.get("aria-label"),
    ]
    titles = [bar.find("title").text for bar in svg.iter("g")]
    assert titles[-1] == f"{last}. Completed: 1. Failed: 1."
    assert titles[0] == f"{first}. Completed: 0. Failed: 0."
    dates = [text.text for text in svg.iter("text") if "date" in text.get("class")]
    assert (dates[0], dates[-1], len(dates)) == (first, last, 5)
    legend = re.search(r'<ul class="backup-chart-legend">.*?</ul>', html, re.DOTALL)[0]
    assert words(legend) == "Completed Failed"


def test_failed_backups_have_a_pattern_besides_a_colour(admin_client):
    backup_in(State.FAILED)
    svg = chart(shown(admin_client))
    [part] = pieces(svg, "failed").values()
    assert part.get("fill") == f"url(#{next(svg.iter('pattern')).get('id')})"


def test_one_failure_among_thousands_can_be_seen(admin_client, monkeypatch):
    days = tuple(
        totals.Day(dt.date(2026, 5, day), completed=90_000, failed=int(day == 7))
        for day in range(1, 31)
    )
    monkeypatch.setattr(totals, "count_ended", lambda _: totals.Ended(1, (), days))
    svg = chart(shown(admin_client))
    [(place, part)] = pieces(svg, "failed").items()
    assert place == 6
    assert float(part.get("height")) >= 2


@pytest.mark.parametrize(
    ("highest", "lines"),
    [
        (1, ["1", "0"]),
        (4, ["4", "2", "0"]),
        (7, ["8", "4", "0"]),
        (9, ["10", "5", "0"]),
        (10, ["10", "5", "0"]),
        (11, ["20", "10", "0"]),
        (301, ["400", "200", "0"]),
        (86_400, ["100,000", "50,000", "0"]),
    ],
)
def test_lines_of_the_chart_are_at_round_numbers(highest, lines):
    days = tuple(totals.Day(dt.date(2026, 5, 1), highest - 1, 1) for _ in range(30))
    found = admin_chart.chart_of(totals.Ended(30, (), days))
    assert [line.text for line in found.lines] == lines
    top, base = (float(found.lines[place].position) for place in (0, -1))
    assert (base, top >= 10) == (admin_chart.PLOT, True)
    assert all(float(bar.failed.y) >= top - 2 for bar in found.bars)


def test_table_has_the_numbers_of_the_chart_and_links_to_the_days(admin_client):
    today = [backup_in(State.COMPLETED), backup_in(State.FAILED), backup_in(State.FAILED)]
    backup_in(State.COMPLETED, created_at=ago(2 * DAY))

    rows = table(shown(admin_client), "Created")

    assert len(rows) == 30
    (date, day), (completed, _), (failed, failures) = rows[0]
    assert (date, completed, failed) == (admin_chart.short_date(timezone.localdate()), "1", "2")
    assert listed(admin_client.get(LIST + day)) == {backup.pk for backup in today}
    assert listed(admin_client.get(LIST + failures)) == {backup.pk for backup in today[1:]}
    assert [[cell for cell, _link in row[1:]] for row in rows[1:3]] == [["0", "0"], ["1", "0"]]
    assert rows[2][2][1] is None


def test_days_of_the_chart_are_local(admin_client, settings):
    settings.TIME_ZONE = "Pacific/Kiritimati"  # fourteen hours ahead
    today = timezone.localdate()
    midnight = timezone.make_aware(dt.datetime.combine(today, dt.time.min))
    backup = BackupFactory(disk="wings", created_at=midnight, completed_at=midnight)
    BackupFactory(disk="wings", created_at=midnight - HOUR / 60, completed_at=midnight)

    rows = table(shown(admin_client), "Created")

    assert [row[2][0] for row in rows[:3]] == ["1", "1", "0"]
    assert listed(admin_client.get(LIST + rows[0][0][1])) == {backup.pk}


def test_nothing_of_the_summary_needs_inline_styles_or_scripts(admin_client):
    for state in State:
        backup_in(state)
    html = shown(admin_client)
    assert len(list(chart(html).iter("rect"))) > 30
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:", html)


# Large tables


def test_large_table_shows_what_the_sweep_counted_and_when(admin_client, large):
    for _ in range(6):
        backup_in(State.COMPLETED, disk="s3", size=MIB)
    totals.renew_snapshot()
    BackupTotals.objects.update(counted_at=ago(5 * HOUR / 60))
    backup_in(State.COMPLETED)
    backup_in(State.PENDING)

    html = shown(admin_client)

    assert (counts(html)["Completed"], counts(html)["Pending"]) == ("6", "1")
    assert (
        "The sweep counted the completed and failed backups, and the servers without a whole one, "
        "5 minutes ago."
    ) in words(html)
    assert [cell for cell, _link in table(html, "s3")[0]] == ["s3", "6", "6.0 MB"]
    assert pieces(chart(html), "completed").keys() == {29}


def test_sweep_is_not_mentioned_for_servers_it_does_not_count(admin_client, large):
    for _ in range(6):
        backup_in(State.FAILED, created_at=ago(3 * DAY))
    totals.renew_snapshot()
    ServerFactory(name="new")
    html = shown(admin_client)
    assert re.search(
        r"The sweep counted the completed and failed backups (just now|\d+ seconds? ago)\.",
        words(html),
    )
    assert "in the last 24 hours 7" in words(html)


def test_small_table_does_not_mention_the_sweep(admin_client):
    backup_in(State.COMPLETED)
    totals.renew_snapshot()
    assert "sweep" not in shown(admin_client)


def test_large_table_without_a_count_says_that_the_sweep_will_count(admin_client, large):
    for _ in range(6):
        backup_in(State.COMPLETED)
    backup_in(State.PENDING)

    html = shown(admin_client)

    assert (counts(html)["Completed"], counts(html)["Failed"]) == ("–", "–")
    assert counts(html)["Pending"] == "1"
    assert "the next sweep will count them." in words(html)
    assert "in the last 24 hours The next sweep will count them." in words(html)
    assert chart(html) is None
    assert "Whole backups" not in html


def test_queries_do_not_grow(admin_client, large):
    counted = set()
    for number in (8, 40):
        while Backup.objects.count() < number:
            backup_in(State.UPLOADING)
            backup_in(State.COMPLETED)
        BackupTotals.objects.all().delete()
        totals.renew_snapshot()
        assert "sweep counted" in shown(admin_client)
        with_summary, without = (queries_of(admin_client, LIST + q) for q in ("", "?_popup=1"))
        counted.add(len(with_summary) - len(without))
    assert counted == {7}


@pytest.mark.skipif("connection.vendor == 'mysql'", reason="MariaDB has no partial indexes.")
def test_no_query_of_a_large_table_reads_it_all(admin_client, large, monkeypatch):
    """Read off the database's own plans for what the page really asks."""
    monkeypatch.setattr("backups_remote.admin.changelist.LISTED", 5)
    monkeypatch.setattr(BackupAdmin, "list_per_page", 5)
    for state in State:
        for hours in range(5):
            backup_in(state, created_at=ago(hours * 10 * HOUR))
    totals.renew_snapshot()

    asked = [sql for sql in queries_of(admin_client, LIST) if OF_BACKUPS in sql]

    assert len(asked) >= 9
    [under_way] = [sql for sql in asked if "MIN(" in sql]
    assert "backups_remote_open" in plan_of(under_way)
    for sql in asked:
        assert "reported_etags" not in sql
        plan = plan_of(sql)
        assert "Seq Scan on backups_remote_backup" not in plan, (sql, plan)
        # In the order of an index, and bounded.
        scans = re.findall(r"SCAN (?:backups_remote_backup|U0)(.*)", plan)
        assert all(scan.startswith(" USING COVERING INDEX") for scan in scans), (sql, plan)
        assert not scans or re.search(r"LIMIT \d+", sql), (sql, plan)
        # What is sorted is the servers, or the rows of the page.
        if "DISTINCT" not in sql and '"id" IN (' not in sql:
            assert "TEMP B-TREE" not in plan, (sql, plan)
            assert "Sort" not in plan, (sql, plan)


@pytest.mark.skipif("connection.vendor == 'mysql'", reason="MariaDB plans a small table anyhow.")
def test_servers_of_a_large_table_are_found_by_the_recent_backups(admin_client, large):
    server = ServerFactory()
    for days in range(1, 8):
        backup_in(State.COMPLETED, server=server, created_at=ago(days * DAY))
    queries = queries_of(admin_client, f"{SERVERS}?without_backup_for=86400")
    queries += queries_of(admin_client, LIST)
    asked = [sql for sql in queries if "DISTINCT" in sql]
    assert len(asked) >= 3
    for sql in asked:
        plan = plan_of(sql)
        assert "backups_remote_newest" in plan, (sql, plan)
        assert "server_id" not in plan.replace("(u0.server_id + 0)", ""), (sql, plan)


@pytest.mark.skipif("connection.vendor == 'mysql'", reason="MariaDB has no partial indexes.")
def test_count_of_all_rows_is_recognized_by_its_plan(admin_client):
    """In a small table, all are counted: what the test above looks for is there."""
    backup_in(State.COMPLETED)
    plans = [plan_of(sql) for sql in queries_of(admin_client, LIST) if OF_BACKUPS in sql]
    assert any(
        re.search(r"SCAN backups_remote_backup(?! USING)|Seq Scan on backups_remote_backup", plan)
        for plan in plans
    )


OF_BACKUPS = 'FROM "backups_remote_backup"'


def plan_of(sql):
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # What there is no index for is read all the same.
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
            cursor.execute("EXPLAIN " + sql)
        else:
            cursor.execute("EXPLAIN QUERY PLAN " + sql)
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


# Where and for whom it is shown


@pytest.mark.parametrize("query", ["", "?o=-7", "?p=1"])
def test_summary_is_on_the_first_page_of_the_whole_list(admin_client, query):
    backup_in(State.PENDING)
    html = shown(admin_client, query)
    assert html.startswith('<details class="backup-totals" open>')
    assert counts(html)["Pending"] == "1"


@pytest.mark.parametrize(
    "query",
    ["?p=2", "?q=one", "?state=pending", "?created_at__year=2020", "?server__id__exact=1"],
)
def test_other_pages_link_to_the_summary_and_count_nothing(admin_client, monkeypatch, query):
    monkeypatch.setattr(BackupAdmin, "list_per_page", 1)
    backup_in(State.PENDING)
    backup_in(State.PENDING)
    assert shown(admin_client, query) is None
    assert (
        '<a href="?">Summary of all backups</a>' in admin_client.get(LIST + query).content.decode()
    )
    assert not any("MIN(" in sql for sql in queries_of(admin_client, LIST + query))
    assert any("MIN(" in sql for sql in queries_of(admin_client, LIST))


def test_popup_has_no_summary(admin_client):
    for query in ("?_popup=1", "?_popup=1&q=one"):
        assert "Summary" not in admin_client.get(LIST + query).content.decode()


def test_user_without_server_permission_sees_no_link_to_a_server(client):
    ServerFactory(name="never backed up")
    upload = backup_in(State.UPLOADING)
    client.force_login(user_with("view_backup"))
    html = shown(client)
    assert counts(html)["Uploading"] == "1"
    assert f"{upload}" in html
    assert "in the last 24 hours 2" in words(html)
    assert SERVERS not in html
    assert "never backed up" not in html


def test_user_with_server_permission_sees_links_to_servers(client):
    server = ServerFactory(name="never & ever")
    client.force_login(user_with("view_backup", "view_server"))
    html = shown(client)
    assert f'<a href="{SERVERS}{server.pk}/change/">never &amp; ever</a>' in html


def test_summary_is_hidden_without_view_permission(client):
    client.force_login(user_with("view_server"))
    assert client.get(LIST).status_code == 403


def test_summary_is_hidden_from_users_who_see_some_backups_only(admin_client, monkeypatch):
    backup_in(State.COMPLETED)
    whole = BackupAdmin.get_queryset
    assert shown(admin_client) is not None
    monkeypatch.setattr(
        BackupAdmin, "get_queryset", lambda self, request: whole(self, request).filter(disk="s3")
    )
    for query in ("", "?q=one"):
        assert "Summary" not in admin_client.get(LIST + query).content.decode()


def test_servers_are_not_counted_for_users_who_see_some_only(admin_client, monkeypatch):
    ServerFactory()
    whole = ServerAdmin.get_queryset
    assert "Servers without" in shown(admin_client)
    monkeypatch.setattr(
        ServerAdmin, "get_queryset", lambda self, request: whole(self, request).exclude(name="x")
    )
    assert "Servers without" not in shown(admin_client)


def test_site_without_servers_has_no_link_to_them(admin_user):
    server = ServerFactory()
    site = admin.AdminSite("other")
    site.register(Backup, BackupAdmin)
    request = RequestFactory().get("/")
    request.user = admin_user
    found = summary.summary(site.get_model_admin(Backup), request).overdue
    assert (found.count, found.url, found.servers) == ("1", "", ())
    assert Server.objects.get() == server


# Servers without a recent whole backup


def test_servers_without_a_recent_backup_link_to_their_list(admin_client):
    backup_in(State.COMPLETED, server=ServerFactory(name="backed up"))
    late = ServerFactory(name="late")
    backup_in(State.COMPLETED, server=late, created_at=ago(25 * HOUR))
    never = ServerFactory(name="never")
    ServerFactory(name="wants none", backup_limit=0)

    html = shown(admin_client)

    label = "Servers without a whole backup in the last 24 hours 2 late never"
    assert label in words(html)
    url = next(link for link in re.findall(r'href="([^"]*)"', html) if "without_backup" in link)
    answer = admin_client.get(url)
    assert {server.pk for server in answer.context["cl"].result_list} == {late.pk, never.pk}


def test_a_few_servers_are_named(admin_client):
    ServerFactory.create_batch(7)
    html = shown(admin_client)
    assert "in the last 24 hours 7" in words(html)
    assert len(re.findall(rf'<li><a href="{SERVERS}\d+/change/">', html)) == 5


def test_setting_says_how_recent(admin_client, settings):
    settings.BACKUPS_REMOTE = {"BACKUP_OVERDUE_AFTER": 5400}
    backup_in(State.COMPLETED, created_at=ago(2 * HOUR))
    html = shown(admin_client)
    assert "Servers without a whole backup in the last 90 minutes 1" in words(html)
    settings.BACKUPS_REMOTE = {"BACKUP_OVERDUE_AFTER": 3 * HOUR}
    assert "Servers without a whole backup in the last 3 hours 0" in words(shown(admin_client))
    settings.BACKUPS_REMOTE = {"BACKUP_OVERDUE_AFTER": None}
    assert "Servers without" not in shown(admin_client)


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (dt.timedelta(hours=24), {"week", "days"}),
        (dt.timedelta(hours=48), {"week", "days"}),
        (dt.timedelta(days=7), {"week"}),
    ],
)
def test_list_of_servers_can_be_filtered_by_their_last_backup(admin_client, span, expected):
    ages = {"hours": 5 * HOUR, "days": 3 * DAY, "week": 8 * DAY}
    for name, age in ages.items():
        server = ServerFactory(name=name)
        backup_in(State.COMPLETED, server=server, created_at=ago(age))
        backup_in(State.FAILED, server=server)
    answer = admin_client.get(SERVERS, {"without_backup_for": int(span.total_seconds())})
    assert {server.name for server in answer.context["cl"].result_list} == expected


def filter_choices(client, **query):
    [spec] = client.get(SERVERS, query).context["cl"].filter_specs
    return [(label, value) for value, label in spec.lookup_choices]


def test_filter_of_servers_offers_the_settings_time_too(admin_client, settings):
    day, week = ("None in the last 24 hours", "86400"), ("None in the last 7 days", "604800")
    two_days = ("None in the last 48 hours", "172800")
    assert filter_choices(admin_client) == [day, two_days, week]
    settings.BACKUPS_REMOTE = {"BACKUP_OVERDUE_AFTER": 36 * HOUR}
    middle = ("None in the last 36 hours", "129600")
    assert filter_choices(admin_client) == [day, middle, two_days, week]
    settings.BACKUPS_REMOTE = {"BACKUP_OVERDUE_AFTER": None}
    assert filter_choices(admin_client) == [day, two_days, week]


@pytest.mark.parametrize("value", ["nonsense", "0", "-1", "9" * 30, "86400.0", "\0"])
def test_another_time_is_a_wrong_filter(admin_client, value):
    answer = admin_client.get(SERVERS, {"without_backup_for": value})
    assert answer.status_code == 302
    assert parse_qs(urlsplit(answer.url).query) == {"e": ["1"]}


@pytest.mark.parametrize(
    ("duration", "said"),
    [
        (dt.timedelta(minutes=1), "1 min"),
        (dt.timedelta(minutes=90), "90 min"),
        (HOUR, "1 h"),
        (2 * DAY, "48 h"),
        (3 * DAY, "3 d"),
        (3 * DAY + HOUR, "73 h"),
        (dt.timedelta(seconds=119), "1 min"),
    ],
)
def test_durations_use_the_largest_exact_unit(duration, said):
    phrases = {"days": "%(count)d d", "hours": "%(count)d h", "minutes": "%(count)d min"}
    assert times.in_whole_units(duration, phrases) == said
