"""The admin's pages with ten million events, on SQLite and PostgreSQL.

Run as ``python -m benchmarks.events`` by its own steps, it adds the events to a database that has
the backups, and prints as JSON which of them the pages are about.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import django

from benchmarks.figures import Figure, Section
from benchmarks.growth import on_postgresql, on_sqlite
from benchmarks.panel import ROOT, environment, manage, populate, running_panel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BACKUPS = 1_000_000
#: Kind, actor and detail of the events of each backup, oldest first.
LIFE = (
    ("created", "code", "on the disk s3"),
    ("upload_started", "node", "1,000 bytes in parts of 5,242,880 bytes"),
    ("reported", "node", "1,000 bytes, sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ("completed", "node", "1,000 bytes"),
    ("locked", "user", ""),
    ("download_link_issued", "user", ""),
    ("restore_started", "user", "1,000 bytes"),
    ("restore_completed", "node", ""),
    ("unlocked", "user", ""),
    ("copy_accepted", "command", 'an object with the ETag "d41d8cd98f00b204e9800998ecf8427e"'),
)
EVENTS = BACKUPS * len(LIFE)
#: How many events one backup has besides.
MANY_OF_ONE = 5_000
BAR = 300


def run(environ: dict[str, str], scratch: Path, progress: Callable[[str], None]) -> Section:
    """The times of the pages that show events."""
    section = Section(f"{EVENTS:,} events of {BACKUPS:,} backups")
    for title, databases in (("SQLite", on_sqlite(scratch)), ("PostgreSQL", on_postgresql())):
        try:
            with databases as (_few, many):
                env = environment(many, environ)
                manage("migrate", env=env)
                said = populate(env, disk="instant", filler=BACKUPS, admin=1)
                start = time.perf_counter()
                known = _add_events(env)
                progress(f"{title}: events made in {time.perf_counter() - start:.0f} s")
                with running_panel(env) as address:
                    for page, path in _pages(known):
                        seconds = _time(address, said["session"], path)
                        progress(f"{title}: {page}")
                        section.figures.append(
                            Figure(f"{title}: {page}", seconds * 1000, BAR, unit=" ms")
                        )
        except ConnectionError as error:
            section.notes.append(f"{title} was not measured: {error}.")
    return section


def _pages(known: dict[str, Any]) -> Iterator[tuple[str, str]]:
    page, events = "/admin/backups_remote/backup/{}/change/", "/admin/backups_remote/backupevent/?"
    few, many = known["few"], known["many"]
    yield "a backup with its timeline", page.format(few["pk"])
    yield f"one with {MANY_OF_ONE:,} events", page.format(many["pk"])
    yield "the list of events", events
    yield "its 10th page", f"{events}p=10"
    yield "filtered by a frequent kind", f"{events}kind=completed"
    yield "filtered by a kind of which there is none", f"{events}kind=forgotten"
    yield "filtered by time: the last 7 days", f"{events}since=week"
    yield "a search for a server's name", f"{events}q=server+0.7"
    yield "a search for a name that nothing has", f"{events}q=nothing"
    yield "a search by a server's uuid", f"{events}{urlencode({'q': known['server']})}"
    yield "a search by a backup's uuid", f"{events}{urlencode({'q': few['uuid']})}"
    yield (
        f"by that of one with {MANY_OF_ONE:,} events, and a kind",
        (f"{events}{urlencode({'q': many['uuid'], 'kind': 'forgotten'})}"),
    )


def _time(address: tuple[str, int], session: str, path: str) -> float:
    """The median time of five requests, after one that warms up."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        connection.request("GET", path, headers={"Cookie": f"sessionid={session}"})
        answer = connection.getresponse()
        answer.read()
        times.append(time.perf_counter() - start)
        if answer.status != 200:
            raise RuntimeError(f"The admin answered {answer.status} to {path!r}.")
    connection.close()
    return statistics.median(times[1:])


def _add_events(env: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.events"]
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Fill the database of the environment; print the backups that the pages are about."""
    django.setup()
    from django.db import connection

    from backups_remote.models import Backup, BackupEvent

    indexes = BackupEvent._meta.indexes
    # Built at the end, which takes a tenth of the time of adding to them.
    with connection.schema_editor() as editor:
        for index in indexes:
            editor.remove_index(BackupEvent, index)
    # The oldest first, as they happened. No column is named whose type depends on the database.
    life = " UNION ALL ".join(
        f"SELECT {n} AS n, '{kind}' AS kind, '{actor}' AS actor, '{detail}' AS detail"
        for n, (kind, actor, detail) in enumerate(LIFE)
    )
    insert = (
        "INSERT INTO backups_remote_backupevent (at, kind, actor, actor_name, detail, "
        "backup_uuid, server_uuid, server_name, node_name)"
    )
    many, few = Backup.objects.order_by("created_at")[BACKUPS // 2 : BACKUPS // 2 + 2]
    with connection.cursor() as cursor:
        cursor.execute(
            f"{insert} SELECT b.created_at, life.kind, life.actor, 'operator', life.detail, "
            "b.uuid, s.uuid, s.name, n.name FROM backups_remote_backup AS b "
            "JOIN backups_remote_server AS s ON s.id = b.server_id "
            f"JOIN backups_remote_node AS n ON n.id = b.node_id CROSS JOIN ({life}) AS life "
            "ORDER BY b.created_at, b.id, life.n"
        )
        cursor.execute(
            f"{insert} SELECT at, 'report_refused', 'node', 'node-0', detail, %s, server_uuid, "
            f"server_name, node_name FROM backups_remote_backupevent WHERE id <= {MANY_OF_ONE}",
            [many.uuid if connection.vendor == "postgresql" else many.uuid.hex],
        )
    with connection.schema_editor() as editor:
        for index in indexes:
            editor.add_index(BackupEvent, index)
    with connection.cursor() as cursor:
        # As PostgreSQL does by itself soon, which would disturb what is measured.
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    said = {name: {"pk": b.pk, "uuid": str(b.uuid)} for name, b in (("many", many), ("few", few))}
    json.dump({**said, "server": str(few.server.uuid)}, sys.stdout)


if __name__ == "__main__":
    main()
