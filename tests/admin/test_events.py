"""The list of events, and the page of one: fast, and read-only."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from html import unescape

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.actors import ActorKind
from backups_remote.admin import changelist, events
from backups_remote.admin.timeline import events_url
from backups_remote.models import Backup, BackupEvent, EventKind
from tests.admin.history import EVENTS, add_event, in_one_line
from tests.admin.pages import backup_in, listed, page_of, queries_of, text, user_with
from tests.support.factories import BackupFactory, NodeFactory, ServerFactory

pytestmark = [pytest.mark.databases, pytest.mark.django_db]

K = EventKind
State = Backup.State


@pytest.fixture
def backup():
    """A backup without events."""
    server = ServerFactory(name="Valheim", node=NodeFactory(name="fra-1"))
    backup = BackupFactory(server=server, disk="wings", name="Nightly")
    BackupEvent.objects.all()._prune(BackupEvent.objects.values_list("pk", flat=True))
    return backup


def page_of_event(event, view="change"):
    return reverse(f"admin:backups_remote_backupevent_{view}", args=[event.pk])


def rows_on(answer):
    """The text of each column of each row of the list."""
    assert answer.status_code == 200
    return [
        {
            name: in_one_line(cell)
            for name, cell in re.findall(
                r'class="[^"]*field-(\w+)[^"]*"[^>]*>(.*?)</t[hd]>', row, re.DOTALL
            )
        }
        for row in re.findall(
            r"<tr>(.*?)</tr>", answer.content.decode().partition("<tbody>")[2], re.DOTALL
        )
    ]


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_is_listed_in_words(admin_client, backup, kind):
    add_event(
        backup,
        kind,
        at=timezone.now() - dt.timedelta(minutes=3),
        actor=ActorKind.USER,
        actor_name="alice",
        detail="1,000 bytes",
    )

    (row,) = rows_on(admin_client.get(EVENTS))

    assert row.pop("moment").endswith("3 minutes ago")
    assert row.pop("what").endswith(f" {kind.label}")
    assert row == {
        "backup": "Nightly",
        "server_name": "Valheim",
        "node_name": "fra-1",
        "who": "by the user alice",
        "in_words": "1,000 bytes",
    }


def test_events_are_listed_newest_first_by_key(admin_client, backup):
    now = timezone.now()
    old = add_event(backup, K.CREATED, at=now, node_name="ams-1")
    mid = add_event(backup, K.LOCKED, at=now - dt.timedelta(hours=2), server_name="Ark")
    new = add_event(backup, K.LOCKED, at=now - dt.timedelta(hours=1))

    for query in ("", "?o=1", "?o=-1", "?o=4", "?o=-4", "?o=5.4"):
        result = admin_client.get(EVENTS + query).context["cl"].result_list
        assert [event.pk for event in result] == [new.pk, mid.pk, old.pk]


def test_backup_is_linked_as_long_as_it_exists(admin_client, backup):
    add_event(backup, K.LOCKED)
    content = admin_client.get(EVENTS).content.decode()
    assert f'href="{page_of(backup)}" title="{backup.uuid}">Nightly</a>' in content

    gone = backup_in(State.COMPLETED, disk="retired", name="Gone")
    lifecycle.forget_backup(gone)
    assert not Backup.objects.filter(uuid=gone.uuid).exists()

    content = admin_client.get(EVENTS).content.decode()
    assert "Gone" not in content
    assert f'href="{EVENTS}?q={gone.uuid}" title="{gone.uuid}">' in content
    assert f'<code translate="no">{gone.uuid.hex[:8]}…</code></a>' in content
    told = [row["what"][2:] for row in rows_on(admin_client.get(EVENTS, {"q": str(gone.uuid)}))]
    assert told == ["Forgotten", "Created"]


def test_event_of_an_unknown_backup_is_listed(admin_client, backup):
    add_event(backup, K.RESTORE_FAILED, backup_uuid=None)

    assert rows_on(admin_client.get(EVENTS))[0]["backup"] == "-"


def test_backups_are_named_only_with_view_permission(client, backup):
    event = add_event(backup, K.LOCKED)
    client.force_login(user_with("view_backupevent"))

    for page in (EVENTS, page_of_event(event)):
        content = client.get(page).content.decode()
        assert "Nightly" not in content
        assert page_of(backup) not in content
        assert str(backup.uuid) in content


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("kind=locked", [K.LOCKED]),
        ("kind=failed", []),
        ("kind=", [K.UNLOCKED, K.LOCKED, K.CREATED, K.RECOVERED]),
        ("actor=user", [K.UNLOCKED, K.LOCKED]),
        ("actor=user&kind=unlocked", [K.UNLOCKED]),
        ("actor=sweep", [K.RECOVERED]),
        ("actor=command", []),
        ("since=hour", [K.LOCKED]),
        ("since=day", [K.LOCKED, K.CREATED]),
        ("since=week", [K.UNLOCKED, K.LOCKED, K.CREATED]),
        ("node=fra-1", [K.UNLOCKED, K.LOCKED, K.CREATED]),
        ("node=fra", []),
        ("node=fra-1&kind=created", [K.CREATED]),
        (f"server={uuid.UUID(int=0)}", []),
    ],
)
def test_filters(admin_client, backup, query, kinds):
    now = timezone.now()
    add_event(
        backup,
        K.RECOVERED,
        at=now - dt.timedelta(days=8),
        actor=ActorKind.SWEEP,
        node_name="ams-1",
    )
    add_event(backup, K.CREATED, at=now - dt.timedelta(hours=23))
    user = {"actor": ActorKind.USER, "actor_name": "alice"}
    add_event(backup, K.LOCKED, **user)
    add_event(backup, K.UNLOCKED, at=now - dt.timedelta(days=6), **user)

    result = admin_client.get(f"{EVENTS}?{query}").context["cl"].result_list

    assert [event.kind for event in result] == kinds


def test_filter_by_server(admin_client, backup):
    event = add_event(backup, K.LOCKED)
    BackupFactory(disk="wings")

    answer = admin_client.get(EVENTS, {"server": str(backup.server.uuid)})

    assert listed(answer) == {event.pk}
    assert f"By server All {backup.server.uuid}" in text(answer)
    assert "By server" not in text(admin_client.get(EVENTS))
    assert "By node" not in text(admin_client.get(EVENTS))


def test_filters_offer_every_kind_actor_and_time(admin_client, backup):
    page = text(admin_client.get(EVENTS))

    kinds = " ".join(str(kind.label) for kind in EventKind)
    assert f"By kind All {kinds} By actor All Node User Command Sweep Code By time All" in page
    assert "The last hour The last 24 hours The last 7 days" in page


@pytest.mark.parametrize(
    "written", [str, lambda u: u.hex, lambda u: str(u).upper(), lambda u: f"  {u} "]
)
def test_search_by_uuid(admin_client, backup, written):
    wanted = {add_event(backup, kind).pk for kind in (K.CREATED, K.LOCKED)}
    of_server = add_event(backup, K.RESTORE_FAILED, backup_uuid=None).pk
    BackupFactory(disk="wings", name=str(backup.uuid))

    def found(phrase, **query):
        return listed(admin_client.get(EVENTS, {"q": phrase, **query}))

    assert found(written(backup.uuid)) == wanted
    assert found(written(backup.server.uuid)) == wanted | {of_server}
    assert found(written(uuid.uuid4())) == set()
    assert len(found(written(backup.uuid), kind="locked")) == 1


def test_search_by_name(admin_client, backup):
    a = add_event(backup, K.LOCKED, actor=ActorKind.USER, actor_name="alice").pk
    b = add_event(backup, K.FAILED, server_name="100% Survival_2", node_name="ams-1").pk

    def found(phrase):
        return listed(admin_client.get(EVENTS, {"q": phrase}))

    assert found("valheim") == {a}
    assert found("-1") == {a, b}
    assert found("ams survival") == {b}
    assert found("fra survival") == set()
    assert found("ALICE") == {a}
    assert found("%") == {b}
    assert found("_") == {b}
    assert found("   ") == {a, b}
    assert found("a" * 192) == set()


@pytest.mark.parametrize(
    "query",
    ["kind=locked", "q=valheim", "since=week", "actor=code", "node=fra-1", "server={server}"],
)
def test_filters_and_names_look_at_the_newest_only(admin_client, backup, monkeypatch, query):
    monkeypatch.setattr(events, "READ", 2)
    query = query.format(server=backup.server.uuid)
    newest = [add_event(backup, K.LOCKED).pk for _ in range(2)]
    answer = admin_client.get(f"{EVENTS}?{query}")
    assert listed(answer) == set(newest)
    assert "were looked at" not in text(answer)

    newest = {newest[1], add_event(backup, K.LOCKED).pk}

    answer = admin_client.get(f"{EVENTS}?{query}")
    assert listed(answer) == newest
    assert "Only the newest 2 events were looked at." in text(answer)


def test_all_events_of_a_backup_are_found(admin_client, backup, monkeypatch):
    monkeypatch.setattr(events, "READ", 2)
    of_backup = [add_event(backup, K.LOCKED).pk for _ in range(3)]
    of_another = [e.pk for e in BackupFactory.create(disk="wings").events]

    found = admin_client.get(EVENTS, {"q": str(backup.uuid)})
    filtered = admin_client.get(EVENTS, {"q": str(backup.uuid), "kind": "locked"})
    everything = admin_client.get(EVENTS)

    assert listed(found) == set(of_backup)
    assert listed(everything) == {*of_backup, *of_another}
    for answer in (found, everything):
        assert "were looked at" not in text(answer)
    # Those that the filter reads are of this backup, and not of all.
    assert listed(filtered) == set(of_backup[1:])
    assert "Only the newest 2 events were looked at." in text(filtered)


def test_list_names_its_row_limit(admin_client, backup, monkeypatch):
    monkeypatch.setattr(changelist, "LISTED", 3)
    monkeypatch.setattr("backups_remote.admin.EventAdmin.list_per_page", 2)
    keys = [add_event(backup, K.LOCKED).pk for _ in range(4)]

    first, last = (admin_client.get(EVENTS, {"p": page}) for page in (1, 2))

    assert "There are more than these 3" in text(first)
    assert [e.pk for e in first.context["cl"].result_list] == [keys[3], keys[2]]
    assert [e.pk for e in last.context["cl"].result_list] == [keys[1]]
    assert "There are more" not in text(admin_client.get(EVENTS, {"kind": "failed"}))


@pytest.mark.parametrize(
    "query", ["", "?kind=locked", "?q=valheim", "?q={uuid}", "?q={uuid}&kind=locked"]
)
def test_number_of_queries_does_not_depend_on_rows(admin_client, query):
    counts = set()
    for wanted in (1, 10, 100):
        while BackupEvent.objects.count() < wanted:
            backup = BackupFactory(disk="wings", server__name="Valheim")
            add_event(backup, K.LOCKED)
        queries = queries_of(admin_client, EVENTS + query.format(uuid=backup.uuid))
        counts.add(len(queries))
        assert (
            len([sql for sql in queries if re.search('FROM .backups_remote_backup[`"]', sql)]) == 1
        )
    assert len(counts) == 1
    assert counts.pop() <= 10


@pytest.mark.skipif("connection.vendor == 'mysql'", reason="its plans depend on the rows")
@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("", "pkey"),
        ("?kind=locked", "pkey"),
        ("?actor=user", "pkey"),
        ("?since=week", "pkey"),
        ("?server={server}", "pkey"),
        ("?node=fra-1", "pkey"),
        ("?q=valheim", "pkey"),
        ("?q={server}", "pkey"),
        ("?q={uuid}", "backups_remote_events"),
        ("?q={uuid}&kind=locked&since=day", "backups_remote_events"),
    ],
)
def test_list_walks_the_key_or_the_index_and_never_sorts(
    admin_client, backup, monkeypatch, query, index
):
    """Read off the database's own plan for what the page really asks."""
    monkeypatch.setattr(events, "READ", 5)
    for _ in range(20):
        add_event(backup, K.LOCKED)
    url = EVENTS + query.format(server=backup.server.uuid, uuid=backup.uuid)
    asked = [
        sql
        for sql in queries_of(admin_client, url)
        if 'FROM "backups_remote_backupevent"' in sql and "ORDER BY" in sql and " IN (" not in sql
    ]
    assert asked
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
            explain, wanted = "EXPLAIN ", index
        else:
            explain = "EXPLAIN QUERY PLAN "
            wanted = index.replace("pkey", "SCAN backups_remote_backupevent|INTEGER PRIMARY KEY")
        for sql in asked:
            assert "LIMIT" in sql
            cursor.execute(explain + sql)
            plan = "\n".join(str(row) for row in cursor.fetchall())
            assert re.search(rf"({wanted})\b", plan), (sql, plan)
            assert "events_at" not in plan
            assert "Sort" not in plan, (sql, plan)
            assert "TEMP B-TREE" not in plan, (sql, plan)
            if index == "pkey":
                assert "USING INDEX" not in plan


@pytest.mark.parametrize(
    "query",
    [
        "nonsense=1",
        "nonsense%00=1",
        "kind=nonsense",
        "kind=%00",
        "kind__exact=locked",
        "kind__regex=(",
        "actor=nonsense",
        "actor=%00",
        "since=nonsense",
        "since=%00",
        "server=nonsense",
        "server=%00",
        "node=%00",
        "node=%FF",
        "detail__contains=a%00b",
        "detail__icontains=silent",
        "at__gte=nonsense",
        "at__year=0",
        "at__year=99999999999999999999999",
        "id=99999999999999999999999",
        "backup_uuid=nonsense",
        "backup_uuid__range=0",
        "q=%00",
        "q=a%00b&kind=locked",
        "q='; DROP TABLE x --",
        "q=%F0%9F%92%BE",
        "q=" + "a+" * 2000,
        "q=" + "%25" * 30_000,
        "q=" + "0" * 32,
        "p=0",
        "p=999",
        "p=%00",
        "o=%00",
        "o=99",
        "all=",
        "_facets=1",
        "_popup=1",
        "e=1",
    ],
)
def test_invalid_query_is_no_server_error(admin_client, backup, query):
    add_event(backup, K.LOCKED)

    answer = admin_client.get(f"{EVENTS}?{query}", follow=True)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "detail__icontains=x",
        "at__gte=2020-01-01",
        "backup_uuid__isnull=0",
        "kind=nonsense",
        "actor=nonsense",
        "since=year",
        "server=nonsense",
    ],
)
def test_what_is_not_offered_is_refused(admin_client, backup, query):
    add_event(backup, K.LOCKED, detail="x")

    assert admin_client.get(f"{EVENTS}?{query}")["Location"] == f"{EVENTS}?e=1"


def test_actions_of_the_whole_site_are_not_offered(admin_client, backup, monkeypatch):
    def blow_up(model_admin, request, queryset):
        raise AssertionError

    monkeypatch.setitem(admin.site._actions, "blow_up", blow_up)
    event = add_event(backup, K.LOCKED)

    answer = admin_client.get(EVENTS)
    assert 'name="action"' not in answer.content.decode()
    act = {"action": "blow_up", "_selected_action": [event.pk], "index": "0"}
    assert admin_client.post(EVENTS, act).status_code == 200


def everything():
    return list(BackupEvent.objects.order_by("pk").values())


@pytest.mark.parametrize("who", ["superuser", "all permissions", "view only"])
def test_events_are_neither_added_nor_changed_nor_deleted(client, admin_user, backup, who):
    event = add_event(backup, K.LOCKED, detail="as it was")
    if who == "superuser":
        client.force_login(admin_user)
    else:
        every = Permission.objects.values_list("codename", flat=True)
        client.force_login(
            user_with(*(every if who == "all permissions" else ["view_backupevent"]))
        )
    before = everything()
    changed = {"kind": "failed", "detail": "forged", "actor_name": "mallory", "_save": "Save"}

    assert client.get(EVENTS + "add/").status_code == 403
    assert client.post(EVENTS + "add/", changed).status_code == 403
    assert client.post(page_of_event(event), changed).status_code == 403
    for method in (client.get, client.post):
        assert method(page_of_event(event, "delete"), {"post": "yes"}).status_code == 403
    for index in ("0", ""):
        answer = client.post(
            EVENTS,
            {
                "action": "delete_selected",
                "_selected_action": [event.pk],
                "select_across": "1",
                "index": index,
                "post": "yes",
            },
        )
        assert answer.status_code == 200
    client.post(EVENTS, {"form-0-id": event.pk, "form-0-detail": "forged", "_save": "Save"})

    assert everything() == before
    page, list_ = client.get(page_of_event(event)), client.get(EVENTS)
    assert listed(list_) == {event.pk}
    assert 'name="action"' not in list_.content.decode()
    assert "Add backup event" not in text(list_)
    assert not re.search(r'name="(_save|_continue|detail|kind)"', page.content.decode())
    assert "as it was" in text(page)


def test_events_need_the_permission(client, backup):
    event = add_event(backup, K.LOCKED)
    client.force_login(user_with("view_backup", "change_backup", "delete_backup"))
    for page in (EVENTS, page_of_event(event), page_of_event(event, "history")):
        assert client.get(page).status_code == 403
    assert "backupevent" not in client.get("/admin/").content.decode()
    client.logout()
    assert client.get(EVENTS)["Location"].startswith("/admin/login/")


def test_page_of_an_event(admin_client, backup):
    event = add_event(
        backup,
        K.FAILED,
        at=dt.datetime(2025, 3, 2, 1, 2, 3, tzinfo=dt.UTC),
        actor=ActorKind.SWEEP,
        detail="silent for 7 h",
    )

    answer = admin_client.get(page_of_event(event))

    page = text(answer)
    for shown in (
        "March 2, 2025, 1:02 a.m.",
        "✕ Failed",
        "by the sweep",
        "silent for 7 h",
        str(backup.uuid),
        str(backup.server.uuid),
        "Valheim",
        "fra-1",
    ):
        assert shown in page
    assert f'href="{page_of(backup)}"' in answer.content.decode()


@pytest.mark.parametrize("key", ["0", "nonsense", "%00", "99999999999999999999999"])
def test_event_that_does_not_exist(admin_client, key):
    answer = admin_client.get(f"{EVENTS}{key}/change/", follow=True)

    assert answer.status_code == 200
    assert "doesn’t exist" in text(answer)


def test_names_and_details_are_escaped(admin_client, backup):
    bad = '<script>"x"</script>'
    event = add_event(
        backup,
        K.FAILED,
        detail=bad,
        actor=ActorKind.USER,
        actor_name=bad,
        server_name=bad,
        node_name=bad,
    )
    Backup.objects.update(name=bad)

    for page in (EVENTS, page_of_event(event), f"{EVENTS}?node={bad}", f"{EVENTS}?q={bad}"):
        content = admin_client.get(page).content.decode()
        assert "<script>&" not in content
        assert '<script>"x' not in content
        assert content.count("&lt;script&gt;&quot;x&quot;") >= 5


def test_address_of_the_list(admin_client, backup):
    event = add_event(backup, K.LOCKED, node_name="fra 1&2")
    add_event(backup, K.LOCKED)

    url = events_url(admin.site, node="fra 1&2")

    assert listed(admin_client.get(url)) == {event.pk}
    assert unescape(url).startswith(EVENTS)
