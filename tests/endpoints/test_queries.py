"""How many queries each call takes, and that none of them reads more of the table than it needs."""

from __future__ import annotations

import contextlib
import datetime as dt
import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.lifecycle.totals import renew_snapshot
from backups_remote.models import Backup
from backups_remote.types import Report
from tests.support.daemon import success
from tests.support.factories import BackupFactory, NodeFactory, ServerFactory
from tests.support.rows import remove

pytestmark = [pytest.mark.databases, pytest.mark.django_db]

#: How many backups there are, of which no hot query wants more than a few. SQLite tells no rows, but
#: its plan: fewer do.
CROWD = 600 if connection.vendor == "sqlite" else 3_000
SIZE = 1000


@pytest.fixture
def call(client, node):
    def send(method, backup, path="", **kwargs):
        answer = client.generic(
            method,
            f"/api/remote/backups/{backup.uuid}{path}",
            headers={"Authorization": f"Bearer {node.bearer_token}"},
            **kwargs,
        )
        assert answer.status_code in {200, 204}, answer.content
        return answer

    return send


@pytest.fixture
def pending(server, memory):
    return BackupFactory(server=server)


def ask(call, backup):
    return call("GET", backup, query_params={"size": SIZE}).json()


def upload(memory, ticket):
    return [
        {"etag": memory.put_part(url, b"x" * SIZE), "part_number": number}
        for number, url in enumerate(ticket["parts"], start=1)
    ]


def report(call, backup, parts):
    body = json.dumps(success(b"x" * SIZE, parts))
    return call("POST", backup, data=body, content_type="application/json")


@contextlib.contextmanager
def takes(*expected):
    """The statements that the block executes, by their first words. How a transaction begins and
    ends is left out: the test is in one already, where it is a savepoint."""
    with CaptureQueriesContext(connection) as queries:
        yield
    words = [query["sql"].split(None, 1)[0] for query in queries]
    assert tuple(w for w in words if w in {"SELECT", "UPDATE", "INSERT", "DELETE"}) == expected


LOOK_UPS = ("SELECT", "SELECT")
CHANGE = ("UPDATE", "INSERT")

# The minimum. Every call needs two look-ups: the node by its token, to say 401, and the backup
# among that node's, to say 404. What is written must be committed before the store is told, so no
# two of the writes can be one; each is an update and the event that tells of it. The names on the
# event come with the look-ups.


def test_first_get_takes_two_selects_and_one_change(call, pending):
    """The write keeps the new upload; it is guarded by what the look-up saw."""
    with takes(*LOOK_UPS, *CHANGE):
        ask(call, pending)


def test_repeated_get_takes_two_selects_and_one_update(call, pending):
    """The write notes the sign of life, before a sweep can take the upload for silent."""
    ask(call, pending)
    with takes(*LOOK_UPS, "UPDATE"):
        ask(call, pending)


def test_success_report_takes_two_selects_and_two_changes(call, pending, memory):
    """The report is recorded before the store is told, the end after the store has proven it."""
    parts = upload(memory, ask(call, pending))
    with takes(*LOOK_UPS, *CHANGE, *CHANGE):
        report(call, pending, parts)


def test_failure_report_takes_two_selects_and_two_changes(call, pending):
    """The failure is recorded before the upload is thrown away, that it is gone after."""
    ask(call, pending)
    with takes(*LOOK_UPS, *CHANGE, *CHANGE):
        call("POST", pending, data='{"successful": false}', content_type="application/json")


def test_success_report_on_wings_takes_two_selects_and_one_change(call, server):
    backup = BackupFactory(server=server, disk="wings")
    with takes(*LOOK_UPS, *CHANGE):
        report(call, backup, None)


def report_restore(call, backup):
    call("POST", backup, "/restore", data='{"successful": true}', content_type="text/plain")


def test_restore_report_takes_two_selects_and_one_change(call, pending):
    """The write itself looks whether the status is a restore's."""
    assert pending.server.begin_restore(pending)
    with takes(*LOOK_UPS, *CHANGE):
        report_restore(call, pending)
    # Two: of this backup, or of one that the row does not name.
    with takes(*LOOK_UPS, "UPDATE", "UPDATE"):
        report_restore(call, pending)


@pytest.mark.django_db(transaction=True)
def test_a_change_and_its_event_are_one_transaction(call, pending, django_assert_num_queries):
    """Its begin and its commit are all that comes on top."""
    with django_assert_num_queries(len([*LOOK_UPS, "BEGIN", *CHANGE, "COMMIT"])):
        ask(call, pending)


def test_parts_take_two_selects_and_one_write(call, pending):
    """The first call keeps the new upload, the next ones note the sign of life."""
    for first, written in ((1, CHANGE), (51, ["UPDATE"])):
        with takes(*LOOK_UPS, *written):
            call("GET", pending, "/s3/parts", query_params={"from_part": first})


def test_report_of_a_stream_takes_two_selects_and_two_changes(call, pending, memory):
    ticket = call("GET", pending, "/s3/parts", query_params={"from_part": 1}).json()
    parts = upload(memory, {"parts": ticket["parts"][:1]})
    with takes(*LOOK_UPS, *CHANGE, *CHANGE):
        report(call, pending, parts)


def test_deletion_report_that_changes_nothing_takes_two_selects(
    call, pending, django_assert_num_queries
):
    with django_assert_num_queries(2):
        call("POST", pending, "/deletion", data='{"successful": true}', content_type="text/plain")


def test_restart_takes_two_selects_and_one_update(client, node, django_assert_num_queries):
    """The restores to end are read after the node has its mark."""
    with django_assert_num_queries(3):
        answer = client.post(
            "/api/remote/servers/reset", headers={"Authorization": f"Bearer {node.bearer_token}"}
        )
    assert answer.status_code == 204


def test_restore_report_that_names_its_server_takes_no_more(call, pending, server):
    assert pending.server.begin_restore(pending)
    body = json.dumps({"successful": True, "server_uuid": str(server.uuid)})
    with takes(*LOOK_UPS, *CHANGE):
        call("POST", pending, "/restore", data=body, content_type="text/plain")


@pytest.mark.parametrize("parts", [1, 1000])
def test_query_count_is_independent_of_parts(call, pending, memory, settings, parts):
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "MAX_PART_SIZE": 5 * 1024**2}
    with takes(*LOOK_UPS, *CHANGE):
        answer = call("GET", pending, query_params={"size": parts * 5 * 1024**2})
    assert len(answer.json()["parts"]) == parts


# The plans


@pytest.fixture(params=["analysed", "never analysed"])
def crowd(memory, request):
    """As many whole backups.

    SQLite knows nothing of them unless somebody runs ANALYZE, and hardly anybody does.
    """
    if connection.vendor != "sqlite" and request.param != "analysed":
        pytest.skip("The server analyses its tables itself.")
    servers = [ServerFactory(node=NodeFactory()) for _ in range(30)]
    ended = timezone.now() - dt.timedelta(days=1)
    Backup.objects.bulk_create(
        [
            Backup(
                server=servers[n % 30],
                node=servers[n % 30].node,
                disk="memory",
                created_at=ended - dt.timedelta(minutes=n),
                completed_at=ended - dt.timedelta(minutes=n),
                is_successful=True,
            )
            for n in range(CROWD)
        ],
        batch_size=500,
    )
    # MariaDB keeps statistics of its own, and its ANALYZE would commit the test's rows.
    if request.param == "analysed" and connection.vendor != "mysql":
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {Backup._meta.db_table}")
    return servers


@contextlib.contextmanager
def statements():
    """Every statement on the table of backups that is executed, with its parameters."""
    seen = []

    def note(execute, sql, params, many, context):
        if Backup._meta.db_table in sql and sql.startswith(("SELECT", "UPDATE")):
            seen.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield seen


def rows_read(sql, params):
    """How many backups the statement reads, as the database itself counts them; SQLite cannot
    count, its plan must do."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
            return CROWD if any(_is_scan(row[3]) for row in cursor.fetchall()) else 0
        if connection.vendor == "postgresql":
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
            plan = cursor.fetchone()[0]
            return _read_by((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"])
        cursor.execute(f"ANALYZE FORMAT=JSON {sql}", params)
        return _tables_read(json.loads(cursor.fetchone()[0]))


def _is_scan(step):
    """A walk through the whole table, or through an index that holds all of it."""
    if any(f"INDEX {index.name}" in step for index in Backup._meta.indexes if index.condition):
        return False
    table = Backup._meta.db_table
    return f"{step} ".startswith(
        (f"SCAN {table} ", f"SEARCH {table} USING INTEGER PRIMARY KEY (rowid>")
    )


def _read_by(plan):
    own = 0
    if plan.get("Relation Name") == Backup._meta.db_table and plan["Node Type"] != "ModifyTable":
        removed = plan.get("Rows Removed by Filter", 0)
        own = (plan["Actual Rows"] + removed) * plan["Actual Loops"]
    return own + sum(map(_read_by, plan.get("Plans", ())))


def _tables_read(found):
    if isinstance(found, list):
        return sum(map(_tables_read, found))
    if not isinstance(found, dict):
        return 0
    own = 0
    if found.get("table_name", "") == Backup._meta.db_table:
        own = (found.get("r_rows") or 0) * (found.get("r_loops") or 1)
    return own + sum(_tables_read(value) for value in found.values())


def assert_frugal(seen, most=20):
    assert seen
    for sql, params in seen:
        assert rows_read(sql, params) <= most, sql


def test_full_table_scan_is_detected(crowd):
    with statements() as seen:
        list(Backup.objects.filter(name="nothing like it"))
    assert rows_read(*seen[0]) >= CROWD


def test_node_calls_read_only_their_backup(crowd, call, pending, memory):
    with statements() as seen:
        parts = upload(memory, ask(call, pending))
        ask(call, pending)
        report(call, pending, parts)
        call("POST", pending, "/restore", data='{"successful": true}', content_type="text/plain")
    assert_frugal(seen)


def test_streaming_calls_read_only_their_backup(crowd, call, pending):
    with statements() as seen:
        for first in (1, 51):
            call("GET", pending, "/s3/parts", query_params={"from_part": first})
        call("POST", pending, "/deletion", data='{"successful": true}', content_type="text/plain")
    assert_frugal(seen)


def test_failure_report_reads_only_its_backup(crowd, call, pending):
    ask(call, pending)
    with statements() as seen:
        call("POST", pending, data='{"successful": false}', content_type="application/json")
    assert_frugal(seen)


def test_start_backup_reads_only_backups_of_its_server(crowd):
    server = crowd[0]
    server.backup_limit = 5
    server.save()
    with statements() as seen:
        Backup.objects.filter(server=server)[5:].count()
        lifecycle.start_backup(ServerFactory(node=crowd[0].node, backup_limit=5))
    assert_frugal(seen[1:])


def test_sweep_reads_only_stale_rows(crowd, server, memory):
    """Each kind of row that it looks for is there once; in batches and counted."""
    long_ago = timezone.now() - dt.timedelta(days=30)
    for _ in range(2):
        lifecycle.request_upload(BackupFactory(server=server, created_at=long_ago), SIZE)
    Backup.objects.filter(completed_at=None).update(upload_started_at=long_ago)
    stuck, left_behind = Backup.objects.filter(completed_at=None)
    Backup.objects.filter(pk=left_behind.pk).update(completed_at=long_ago)
    ended = Backup.objects.filter(is_successful=True).order_by("pk").first()
    assert ended.begin_deletion()
    reported = BackupFactory(server=server, created_at=long_ago)
    ticket = lifecycle.request_upload(reported, SIZE)
    etag = memory.put_part(ticket.urls[0], b"x" * SIZE)
    assert reported.record_success(
        checksum="sha1:00", size=SIZE, etags=[etag], claimed_until=long_ago
    )
    orphan = BackupFactory(server=server)
    store = memory("memory")
    store.create_upload(store.object_key(server.uuid, orphan.uuid), "mark")
    remove(orphan)

    renew_snapshot()  # reads all rows, every few minutes
    with statements() as seen:
        assert lifecycle.count_stale(older_than=dt.timedelta(0)) == 4
        outcomes = list(lifecycle.sweep(older_than=dt.timedelta(0)))

    assert len(outcomes) == 5, outcomes
    assert_frugal(seen)
    stuck.refresh_from_db()
    assert stuck.state is Backup.State.FAILED


def test_sweep_of_one_disk_reads_only_its_stale_rows(crowd, pending, memory):
    lifecycle.request_upload(pending, SIZE)
    renew_snapshot()  # reads all rows, every few minutes
    with statements() as seen:
        list(lifecycle.sweep(older_than=dt.timedelta(0), disk="memory"))
        list(lifecycle.sweep(older_than=dt.timedelta(0), disk="wings"))
    assert_frugal(seen)


def test_rotation_reads_only_backups_of_its_server(crowd):
    server = ServerFactory(node=crowd[0].node, backup_limit=1)
    for _ in range(3):
        lifecycle.record_report(
            BackupFactory(server=server, disk="wings"),
            Report(successful=True, checksum="sha1:00", size=1),
        )
    with statements() as seen:
        lifecycle.rotate_backups(server)
    assert_frugal(seen)
