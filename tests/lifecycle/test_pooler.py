"""Through PgBouncer, which may give each transaction another session."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys

import pytest
from django.db import ProgrammingError, connection, connections
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.models import Backup
from backups_remote.sql import keys_of
from backups_remote.types import SweepAction
from panel_site.gunicorn import ROOT
from panel_site.ports import held_ports
from tests.support.databases import as_user, directory_of, installed, which
from tests.support.factories import ServerFactory
from tests.support.memory import (
    MemoryBackend,
    completed_backup,
    set_age,
    success,
    uploaded,
    uploading_backup,
)
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.torture,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PgBouncer is for PostgreSQL"),
    pytest.mark.usefixtures("memory"),
]

#: More rows than Django fetches at a time.
MANY = 5_000


def answers(port):
    import psycopg

    told = connection.settings_dict
    try:
        psycopg.connect(
            host="127.0.0.1", port=port, user=told["USER"], dbname=told["NAME"], connect_timeout=5
        ).close()
    except psycopg.Error:
        return False
    return True


@pytest.fixture(autouse=True)
def pooler():
    """This process' connections go through it, until the test ends."""
    program = installed("pgbouncer", lambda: which("pgbouncer"))
    own = connections["default"]
    told = own.settings_dict
    with directory_of("postgres") as here, held_ports(1) as held:
        (port,) = held.numbers
        (here / "users").write_text(f'"{told["USER"]}" "{told["PASSWORD"]}"\n', encoding="utf-8")
        (here / "ini").write_text(
            f"""
            [databases]
            * = host={told["HOST"]} port={told["PORT"]}
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {port}
            unix_socket_dir =
            auth_type = trust
            auth_file = {here / "users"}
            pool_mode = transaction
            default_pool_size = 4
            min_pool_size = 4
            server_round_robin = 1
            ignore_startup_parameters = extra_float_digits,options
            """.replace("            ", ""),
            encoding="utf-8",
        )
        command = [*as_user("postgres"), program, here / "ini"]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.leash", *map(str, command)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        kept = {"HOST": told["HOST"], "PORT": told["PORT"]}
        try:
            wait_until(lambda: answers(port), "an answer of PgBouncer")
            own.close()
            for settings in (told, connections.settings["default"]):
                settings.update(HOST="127.0.0.1", PORT=port)
            wait_until(lambda: len(sessions()) > 1, "a second session")
            yield
        finally:
            own.close()
            for settings in (told, connections.settings["default"]):
                settings.update(kept)
            process.stdin.close()
            process.wait(30)


def sessions():
    """The sessions that ten statements are given."""
    found = set()
    for _ in range(10):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            found.add(cursor.fetchone()[0])
    return found


def create_many():
    server = ServerFactory()
    rows = (Backup(server=server, node=server.node, disk="memory") for _ in range(MANY))
    Backup.objects.bulk_create(rows, batch_size=1000)


def test_cursor_outside_a_transaction_is_lost():
    """What ``keys_of`` is there for."""
    create_many()
    with pytest.raises(ProgrammingError, match="does not exist"):
        list(Backup.objects.values_list("pk", flat=True).iterator())


def test_keys_are_read_whatever_their_number():
    create_many()
    assert len(keys_of(Backup.objects.order_by("pk"))) == MANY


def test_life_of_a_backup():
    backup = lifecycle.start_backup(ServerFactory())
    uploaded_one = uploaded(backup.server)
    lifecycle.record_report(uploaded_one, success(uploaded_one))
    assert lifecycle.start_restore(uploaded_one)
    lifecycle.cancel_restore(uploaded_one)
    lifecycle.delete_backup(uploaded_one)
    assert not MemoryBackend.objects


def test_sweep_of_many():
    create_many()
    Backup.objects.update(created_at=timezone.now() - dt.timedelta(days=30))
    for make in (uploaded, uploading_backup):
        set_age(make(), days=30)
    assert completed_backup().begin_deletion()
    actions = [outcome.action for outcome in lifecycle.sweep()]
    assert actions.count(SweepAction.FAILED) == MANY + 1
    assert actions.count(SweepAction.RECOVERED) == 1
    assert actions.count(SweepAction.DELETED) == 1
    assert SweepAction.ERROR not in actions


def test_copies_are_accepted():
    for _ in range(3):
        backup = completed_backup()
        MemoryBackend.objects[backup.object_key].etag = "of a copy"
    assert all(outcome.is_accepted for outcome in lifecycle.accept_copies("memory"))
