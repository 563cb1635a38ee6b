"""Fills a benchmark's database and prints, as JSON, the rows that the benchmark will use.

``python -m benchmarks.populate --nodes 4 --pending 100 --uploading 100 --filler 1000000``
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from pathlib import Path

import django
from django.utils import timezone

FEWEST_SERVERS = 25
SIZE = 1000
PART_SIZE = 5 * 1024**2


def main() -> None:
    """Parse the options, create the rows, print them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--disk", default="s3")
    parser.add_argument("--admin", type=int, default=0)
    for what in ("nodes", "pending", "uploading", "filler"):
        parser.add_argument(f"--{what}", type=int, default=1 if what == "nodes" else 0)
    parser.add_argument("--uploads", type=Path, help="A file of lines: object key, upload id.")
    wanted = parser.parse_args()
    django.setup()
    json.dump(populate(**vars(wanted)), sys.stdout)


def populate(*, disk, admin, nodes, pending, uploading, filler, uploads):
    """Create rows of each kind; ``pending`` and ``uploading`` are counts per node."""
    from backups_remote.models import Backup, Node, Server

    said = {"nodes": []}
    start = Node.objects.count()
    for number in range(start, start + nodes):
        node = Node.objects.create(name=f"node-{number}")
        servers = Server.objects.bulk_create(
            Server(name=f"server {number}.{n}", node=node, status="restoring_backup")
            for n in range(max(pending, uploading, FEWEST_SERVERS))
        )
        asking = [Backup(server=server, node=node, disk=disk) for server in servers[:pending]]
        sending = [_uploading(server, node, disk) for server in servers[:uploading]]
        Backup.objects.bulk_create([*asking, *sending], batch_size=500)
        said["nodes"].append(
            {
                "bearer": node.bearer_token,
                "pending": [str(b.uuid) for b in asking],
                "uploading": [str(b.uuid) for b in sending],
            }
        )
    if filler:
        _fill(Backup, servers, node, filler)
    if uploads:
        _add_uploads(Backup, servers[0], node, disk, uploads)
    if admin:
        said["session"] = _admin_session()
    return said


def _uploading(server, node, disk):
    from backups_remote.models import Backup

    backup = Backup(server=server, node=node, disk=disk, upload_size=SIZE, part_size=PART_SIZE)
    backup.upload_id = backup.upload_mark = backup.uuid.hex
    backup.object_key = f"{server.uuid}/{backup.uuid}.tar.gz"
    backup.upload_started_at = timezone.now()
    return backup


def _add_uploads(model, server, node, disk, uploads):
    started = timezone.now() - dt.timedelta(days=30)
    lines = uploads.read_text(encoding="utf-8").splitlines()
    model.objects.bulk_create(
        (
            model(
                uuid=key.rpartition("/")[2].removesuffix(".tar.gz"),
                server=server,
                node=node,
                disk=disk,
                object_key=key,
                upload_id=upload_id,
                upload_size=SIZE,
                part_size=PART_SIZE,
                upload_mark="mark",
                upload_started_at=started,
                created_at=started,
            )
            for key, upload_id in map(str.split, lines)
        ),
        batch_size=500,
    )


def _fill(model, servers, node, count):
    """Insert completed backups, a second apart, with one statement, as in a panel of some years."""
    from django.db import connection

    ended = timezone.now()
    first = model.objects.create(
        server=servers[0],
        node=node,
        disk="s3",
        name="nightly",
        size=SIZE,
        checksum=f"sha1:{'0' * 40}",
        is_successful=True,
        completed_at=ended,
    )
    quote = connection.ops.quote_name
    table = quote(model._meta.db_table)
    columns = [f.column for f in model._meta.concrete_fields if not f.primary_key]
    if connection.vendor == "postgresql":
        series = f"generate_series(1, {count - 1}) AS series(n)"
        special = {"uuid": "gen_random_uuid()", "created_at": "created_at - n * interval '1 s'"}
        special["completed_at"] = "completed_at - n * interval '1 s'"
    else:
        series = (
            "(WITH RECURSIVE s(n) AS "
            f"(SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count - 1}) "
            "SELECT n FROM s) AS series"
        )
        special = {
            "uuid": "lower(hex(randomblob(16)))",
            "created_at": "datetime(created_at, '-' || n || ' seconds')",
            "completed_at": "datetime(completed_at, '-' || n || ' seconds')",
        }
    special["server_id"] = f"{servers[0].pk} + n % {len(servers)}"
    chosen = ", ".join(special.get(column, quote(column)) for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(map(quote, columns))}) "
            f"SELECT {chosen} FROM {table}, {series} WHERE {table}.id = {first.pk}"
        )
        cursor.execute(f"ANALYZE {table}" if connection.vendor == "postgresql" else "ANALYZE")


def _admin_session():
    from django.contrib.auth import get_user_model
    from django.test import Client

    user = get_user_model().objects.create_superuser("bench", "bench@example.com", "bench")
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


if __name__ == "__main__":
    main()
