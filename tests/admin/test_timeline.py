"""The timeline on a backup's page."""

from __future__ import annotations

import datetime as dt
import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.actors import ActorKind, acting_as
from backups_remote.admin import timeline as timelines
from backups_remote.models import Backup, BackupEvent, EventKind
from backups_remote.types import Report
from tests.admin.history import EVENTS, add_event, entries_on, in_one_line, timeline_on
from tests.admin.pages import LIST, backup_in, listed, page_of, queries_of, user_with
from tests.support.factories import BackupFactory

pytestmark = pytest.mark.django_db

K = EventKind
State = Backup.State


@pytest.fixture
def backup():
    """A backup without events."""
    backup = BackupFactory(disk="wings", name="Nightly")
    BackupEvent.objects.all()._prune(BackupEvent.objects.values_list("pk", flat=True))
    return backup


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_has_word_symbol_and_colour(admin_client, backup, kind):
    add_event(backup, kind, detail="1,000 bytes", actor=ActorKind.NODE, actor_name="fra-1")

    answer = admin_client.get(page_of(backup))

    badge = re.search(
        r'data-tone="(\w+)"><span aria-hidden="true">(.)</span> (.*?)</span>', timeline_on(answer)
    )
    assert badge[1] in {"plain", "busy", "good", "bad", "warning"}
    assert badge[2] != "•"
    assert unescape(badge[3]) == kind.label
    (entry,) = entries_on(answer)
    assert entry.endswith(f"{badge[2]} {kind.label} by the node fra-1 1,000 bytes")


def test_kind_of_a_later_version_is_shown_as_it_is(admin_client, backup):
    add_event(backup, "mirrored", actor="robot", actor_name="R2")

    (entry,) = entries_on(admin_client.get(page_of(backup)))

    assert "• mirrored by R2" in entry


@pytest.mark.parametrize(
    ("actor", "name", "said"),
    [
        (ActorKind.NODE, "fra-1", "by the node fra-1"),
        (ActorKind.NODE, "", "by a node"),
        (ActorKind.USER, "alice", "by the user alice"),
        (ActorKind.USER, "", "by a user"),
        (ActorKind.COMMAND, "accept_copies", "by the command accept_copies"),
        (ActorKind.COMMAND, "", "by a command"),
        (ActorKind.SWEEP, "expire_stale_uploads", "by the sweep"),
        (ActorKind.SWEEP, "", "by the sweep"),
        (ActorKind.SWEEP, "celery", "by the sweep celery"),
        (ActorKind.CODE, "", "by code of the project"),
        (ActorKind.CODE, "billing", "by billing, in code of the project"),
    ],
)
def test_actor_is_named(admin_client, backup, actor, name, said):
    add_event(backup, K.LOCKED, actor=actor, actor_name=name)

    (entry,) = entries_on(admin_client.get(page_of(backup)))

    assert entry.endswith(f"Locked {said}")


def test_events_are_shown_newest_first_by_key(admin_client, backup):
    now = timezone.now()
    for kind, minutes in ((K.CREATED, 30), (K.UPLOAD_STARTED, 31), (K.REPORTED, 7)):
        add_event(backup, kind, at=now - dt.timedelta(minutes=minutes))

    told = [
        re.search(r"(\w+ ago) . ([A-Z]\w+)", e)
        for e in entries_on(admin_client.get(page_of(backup)))
    ]

    assert [(t[1], t[2]) for t in told] == [
        ("minutes ago", "Success"),
        ("minutes ago", "Upload"),
        ("minutes ago", "Created"),
    ]


def test_time_is_local_exact_and_in_words(admin_client, backup, settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    add_event(backup, K.CREATED, at=dt.datetime(2024, 12, 31, 20, 1, 2, tzinfo=dt.UTC))
    add_event(backup, K.LOCKED, at=timezone.now() - dt.timedelta(minutes=7, seconds=5))

    shown = timeline_on(admin_client.get(page_of(backup)))

    assert (
        '<time datetime="2025-01-01T05:01:02+09:00" title="2025-01-01 05:01:02+09:00">'
        "Jan. 1, 2025, 5:01 a.m.</time>"
    ) in shown
    assert "7 minutes ago" in shown


def test_time_without_time_zones(admin_client, backup, settings):
    settings.USE_TZ = False
    add_event(backup, K.CREATED, at=dt.datetime(2024, 5, 3, 23))  # noqa: DTZ001

    assert 'title="2024-05-03 23:00:00"' in timeline_on(admin_client.get(page_of(backup)))


@pytest.mark.parametrize(("language", "is_marked"), [("de", True), ("en", False), ("en-gb", False)])
def test_detail_is_marked_as_english(admin_client, backup, settings, language, is_marked):
    settings.LANGUAGE_CODE = language
    add_event(backup, K.FAILED, detail="silent for 7 h")

    shown = timeline_on(admin_client.get(page_of(backup)))

    assert ('<span lang="en" dir="ltr">silent for 7 h</span>' in shown) == is_marked
    assert "silent for 7 h" in shown


def test_names_and_details_are_escaped(admin_client, backup):
    bad = '<script>"x"</script>'
    add_event(backup, K.FAILED, detail=bad, actor=ActorKind.USER, actor_name=bad)
    add_event(backup, K.LOCKED)

    for query in ({}, {"actor": f"user:{bad}", "other": bad}):
        answer = admin_client.get(page_of(backup), query)
        assert "<script>&" not in answer.content.decode()
        assert '<script>"x' not in answer.content.decode()
        assert in_one_line(timeline_on(answer)).count(f"by the user {bad}") == 2


def test_what_happens_in_the_admin_is_on_the_timeline(admin_client, memory):
    backup = backup_in(State.COMPLETED)
    admin_client.post(page_of(backup, "lock"))
    with acting_as(ActorKind.SWEEP):
        lifecycle.unlock_backup(backup)

    told = entries_on(admin_client.get(page_of(backup)))

    assert [re.sub(r".* (ago|now) . ", "", entry) for entry in told] == [
        "Unlocked by the sweep",
        "Locked by the user admin",
        "Created by code of the project on the disk wings",
    ]


@pytest.fixture
def eventful(backup):
    """A backup with four events of three kinds by three actors."""
    add_event(backup, K.CREATED)
    for name in ("alice", "bob"):
        add_event(backup, K.LOCKED, actor=ActorKind.USER, actor_name=name, detail=f"L {name}")
    add_event(backup, K.UNLOCKED, actor=ActorKind.USER, actor_name="bob", detail="U bob")
    return backup


@pytest.mark.parametrize(
    ("query", "ends"),
    [
        ({"kind": "locked"}, ["L bob", "L alice"]),
        ({"actor": "user:bob"}, ["U bob", "L bob"]),
        ({"kind": "locked", "actor": "user:alice"}, ["L alice"]),
        ({"actor": "code"}, ["by code of the project"]),
        ({"kind": "unlocked", "actor": "user:alice"}, []),
    ],
)
def test_filters(admin_client, eventful, query, ends):
    answer = admin_client.get(page_of(eventful), query)

    told = entries_on(answer)
    assert len(told) == len(ends)
    assert all(entry.endswith(end) for entry, end in zip(told, ends, strict=True))
    assert ("No event matches." in timeline_on(answer)) == (not ends)
    selected = re.findall(r'value="([^"]*)" selected', timeline_on(answer))
    assert set(selected) == set(query.values())


@pytest.mark.parametrize(
    "query",
    [
        "",
        "kind=&actor=",
        "kind=failed",
        "kind=nonsense",
        "kind=%00&actor=%00",
        "actor=user",
        "actor=user:carol",
        "actor=:&kind=%FF",
        "nonsense=1",
        "kind=nonsense&kind=%27",
        "e=1&p=0&o=%00",
    ],
)
def test_unknown_filters_are_ignored(admin_client, eventful, query):
    answer = admin_client.get(f"{page_of(eventful)}?{query}")

    assert len(entries_on(answer)) == 4
    assert " selected" not in timeline_on(answer)


def test_filters_offer_what_there_is(admin_client, eventful):
    shown = timeline_on(admin_client.get(page_of(eventful)))

    offered = re.findall(r'<option value="([^"]+)">([^<]+)<', shown)
    assert offered == [
        ("created", "Created"),
        ("locked", "Locked"),
        ("unlocked", "Unlocked"),
        ("code", "by code of the project"),
        ("user:alice", "by the user alice"),
        ("user:bob", "by the user bob"),
    ]


def test_one_event_needs_no_filter(admin_client, backup):
    add_event(backup, K.CREATED)
    assert "<form" not in timeline_on(admin_client.get(page_of(backup)))


def test_sweep_is_one_actor_whether_it_names_itself(admin_client, backup):
    for name in ("", "expire_stale_uploads"):
        add_event(backup, K.UPLOAD_ABORTED, actor=ActorKind.SWEEP, actor_name=name)
    add_event(backup, K.LOCKED)

    answer = admin_client.get(page_of(backup), {"actor": "sweep"})

    assert len(entries_on(answer)) == 2
    assert timeline_on(answer).count(">by the sweep<") == 1


def test_filters_keep_the_rest_of_the_query_string(admin_client, eventful):
    query = {"_changelist_filters": 'state=failed&q="x"', "look": "", "kind": "locked"}

    shown = timeline_on(admin_client.get(page_of(eventful), query))

    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', shown)
    assert [(name, unescape(value)) for name, value in hidden] == [
        ("_changelist_filters", 'state=failed&q="x"'),
        ("look", ""),
    ]


@pytest.mark.parametrize("button", ["_save", "_continue"])
def test_saving_keeps_the_filters_of_the_list_and_of_the_timeline(admin_client, eventful, button):
    query = "?_changelist_filters=state%3Dpending&kind=locked"

    answer = admin_client.post(page_of(eventful) + query, {"name": "Renamed", button: "1"})

    there = urlsplit(answer["Location"])
    if button == "_save":
        assert (there.path, parse_qs(there.query)) == (LIST, {"state": ["pending"]})
    else:
        assert there.path == page_of(eventful)
        assert parse_qs(there.query)["kind"] == ["locked"]
        assert len(entries_on(admin_client.get(answer["Location"]))) == 2
    assert Backup.objects.get().name == "Renamed"


def test_newest_are_shown_with_a_link_to_all(admin_client, backup, monkeypatch):
    monkeypatch.setattr(timelines, "SHOWN", 3)
    for number in range(3):
        add_event(backup, K.LOCKED, detail=f"No. {number}")
    assert "Older events" not in timeline_on(admin_client.get(page_of(backup)))
    add_event(backup, K.LOCKED, detail="No. 3")

    answer = admin_client.get(page_of(backup))

    assert [entry[-5:] for entry in entries_on(answer)] == ["No. 3", "No. 2", "No. 1"]
    assert "Older events are not shown here." in timeline_on(answer)
    link = unescape(re.search(r'<a href="([^"]*backupevent[^"]*)"', timeline_on(answer))[1])
    assert len(listed(admin_client.get(link))) == 4


def test_no_more_are_read_than_a_page_can_bear(admin_client, backup, monkeypatch):
    monkeypatch.setattr(timelines, "READ", 2)
    add_event(backup, K.CREATED)
    for _ in range(2):
        add_event(backup, K.LOCKED)

    answer = admin_client.get(page_of(backup), {"kind": "created"})

    assert len(entries_on(answer)) == 2
    assert "Older events are not shown here." in timeline_on(answer)


def test_link_to_the_list_keeps_the_filters(admin_client, eventful):
    other = BackupFactory(disk="wings")
    add_event(other, K.LOCKED, actor=ActorKind.USER, actor_name="alice")
    answer = admin_client.get(page_of(eventful), {"kind": "locked", "actor": "user:alice"})

    link = unescape(re.search(r'<a href="([^"]*backupevent[^"]*)"', timeline_on(answer))[1])

    assert parse_qs(urlsplit(link).query) == {
        "q": [str(eventful.uuid)],
        "kind": ["locked"],
        "actor": ["user"],
    }
    locked = eventful.events.filter(kind="locked")
    assert listed(admin_client.get(link)) == set(locked.values_list("pk", flat=True))


def test_no_link_where_there_is_no_list(admin_user, eventful, rf):
    request = rf.get("/")
    request.user = admin_user

    line = timelines.timeline(ModelAdmin(Backup, AdminSite()), request, eventful)

    assert line.all_url == ""
    assert len(line.entries) == 4


def test_backup_without_events(admin_client, backup):
    answer = admin_client.get(page_of(backup))

    assert "No events of this backup are kept." in timeline_on(answer)


def test_events_of_other_backups_are_not_shown(admin_client, eventful):
    other = BackupFactory(disk="wings", server=eventful.server)

    assert len(entries_on(admin_client.get(page_of(other)))) == 1


def test_timeline_needs_the_permission_for_events(client, eventful):
    client.force_login(user_with("view_backup"))
    answer = client.get(page_of(eventful), {"kind": "locked"})
    assert timeline_on(answer) is None
    assert "L alice" not in answer.content.decode()
    assert EVENTS not in answer.content.decode()

    client.logout()
    permission = Permission.objects.get(codename="view_backupevent")
    User.objects.get(username="operator").user_permissions.add(permission)
    client.force_login(User.objects.get(username="operator"))
    assert len(entries_on(client.get(page_of(eventful)))) == 4


def test_permission_for_events_does_not_show_backups(client, eventful):
    client.force_login(user_with("view_backupevent"))
    assert client.get(page_of(eventful)).status_code == 403


def test_number_of_queries_does_not_depend_on_events(admin_client, backup):
    counts = set()
    for wanted in (1, 10, 100):
        while BackupEvent.objects.count() < wanted:
            add_event(backup, K.LOCKED, actor=ActorKind.USER, actor_name=str(wanted))
        queries = queries_of(admin_client, page_of(backup))
        counts.add(len(queries))
        assert len([sql for sql in queries if "backupevent" in sql]) == 1
        assert len(entries_on(admin_client.get(page_of(backup)))) == wanted
    assert len(counts) == 1


def test_reason_of_a_failure_is_on_the_timeline_the_page_and_the_list(admin_client, memory):
    backup = lifecycle.start_backup(BackupFactory(disk="wings").server)
    lifecycle.request_upload(backup, 1000)
    with acting_as(ActorKind.NODE, "fra-1"):
        lifecycle.record_report(backup, Report(successful=False, reason="the disk is <full>"))

    answer = admin_client.get(page_of(backup))

    assert "Failed by the node fra-1 the disk is <full>" in entries_on(answer)[1]
    for page in (answer, admin_client.get(LIST)):
        assert '<div class="backup-failure">the disk is &lt;full&gt;</div>' in page.content.decode()
