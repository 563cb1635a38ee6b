"""The operator's pages, as a browser without scripts would see them."""

import datetime as dt
import logging
import os
import re
import shlex
import uuid
from html import unescape
from io import StringIO

import pytest
import requests
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import resolve, reverse
from django.utils import timezone
from django.utils.html import strip_tags

from backups_remote import lifecycle
from backups_remote.admin import acting, listing, searching
from backups_remote.models import RESTORING, Backup, Node, Server
from tests.factories import BackupFactory, NodeFactory, ServerFactory

MIB = 1024**2
LIST = "/admin/backups_remote/backup/"
State = Backup.State

pytestmark = pytest.mark.django_db


def backup_in(state, **fields):
    """A row in ``state``; nothing of it is in a store."""
    now = timezone.now()
    upload = {
        "upload_id": "an-upload",
        "object_key": "a/key.tar.gz",
        "upload_size": 11 * MIB,
        "part_size": 5 * MIB,
        "upload_started_at": now,
    }
    of_state = {
        State.PENDING: {},
        State.UPLOADING: upload,
        State.REPORTED: {**upload, "reported_at": now, "size": 11 * MIB, "claimed_until": now},
        State.COMPLETED: {"completed_at": now, "is_successful": True, "size": 11 * MIB},
        State.FAILED: {"completed_at": now},
        State.DELETING: {"completed_at": now, "deletion_started_at": now},
    }[state]
    return BackupFactory(**{"disk": "wings", "name": f"a {state.value} one", **of_state, **fields})


def user_with(*codenames):
    user = User.objects.create_user("operator", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def page_of(backup, view="change"):
    return reverse(f"admin:backups_remote_backup_{view}", args=[backup.pk])


def listed(answer):
    assert answer.status_code == 200, answer
    return {backup.pk for backup in answer.context["cl"].result_list}


def said(answer):
    """The messages of the page that an action leads to."""
    return [str(message) for message in answer.context["messages"]]


def text(answer):
    return " ".join(unescape(strip_tags(answer.content.decode())).split())


@pytest.fixture
def act(admin_client):
    def act(action, backups, *, client=admin_client, query="", **fields):
        return client.post(
            LIST + query,
            {"action": action, "_selected_action": [b.pk for b in backups], **fields},
            follow=True,
        )

    return act


@pytest.fixture
def down(settings):
    """A disk whose store does not answer."""
    options = {
        "bucket_name": "backups",
        "endpoint_url": "http://127.0.0.1:9",
        "region_name": "us-east-1",
        "access_key": "key",
        "secret_key": "very-secret-indeed",
    }
    settings.STORAGES = {
        **settings.STORAGES,
        "down": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options},
    }
    return "down"


@pytest.fixture
def uploading(backup):
    """A backup with one of its three parts on the real store."""
    ticket = lifecycle.request_upload(backup, 11 * MIB)
    requests.put(ticket.urls[0], data=os.urandom(5 * MIB), timeout=60).raise_for_status()
    return backup


@pytest.fixture
def whole(server, disk):
    """A whole backup on the real store."""
    backup = BackupFactory(server=server, disk=disk, name="Whole")
    body = os.urandom(MIB)
    ticket = lifecycle.request_upload(backup, len(body))
    requests.put(ticket.urls[0], data=body, timeout=60).raise_for_status()
    assert [o.action for o in lifecycle.expire(Backup.objects.filter(pk=backup.pk))] == [
        "recovered"
    ]
    backup.refresh_from_db()
    return backup


# The list


def test_list_shows_each_state_as_a_word(admin_client):
    for state in State:
        backup_in(state)

    content = admin_client.get(LIST).content.decode()

    for state in State:
        badge = re.search(rf'data-state="{state.value}">(.*?)</span> ([\w ]+)</span>', content)
        assert badge[2] == state.label


def test_list_shows_sizes_for_people(admin_client):
    backup_in(State.COMPLETED, size=3 * 1024**3, is_locked=True, name="Nightly")
    backup_in(State.UPLOADING, upload_size=1536 * MIB)
    backup_in(State.FAILED, upload_size=77 * MIB)

    page = text(admin_client.get(LIST))

    assert "3.0\xa0GB" in admin_client.get(LIST).content.decode()
    assert "1.5 GB announced" in page
    assert "77" not in page
    assert page.count("Locked") == 1
    assert "0 minutes ago" in page


def queries_of(client, url):
    with CaptureQueriesContext(
        connection,
    ) as context:
        answer = client.get(url)
    assert answer.status_code == 200
    return [query["sql"] for query in context.captured_queries]


@pytest.mark.parametrize("query", ["", "?q=back", "?state=pending", "?created_at__year=2020"])
def test_number_of_queries_does_not_grow(admin_client, query):
    counts = set()
    for wanted in (1, 10, 100):
        while Backup.objects.count() < wanted:
            moment = timezone.now().replace(year=2020)
            BackupFactory(disk="wings", created_at=moment)
        counts.add(len(queries_of(admin_client, LIST + query)))
        assert len(listed(admin_client.get(LIST + query))) == wanted
    assert len(counts) == 1
    assert counts.pop() <= 15


@pytest.mark.parametrize("query", ["", "?o=7", "?o=-7", "?o=4", "?created_at__year=2020"])
def test_list_walks_the_index_and_never_sorts(admin_client, query):
    """Read off the database's own plan for what the page really asks."""
    if connection.vendor == "mysql":
        pytest.skip("MariaDB sorts a table this small whatever its indexes are.")
    BackupFactory.create_batch(20, disk="wings", created_at=timezone.now().replace(year=2020))
    asked = [
        sql
        for sql in queries_of(admin_client, LIST + query)
        if "LIMIT" in sql and 'FROM "backups_remote_backup"' in sql
    ]
    assert len(asked) >= 3
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
            explain = "EXPLAIN "
        else:
            explain = "EXPLAIN QUERY PLAN "
        for sql in asked:
            cursor.execute(explain + sql)
            plan = "\n".join(str(row) for row in cursor.fetchall())
            assert "backups_remote_newest" in plan, (sql, plan)
            assert "Sort" not in plan, (sql, plan)
            assert "TEMP B-TREE" not in plan, (sql, plan)


@pytest.mark.parametrize(
    "query",
    ["", "?q=back", "?state=completed", "?node=1&disk=wings", "?is_locked__exact=1", "?_facets=1"],
)
def test_list_asks_for_no_more_rows_than_it_lists(admin_client, query):
    node = NodeFactory(pk=1)
    BackupFactory(server=ServerFactory(node=node), disk="wings")

    of_backups = [
        sql
        for sql in queries_of(admin_client, LIST + query)
        if re.search(r"FROM .backups_remote_backup.", sql)
    ]

    assert of_backups
    for sql in of_backups:
        assert "DISTINCT" not in sql
        assert "COUNT(" not in sql
        assert "LIMIT" in sql or re.search(r"WHERE .* IN \(", sql), sql
        assert "reported_etags" not in sql


def test_list_says_where_it_is_cut(admin_client, monkeypatch):
    monkeypatch.setattr(listing, "LISTED", 3)
    monkeypatch.setattr("backups_remote.admin.BackupAdmin.list_per_page", 2)
    backups = BackupFactory.create_batch(4, disk="wings")
    newest_first = [b.pk for b in reversed(backups)]

    first, last = (admin_client.get(LIST, {"p": page}) for page in (1, 2))

    assert "There are more than these 3" in text(first)
    assert listed(first) == set(newest_first[:2])
    assert listed(last) == {newest_first[2]}
    assert admin_client.get(LIST, {"p": 3}).status_code == 302
    backups[0].delete()
    assert "There are more" not in text(admin_client.get(LIST))


@pytest.mark.parametrize("state", State)
def test_filter_by_state(admin_client, state):
    backups = {each: backup_in(each) for each in State}

    assert listed(admin_client.get(LIST, {"state": state.value})) == {backups[state].pk}


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="others have statistics to plan by")
@pytest.mark.parametrize(
    ("state", "index"),
    [(State.PENDING, "backups_remote_open"), (State.DELETING, "backups_remote_deleting")],
)
def test_rare_states_are_found_by_their_indexes(admin_client, state, index):
    backup_in(state)
    queries = queries_of(admin_client, f"{LIST}?state={state.value}")
    asked = next(sql for sql in queries if 'FROM "backups_remote_backup" WHERE' in sql)
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN " + asked)
        assert index in str(cursor.fetchall())


def test_filters(admin_client, disk):
    here = ServerFactory()
    elsewhere = ServerFactory()
    locked = backup_in(State.COMPLETED, server=here, is_locked=True)
    recovered = backup_in(State.COMPLETED, server=elsewhere, is_recovered=True, disk="s3")
    on_old_disk = backup_in(State.COMPLETED, server=elsewhere, disk="retired")

    def found(**query):
        return listed(admin_client.get(LIST, query))

    assert found(disk="wings") == {locked.pk}
    assert found(disk="s3") == {recovered.pk}
    assert found(disk="retired") == {on_old_disk.pk}
    assert found(node=here.node_id) == {locked.pk}
    assert found(is_locked__exact=1) == {locked.pk}
    assert found(is_recovered__exact=1) == {recovered.pk}
    assert found(server__id__exact=here.pk) == {locked.pk}
    assert found(disk="s3", state="completed", node=elsewhere.node_id) == {recovered.pk}
    page = text(admin_client.get(LIST))
    assert "By disk All wings s3 By node" in page


@pytest.mark.parametrize(
    "query",
    [
        "state=nonsense",
        "node=0",
        "node=nonsense",
        "node=1%00",
        "is_locked__exact=2",
        "server__id__exact=nonsense",
        "created_at__year=0",
        "created_at__year=9999",
        "created_at__year=99999",
        "created_at__year=nonsense",
        "created_at__year=2025&created_at__month=13",
        "created_at__year=2025&created_at__month=2&created_at__day=30",
        "created_at__month=nonsense",
        "nonsense=1",
        "uuid__exact=nonsense",
        "p=0",
        "p=999",
    ],
)
def test_nonsense_in_the_address_is_no_server_error(admin_client, query):
    BackupFactory(disk="wings")

    answer = admin_client.get(f"{LIST}?{query}", follow=True)

    assert answer.status_code == 200


# The search


@pytest.mark.parametrize(
    "written",
    [str, lambda u: u.hex, lambda u: str(u).upper(), lambda u: u.hex.upper(), lambda u: f" {u}  "],
)
def test_search_by_uuid(admin_client, written):
    BackupFactory(disk="wings", name=str(uuid.uuid4()))
    wanted = BackupFactory(disk="wings")

    assert listed(admin_client.get(LIST, {"q": written(wanted.uuid)})) == {wanted.pk}
    assert listed(admin_client.get(LIST, {"q": written(wanted.server.uuid)})) == {wanted.pk}
    assert listed(admin_client.get(LIST, {"q": written(wanted.node.uuid)})) == {wanted.pk}
    assert listed(admin_client.get(LIST, {"q": written(uuid.uuid4())})) == set()


def test_search_by_uuid_uses_its_index(admin_client):
    backup = BackupFactory(disk="wings")
    queries = queries_of(admin_client, f"{LIST}?q={backup.uuid}")
    assert not [sql for sql in queries if "LIKE" in sql]
    if connection.vendor == "sqlite":
        asked = next(sql for sql in queries if '"backups_remote_backup"."uuid" = ' in sql)
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + asked)
            plan = str(cursor.fetchall())
        assert "SCAN" not in plan
        assert "uuid=?" in plan


def test_search_by_name(admin_client):
    valheim = ServerFactory(name="Valheim 7", node=NodeFactory(name="fra-1"))
    survival = ServerFactory(name="Survival", node=NodeFactory(name="ams-1"))
    a = BackupFactory(server=valheim, disk="wings", name="Before the boss")
    b = BackupFactory(server=survival, disk="wings", name="Before 1.21")
    c = BackupFactory(server=survival, disk="wings", name="100% done_now")

    def found(phrase):
        return listed(admin_client.get(LIST, {"q": phrase}))

    assert found("valheim") == {a.pk}
    assert found("Valheim 7") == {a.pk}
    assert found("fra-1") == {a.pk}
    assert found("-1") == {a.pk, b.pk, c.pk}
    assert found("before") == {a.pk, b.pk}
    assert found("before survival") == {b.pk}
    assert found("ams 1.21") == {b.pk}
    assert found("1.21 valheim") == set()
    assert found("   ") == {a.pk, b.pk, c.pk}
    assert found("%") == {c.pk}
    assert found("_") == {c.pk}


@pytest.mark.parametrize(
    "phrase", ["nonsense", "'", '"', "\\", "{}", "a\x00b", "💾", "0" * 32, "'; DROP TABLE x --"]
)
def test_search_for_nonsense_finds_nothing(admin_client, phrase):
    BackupFactory(disk="wings", name="Nightly")

    answer = admin_client.get(LIST, {"q": phrase})

    assert answer.status_code == 200
    assert "\x00" in phrase or listed(answer) == set()


def test_search_goes_with_filters(admin_client):
    failed = backup_in(State.FAILED, name="Nightly")
    backup_in(State.COMPLETED, name="Nightly")

    assert listed(admin_client.get(LIST, {"q": "nightly", "state": "failed"})) == {failed.pk}


@pytest.mark.parametrize("one_by_one", [0, 1000])
def test_search_finds_old_backups_by_server_and_newest_by_name(
    admin_client, monkeypatch, one_by_one
):
    monkeypatch.setattr(searching, "READ_FOR_NAMES", 2)
    monkeypatch.setattr(searching, "_NAMED_ONE_BY_ONE", one_by_one)
    server = ServerFactory(name="Valheim", node=NodeFactory(name="fra-1"))
    old, *newer = BackupFactory.create_batch(3, server=server, disk="wings", name="Nightly")
    BackupFactory(disk="wings", created_at=timezone.now() - dt.timedelta(days=9), name="Nightly")

    assert listed(admin_client.get(LIST, {"q": "nightly"})) == {b.pk for b in newer}
    for phrase in ("valheim", "fra-1"):
        assert listed(admin_client.get(LIST, {"q": phrase})) == {b.pk for b in (old, *newer)}


def test_search_lists_the_first_in_either_order(admin_client, monkeypatch):
    for module in (searching, listing):
        monkeypatch.setattr(module, "LISTED", 2)
    monkeypatch.setattr(searching, "READ_FOR_NAMES", 4)
    server = ServerFactory(name="Valheim")
    backups = BackupFactory.create_batch(6, server=server, disk="wings")

    newest_first = admin_client.get(LIST, {"q": "valheim"})
    oldest_first = admin_client.get(LIST, {"q": "valheim", "o": 7})

    assert listed(newest_first) == {b.pk for b in backups[-2:]}
    assert listed(oldest_first) == {b.pk for b in backups[:2]}
    assert "There are more than these 2" in text(newest_first)


# The dates


def moment(*date, **time):
    value = dt.datetime(*date, **time)  # noqa: DTZ001
    return timezone.make_aware(value)


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


def test_dates_lead_to_their_backups_and_keep_the_filters(admin_client):
    wanted = backup_in(State.FAILED, created_at=moment(2024, 5, 1))
    backup_in(State.FAILED, created_at=moment(2025, 5, 1))
    backup_in(State.COMPLETED, created_at=moment(2024, 5, 1))

    answer = admin_client.get(LIST, {"state": "failed"})
    for title in ("2024", "May 2024", "May 1"):
        links = dict(re.findall(r'<a href="(\?[^"]*)">([^<]*)</a>', answer.content.decode()))
        link = next(link for link, found in links.items() if found == title)
        answer = admin_client.get(LIST + unescape(link))
        assert listed(answer) == {wanted.pk}


def test_dates_begin_where_there_is_a_choice(admin_client):
    assert dates_on(admin_client) == (None, [])
    BackupFactory(disk="wings", created_at=moment(2024, 5, 3))
    BackupFactory(disk="wings", created_at=moment(2024, 5, 4))
    assert dates_on(admin_client) == ("2024", ["May 3", "May 4"])
    BackupFactory(disk="wings", created_at=moment(2024, 7, 4))
    assert dates_on(admin_client) == ("All dates", ["May 2024", "June 2024", "July 2024"])


def test_dates_are_those_of_the_time_zone(admin_client, settings):
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


# A backup's page


def test_page_of_a_backup(admin_client):
    backup = backup_in(
        State.UPLOADING, upload_mark="a-mark", ignored_files=["*.log", "<b>/"], name="Nightly"
    )

    answer = admin_client.get(page_of(backup))
    page = text(answer)

    assert "11.0 MB (11,534,336 bytes)" in page
    assert "3 of up to 5.0 MB" in page
    assert "*.log<b>/" in page
    assert "an-upload" in page
    assert "a-mark" not in answer.content.decode()
    assert str(backup.uuid) in page
    assert reverse("admin:backups_remote_server_change", args=[backup.server_id]) in (
        answer.content.decode()
    )
    assert 'data-state="uploading"' in answer.content.decode()


@pytest.mark.parametrize("state", State)
def test_page_of_each_state(admin_client, state):
    answer = admin_client.get(page_of(backup_in(state)))

    assert answer.status_code == 200
    assert "None" not in text(answer)


def test_only_the_name_is_edited(admin_client):
    backup = backup_in(State.COMPLETED, checksum="sha1:abc")
    before = Backup.objects.filter(pk=backup.pk).values().get()
    other = ServerFactory()
    fields = {
        field.attname: other.pk if field.is_relation else "1" for field in Backup._meta.fields
    }

    answer = admin_client.post(page_of(backup), {**fields, "name": "Renamed", "state": "failed"})

    assert answer.status_code == 302
    after = Backup.objects.filter(pk=backup.pk).values().get()
    assert after.pop("updated_at") > before.pop("updated_at")
    assert {k: v for k, v in after.items() if before[k] != v} == {"name": "Renamed"}


@pytest.mark.parametrize(
    ("factory", "fields", "saved"),
    [
        (BackupFactory, {"name": "New"}, {"name", "updated_at"}),
        (ServerFactory, {"name": "New"}, {"name", "updated_at"}),
        (NodeFactory, {"name": "New"}, {"name", "updated_at"}),
    ],
)
def test_saving_does_not_overwrite_what_moved_on_meanwhile(admin_client, factory, fields, saved):
    row = factory()
    url = reverse(f"admin:backups_remote_{row._meta.model_name}_change", args=[row.pk])
    form = {**fields, "url": "", "status": ""}
    if isinstance(row, Server):
        form["node"] = row.node_id

    with CaptureQueriesContext(connection) as context:
        assert admin_client.post(url, form).status_code == 302

    (update,) = [
        query["sql"]
        for query in context.captured_queries
        if re.match(rf"UPDATE .{row._meta.db_table}.", query["sql"])
    ]
    assert set(re.findall(r"[`\"](\w+)[`\"] = ", update.partition("WHERE")[0])) == saved


def test_backups_are_not_added(admin_client):
    assert admin_client.get(LIST + "add/").status_code == 403
    assert admin_client.post(LIST + "add/", {"name": "x"}).status_code == 403
    assert not Backup.objects.exists()
    assert "Add backup" not in text(admin_client.get(LIST))


# Who may do what


def test_viewers_see_and_do_nothing(client):
    backup = backup_in(State.COMPLETED)
    client.force_login(user_with("view_backup"))

    answer = client.get(LIST)
    assert listed(answer) == {backup.pk}
    assert 'name="action"' not in answer.content.decode()
    for action in ("lock", "unlock", "expire", "delete_selected"):
        client.post(LIST, {"action": action, "_selected_action": [backup.pk], "post": "yes"})
    assert client.post(page_of(backup), {"name": "x"}).status_code == 403
    for method in (client.get, client.post):
        assert method(page_of(backup, "delete")).status_code == 403
    assert client.get(page_of(backup)).status_code == 200
    assert Backup.objects.values_list("name", "is_locked").get() == (backup.name, False)


@pytest.mark.parametrize(
    ("permission", "actions"),
    [("change_backup", {"lock", "unlock", "expire"}), ("delete_backup", {"delete_selected"})],
)
def test_actions_need_their_permission(client, act, permission, actions):
    backup = backup_in(State.COMPLETED)
    client.force_login(user_with("view_backup", permission))

    offered = set(re.findall(r'<option value="(\w+)">', client.get(LIST).content.decode()))

    assert offered & {"lock", "unlock", "expire", "delete_selected"} == actions
    if permission == "change_backup":
        act("delete_selected", [backup], client=client, post="yes")
        assert client.post(page_of(backup, "delete"), {"post": "yes"}).status_code == 403
        assert Backup.objects.filter(pk=backup.pk).exists()
    else:
        act("lock", [backup], client=client)
        assert not Backup.objects.get().is_locked


def test_strangers_are_sent_to_the_login(client):
    assert client.get(LIST)["Location"].startswith("/admin/login/")


# What can be done


def test_lock_and_unlock(act, admin_client):
    completed = backup_in(State.COMPLETED, name="Nightly")
    pending = backup_in(State.PENDING, name="Tonight")
    failed = backup_in(State.FAILED, name="Unlucky")
    locked = backup_in(State.COMPLETED, is_locked=True, name="Kept")

    answer = act("lock", [completed, pending, failed, locked])

    assert sorted(said(answer)) == [
        "2 backups were locked.",
        "Not done: Kept. It is locked already.",
        "Not done: Unlucky. There is no archive to protect.",
    ]
    assert set(Backup.objects.filter(is_locked=True)) == {completed, pending, locked}

    answer = act("unlock", [completed, failed])

    assert said(answer) == ["1 backup was unlocked.", "Not done: Unlucky. It is not locked."]
    assert set(Backup.objects.filter(is_locked=True)) == {pending, locked}
    history = text(admin_client.get(page_of(completed, "history")))
    assert history.index("Locked.") < history.index("Unlocked.")


def test_expire_settles_what_is_whole_and_aborts_the_rest(act, uploading, server, open_uploads):
    whole = BackupFactory(server=server, disk="s3", name="Whole")
    body = os.urandom(MIB)
    ticket = lifecycle.request_upload(whole, len(body))
    requests.put(ticket.urls[0], data=body, timeout=60).raise_for_status()
    ended = backup_in(State.COMPLETED, name="Long done")
    pending = backup_in(State.PENDING)

    answer = act("expire", [uploading, whole, ended, pending])

    for backup, state in (
        (uploading, State.FAILED),
        (whole, State.COMPLETED),
        (pending, State.FAILED),
        (ended, State.COMPLETED),
    ):
        backup.refresh_from_db()
        assert backup.state is state
    assert whole.is_recovered
    assert open_uploads() == []
    done, refused = said(answer)
    assert done.startswith("3 backups: ")
    assert "2 failed" in done
    assert "1 recovered" in done
    assert refused == "Not done: Long done. There is nothing to expire."


def test_expire_while_the_store_is_down(act, down):
    lost = backup_in(State.UPLOADING, disk=down, name="Out of reach")
    unknown = backup_in(State.UPLOADING, disk="nowhere", name="Nowhere")

    answer = act("expire", [lost, unknown])

    assert answer.status_code == 200
    assert len(said(answer)) == 2
    assert all(message.startswith("Not done: ") for message in said(answer))
    assert "very-secret-indeed" not in " ".join(said(answer))
    lost.refresh_from_db()
    assert lost.state is State.UPLOADING


def test_delete_asks_first(act, whole, s3, store):
    locked = backup_in(State.COMPLETED, is_locked=True, name="Kept")
    pending = backup_in(State.PENDING, name="Tonight")

    answer = act("delete_selected", [whole, locked, pending])

    page = text(answer)
    assert "1 backup and its archive will be deleted." in page
    assert "The others stay" in page
    assert "The backup is locked." in page
    assert "The backup has not ended yet." in page
    assert "Archives on a node's own disk stay there" in page
    content = answer.content.decode()
    assert re.findall(r'name="_selected_action" value="(\d+)"', content) == [str(whole.pk)]
    assert Backup.objects.count() == 3
    assert s3.head_object(Bucket=store.bucket, Key=whole.object_key)


def test_delete_deletes_archive_and_row(act, whole, s3, store):
    pk = whole.pk
    locked = backup_in(State.COMPLETED, is_locked=True, name="Kept")
    pending = backup_in(State.PENDING, name="Tonight")

    answer = act("delete_selected", [whole, locked, pending], post="yes")

    assert said(answer)[0] == "1 backup was deleted."
    assert sorted(said(answer)[1:]) == [
        "Not done: Kept. The backup is locked.",
        "Not done: Tonight. The backup has not ended yet.",
    ]
    assert set(Backup.objects.all()) == {locked, pending}
    found = s3.list_objects_v2(Bucket=store.bucket, Prefix=whole.object_key)
    assert found["KeyCount"] == 0
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.object_repr, entry.is_deletion()) == (str(pk), "Whole", True)


def test_delete_while_the_store_is_down(act, down):
    backup = backup_in(State.COMPLETED, disk=down, object_key="a/key.tar.gz", name="Out of reach")

    (complaint,) = said(act("delete_selected", [backup], post="yes"))

    assert complaint.startswith("Not done: Out of reach. ")
    assert "the next sweep goes on with it" in complaint
    assert "very-secret-indeed" not in complaint
    backup.refresh_from_db()
    assert backup.state is State.DELETING
    assert not LogEntry.objects.exists()


def test_delete_from_the_page_goes_through_the_lifecycle(admin_client, whole, s3, store):
    assert "1 backup and its archive will be deleted." in text(
        admin_client.get(page_of(whole, "delete"))
    )
    assert Backup.objects.filter(pk=whole.pk).exists()

    answer = admin_client.post(page_of(whole, "delete"), {"post": "yes"}, follow=True)

    assert said(answer) == ["1 backup was deleted."]
    assert not Backup.objects.exists()
    found = s3.list_objects_v2(Bucket=store.bucket, Prefix=whole.object_key)
    assert found["KeyCount"] == 0


def test_delete_from_the_page_respects_the_lock(admin_client):
    backup = backup_in(State.COMPLETED, is_locked=True, name="Kept")

    page = admin_client.get(page_of(backup, "delete"))
    assert "Nothing of this can be deleted now." in text(page)
    assert 'type="submit" value="Yes' not in page.content.decode()
    answer = admin_client.post(page_of(backup, "delete"), {"post": "yes"}, follow=True)

    assert said(answer) == ["Not done: Kept. The backup is locked."]
    assert answer.redirect_chain[-1][0] == page_of(backup)
    assert Backup.objects.get() == backup


@pytest.mark.parametrize("method", ["get", "post"])
def test_delete_of_what_is_gone(admin_client, method):
    answer = getattr(admin_client, method)(LIST + "4711/delete/", follow=True)

    assert said(answer) == ["This backup does not exist; it may have been deleted."]


def test_delete_of_what_goes_meanwhile(whole):
    same = Backup.objects.get(pk=whole.pk)
    lifecycle.delete_backup(whole)

    tally = acting.delete([same])

    assert tally.done == [same]
    assert not tally.refused


def test_no_way_around_the_lifecycle(admin_client, rf):
    """Other code that holds the admin deletes as we do."""
    from django.contrib import admin

    from backups_remote.exceptions import BackupLocked

    backup = backup_in(State.COMPLETED, is_locked=True)
    model_admin = admin.site.get_model_admin(Backup)
    with pytest.raises(BackupLocked):
        model_admin.delete_model(rf.get("/"), backup)
    with pytest.raises(BackupLocked):
        model_admin.delete_queryset(rf.get("/"), Backup.objects.all())
    assert Backup.objects.get() == backup


@pytest.mark.parametrize("verb", [acting.lock, acting.unlock])
@pytest.mark.parametrize("state", [State.COMPLETED, State.DELETING])
def test_lock_of_what_goes_meanwhile(verb, state):
    gone, other = (
        backup_in(state, name="Nightly"),
        backup_in(State.COMPLETED, is_locked=verb is acting.unlock),
    )
    Backup.objects.filter(pk=gone.pk).delete()

    tally = verb([gone, other])

    assert list(tally.complaints()) == ["Not done: Nightly. It was deleted meanwhile."]
    assert tally.done == [other]


def test_too_many_at_once_are_refused(act, monkeypatch):
    monkeypatch.setattr(acting, "AT_ONCE", 2)
    backups = [backup_in(State.COMPLETED) for _ in range(3)]

    for action in ("lock", "unlock", "expire", "delete_selected"):
        answer = act(action, backups, post="yes", select_across=1)
        assert said(answer) == ["Nothing was done: no more than 2 backups can be selected at once."]
    assert Backup.objects.filter(is_locked=False).count() == 3
    assert said(act("lock", backups[:2])) == ["2 backups were locked."]


def test_actions_end_in_time(act, monkeypatch):
    monkeypatch.setattr(acting, "PATIENCE", -1)
    backups = [backup_in(State.PENDING, name=f"No. {n}") for n in range(12)]

    for action in ("lock", "expire"):
        (complaint,) = said(act(action, backups))
        assert "and 2 more. There was no time left" in complaint
        assert "No. 1" in complaint
    assert Backup.objects.pending().filter(is_locked=False).count() == 12


@pytest.mark.parametrize("url", [LIST, LIST + "1/delete/"])
def test_no_transaction_is_around_store_calls(url):
    """Under ATOMIC_REQUESTS too."""
    assert resolve(url).func._non_atomic_requests == {"default"}


# Nodes and servers


def test_tokens_are_nowhere_in_the_admin(admin_client, caplog):
    caplog.set_level(logging.DEBUG)
    add = reverse("admin:backups_remote_node_add")
    answers = [
        admin_client.get(add),
        admin_client.post(add, {"name": "born", "url": "nonsense nonsense"}),
        admin_client.post(add, {"name": "born", "url": "n.example"}),
    ]
    node = Node.objects.get()
    token, bearer = node.token, node.bearer_token
    server = ServerFactory(node=node)
    backup = backup_in(State.COMPLETED, server=server)
    change = reverse("admin:backups_remote_node_change", args=[node.pk])
    autocomplete = "?app_label=backups_remote&model_name=server&field_name=node&term="
    answers += [
        admin_client.get(reverse("admin:backups_remote_node_changelist")),
        admin_client.post(change, {"name": "", "url": "https://n.example"}),
        admin_client.post(
            change,
            {
                "name": "renamed",
                "url": "https://n.example",
                "token_id": "guessed",
                "encrypted_token": "guessed",
            },
        ),
        *(
            admin_client.get(url)
            for url in (
                reverse("admin:backups_remote_node_changelist"),
                change,
                reverse("admin:backups_remote_node_history", args=[node.pk]),
                reverse("admin:backups_remote_node_delete", args=[node.pk]),
                reverse("admin:backups_remote_server_change", args=[server.pk]),
                page_of(backup),
                reverse("admin:autocomplete") + autocomplete,
                reverse("admin:index"),
            )
        ),
        admin_client.get(f"{change[: -len('change/')]}token/", follow=True),
    ]

    assert {answer.status_code for answer in answers} == {200, 302}
    everywhere = [answer.content.decode() + answer.cookies.output() for answer in answers]
    everywhere += [entry.get_change_message() for entry in LogEntry.objects.all()]
    everywhere += [str(dict(admin_client.session)), caplog.text]
    assert LogEntry.objects.count() == 2
    for secret in (token, bearer, node.encrypted_token):
        assert not [place for place in everywhere if secret in place]
    node.refresh_from_db()
    assert (node.name, node.bearer_token) == ("renamed", bearer)


@pytest.mark.parametrize(
    ("model", "lookup"),
    [
        ("node", "encrypted_token__startswith"),
        ("node", "encrypted_token"),
        ("server", "node__encrypted_token__startswith"),
        ("backup", "node__encrypted_token__startswith"),
        ("backup", "server__node__encrypted_token__startswith"),
    ],
)
def test_tokens_cannot_be_guessed_by_filtering(admin_client, node, model, lookup):
    url = reverse(f"admin:backups_remote_{model}_changelist")

    assert admin_client.get(url, {lookup: "g"}).status_code == 400


def test_added_node_is_told_how_to_get_its_token(admin_client):
    add = reverse("admin:backups_remote_node_add")
    form = text(admin_client.get(add))
    assert "Daemon URL" in form
    assert "UUID" not in form  # it would be that of no node

    answer = admin_client.post(add, {"name": "fra-1", "url": "n.example"}, follow=True)

    assert Node.objects.get().url == "https://n.example"
    assert "was added successfully" in said(answer)[0]
    assert (
        "What goes into the daemon's config.yml is printed, once, by "
        "manage.py create_node --rotate fra-1"
    ) in text(answer)


@pytest.mark.parametrize("name", ["fra-1", "-fra", "--url=x", "it's <b>$(one)</b>", "Größe 1"])
def test_command_on_the_page_gives_a_new_token(admin_client, name):
    NodeFactory(name="another")
    node = NodeFactory(name=name)

    page = admin_client.get(reverse("admin:backups_remote_node_change", args=[node.pk]))

    (command,) = re.findall(r'<code translate="no">(.*?)</code>', page.content.decode())
    program, *words = shlex.split(unescape(command))
    assert program == "manage.py"
    printed = StringIO()
    call_command(*words, stdout=printed)
    old = node.bearer_token
    node.refresh_from_db()
    assert node.bearer_token != old
    assert f"token: {node.token}\n" in printed.getvalue()


def test_servers_are_listed_with_their_counts(admin_client, django_assert_num_queries):
    busy, idle = ServerFactory(backup_limit=5), ServerFactory(status=RESTORING)
    for state in (State.COMPLETED, State.PENDING, State.FAILED, State.DELETING):
        backup_in(state, server=busy)
    url = reverse("admin:backups_remote_server_changelist")

    answer = admin_client.get(url)

    counts = {server: server.counted_backups for server in answer.context["cl"].result_list}
    assert counts == {busy: 2, idle: 0}
    assert RESTORING in text(answer)
    before = len(queries_of(admin_client, url))
    for server in ServerFactory.create_batch(10):
        backup_in(State.COMPLETED, server=server)
    assert len(queries_of(admin_client, url)) == before


def test_servers_are_added_and_edited(admin_client, node):
    add = reverse("admin:backups_remote_server_add")
    chosen = uuid.uuid4()
    form = {"name": "Valheim", "uuid": chosen, "node": node.pk, "status": "", "backup_limit": "3"}
    assert admin_client.post(add, form).status_code == 302
    server = Server.objects.get()
    assert (server.uuid, server.node, server.status, server.backup_limit) == (chosen, node, None, 3)

    change = reverse("admin:backups_remote_server_change", args=[server.pk])
    form |= {"uuid": uuid.uuid4(), "status": "transferring", "backup_limit": ""}
    assert admin_client.post(change, form).status_code == 302
    server.refresh_from_db()
    assert (server.uuid, server.status, server.backup_limit) == (chosen, "transferring", None)


def test_nodes_are_completed_while_typing(admin_client):
    NodeFactory(name="fra-1")
    NodeFactory(name="ams-1")
    query = {"app_label": "backups_remote", "model_name": "server", "field_name": "node"}

    answer = admin_client.get(reverse("admin:autocomplete"), {**query, "term": "fra"})

    assert [result["text"] for result in answer.json()["results"]] == ["fra-1"]


@pytest.mark.parametrize("kind", ["server", "node"])
def test_what_has_backups_is_not_deleted_and_only_some_are_named(admin_client, kind):
    backups = BackupFactory.create_batch(12, server=ServerFactory(), disk="wings")
    row = getattr(backups[0], kind)
    url = reverse(f"admin:backups_remote_{kind}_delete", args=[row.pk])
    changelist = reverse(f"admin:backups_remote_{kind}_changelist")
    action = {"action": "delete_selected", "_selected_action": [row.pk]}

    for page in (
        admin_client.get(url),
        admin_client.post(url, {"post": "yes"}),
        admin_client.post(changelist, action),
        admin_client.post(changelist, {**action, "post": "yes"}),
    ):
        assert page.status_code == 200
        assert f"Cannot delete {kind}" in text(page)
        assert text(page).count("Backup: ") == 10
        assert "and more backups" in text(page)
    assert Node.objects.count() == Server.objects.count() == 1


@pytest.mark.parametrize("factory", [ServerFactory, NodeFactory])
def test_what_has_no_backups_is_deleted(admin_client, factory):
    row = factory()
    url = reverse(f"admin:backups_remote_{row._meta.model_name}_delete", args=[row.pk])

    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert not type(row).objects.exists()


def test_pages_in_another_language(admin_client, settings):
    settings.LANGUAGE_CODE = "de"
    backup = backup_in(State.COMPLETED, created_at=moment(2024, 5, 3))
    backup_in(State.COMPLETED, created_at=moment(2024, 7, 3))

    page = text(admin_client.get(LIST))

    assert "Mai 2024" in page
    assert admin_client.get(page_of(backup)).status_code == 200
