"""The list of backups: columns, filters, queries."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from backups_remote.admin import changelist
from backups_remote.models import Backup
from tests.admin.pages import LIST, backup_in, listed, queries_of, text
from tests.support.factories import BackupFactory, NodeFactory, ServerFactory
from tests.support.rows import remove

pytestmark = [pytest.mark.databases, pytest.mark.django_db]

MIB = 1024**2
State = Backup.State
#: Without the summary, which has tests of its own.
ALONE = LIST + "?_popup=1"


def test_list_shows_each_state_as_a_word(admin_client):
    for state in State:
        backup_in(state)

    content = admin_client.get(ALONE).content.decode()

    for state in State:
        badge = re.search(rf'data-state="{state.value}">(.*?)</span> ([\w ]+)</span>', content)
        assert badge[2] == state.label


def test_list_shows_readable_sizes(admin_client):
    ago = timezone.now() - dt.timedelta(minutes=3, seconds=5)
    backup_in(State.COMPLETED, size=3 * 1024**3, is_locked=True, name="Nightly", created_at=ago)
    backup_in(State.UPLOADING, upload_size=1536 * MIB)
    backup_in(State.FAILED, upload_size=77 * MIB)
    backup_in(State.UPLOADING, upload_size=None, name="Streamed")

    page = text(admin_client.get(ALONE))

    assert "3.0\xa0GB" in admin_client.get(ALONE).content.decode()
    assert "1.5 GB announced" in page
    assert page.count("not known yet") == 1
    assert "77.0" not in page
    assert page.count("Locked") == 1
    assert "3 minutes ago" in page


@pytest.mark.parametrize("query", ["", "?q=back", "?state=pending", "?created_at__year=2020"])
def test_query_count_is_independent_of_rows(admin_client, query):
    counts = set()
    for wanted in (1, 10, 100):
        while Backup.objects.count() < wanted:
            moment = timezone.now().replace(year=2020)
            BackupFactory(disk="wings", created_at=moment)
        counts.add(len(queries_of(admin_client, LIST + query)))
        assert len(listed(admin_client.get(LIST + query))) == wanted
    assert len(counts) == 1
    assert counts.pop() <= 23


@pytest.mark.parametrize("query", ["", "&o=7", "&o=-7", "&o=4", "&created_at__year=2020"])
def test_list_walks_the_index_and_never_sorts(admin_client, query):
    """Read off the database's own plan for what the page really asks."""
    if connection.vendor == "mysql":
        pytest.skip("MariaDB sorts a table this small whatever its indexes are.")
    BackupFactory.create_batch(20, disk="wings", created_at=timezone.now().replace(year=2020))
    asked = [
        sql
        for sql in queries_of(admin_client, ALONE + query)
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
    ["", "&q=back", "&state=completed", "&node=1&disk=wings", "&is_locked__exact=1", "&_facets=1"],
)
def test_list_asks_for_no_more_rows_than_it_lists(admin_client, query):
    node = NodeFactory(pk=1)
    BackupFactory(server=ServerFactory(node=node), disk="wings")

    of_backups = [
        sql
        for sql in queries_of(admin_client, ALONE + query)
        if re.search(r"FROM .backups_remote_backup.", sql)
    ]

    assert of_backups
    for sql in of_backups:
        assert "DISTINCT" not in sql
        assert "COUNT(" not in sql
        assert "LIMIT" in sql or re.search(r"WHERE .* IN \(", sql), sql
        assert "reported_etags" not in sql


def test_list_names_its_row_limit(admin_client, monkeypatch):
    monkeypatch.setattr(changelist, "LISTED", 3)
    monkeypatch.setattr("backups_remote.admin.BackupAdmin.list_per_page", 2)
    backups = BackupFactory.create_batch(4, disk="wings")
    newest_first = [b.pk for b in reversed(backups)]

    first, last = (admin_client.get(LIST, {"p": page}) for page in (1, 2))

    assert "There are more than these 3" in text(first)
    assert listed(first) == set(newest_first[:2])
    assert listed(last) == {newest_first[2]}
    assert admin_client.get(LIST, {"p": 3}).status_code == 302
    remove(backups[0])
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
        "state=%00",
        "node=0",
        "node=nonsense",
        "node=1%00",
        "node=%00",
        "disk=%00",
        "disk=a%00b&q=x",
        "is_locked__exact=2",
        "is_locked__exact=%00",
        "server__id__exact=nonsense",
        "server__id__exact=%00",
        "created_at__year=0",
        "created_at__month=0",
        "created_at__day=0",
        "created_at__year=9999",
        "created_at__year=99999",
        "created_at__year=nonsense",
        "created_at__year=%00",
        "created_at__month=13",
        "created_at__day=32",
        "created_at__day=99999999999999999999999",
        "created_at__day=99999999999999999999999&q=x",
        "created_at__year=2025&created_at__month=13",
        "created_at__year=2025&created_at__day=0",
        "created_at__year=2025&created_at__month=2&created_at__day=30",
        "created_at__month=nonsense",
        "created_at__year=2025&created_at__year=0",
        "completed_at__year=0",
        "created_at__iso_year=0",
        "ignored_files__contains=%00",
        "ignored_files__a%00b=1",
        "uuid__exact=nonsense",
    ],
)
def test_invalid_query_of_backup_list_is_no_server_error(admin_client, query):
    BackupFactory(disk="wings")

    answer = admin_client.get(f"{LIST}?{query}", follow=True)

    assert answer.status_code == 200


@pytest.mark.parametrize("model", ["backup", "server", "node"])
@pytest.mark.parametrize(
    "query",
    [
        "nonsense=1",
        "nonsense%00=1",
        "q=%00",
        "p=0",
        "p=999",
        "p=%00",
        "o=%00",
        "o=99",
        "id=%00",
        "id=nonsense",
        "id=99999999999999999999999",
        "name=%00",
        "name__contains=a%00b",
        "name__in=%00",
        "name__range=0",
        "name__range=",
        "name__regex=(",
        "name__iregex=[",
        "created_at__contains=%00",
        "created_at__year=0",
        "created_at__year=99999999999999999999999",
        "updated_at__year=0",
        "updated_at__month=13",
        "updated_at__day=0",
        "updated_at__gte=nonsense",
        "updated_at__isnull=nonsense",
        "uuid=%00",
    ],
)
def test_invalid_query_is_no_server_error(admin_client, model, query):
    BackupFactory(disk="wings")
    url = reverse(f"admin:backups_remote_{model}_changelist")

    answer = admin_client.get(f"{url}?{query}", follow=True)

    assert answer.status_code == 200
