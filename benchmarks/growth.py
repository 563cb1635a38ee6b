"""Requests and admin pages with a million backups, on SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import http.client
import os
import statistics
import time
import uuid
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from benchmarks import small
from benchmarks.figures import Figure, Section, milliseconds
from benchmarks.panel import environment, manage, populate, running_panel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FEW, MANY = 1_000, 1_000_000
REQUESTS = ("GET", "report", "restore")
ROUNDS, CALLS = 7, 60
#: A PostgreSQL server, with a user that may create databases.
POSTGRESQL = os.environ.get("BENCH_POSTGRESQL_URL", "postgres://postgres@127.0.0.1:5432/postgres")


def run(environ: dict[str, str], scratch: Path, progress: Callable[[str], None]) -> Section:
    """Ratios of request times to those with few rows, and times of the admin's pages."""
    section = Section(f"{MANY:,} backups in the table instead of {FEW:,}")
    for title, databases in (("SQLite", on_sqlite(scratch)), ("PostgreSQL", on_postgresql())):
        try:
            with databases as (few, many):
                _measure(section, title, (few, many), environ, progress)
        except ConnectionError as error:
            section.notes.append(f"{title} was not measured: {error}.")
    return section


def _measure(section, title, urls, environ, progress):
    with contextlib.ExitStack() as panels:
        times = {}
        calls = {}
        for url, filler in zip(urls, (FEW, MANY), strict=True):
            env = environment(url, environ)
            manage("migrate", env=env)
            rows = (ROUNDS + 1) * CALLS
            options = {"disk": "instant", "pending": rows, "uploading": rows}
            said = populate(env, **options, filler=filler, admin=1)
            progress(f"{title}: {filler:,} rows made")
            address = panels.enter_context(running_panel(env))
            client = small.Client(address, said["nodes"][0]["bearer"])
            calls[filler] = small.calls(client, said["nodes"][0])
        contestants = {
            f"{name} {filler}": calls[filler][name] for name in REQUESTS for filler in calls
        }
        times = small.medians(
            contestants, rounds=ROUNDS, calls=CALLS, on_round=lambda: progress(f"{title}: requests")
        )
        for name in REQUESTS:
            few, many = times[f"{name} {FEW}"], times[f"{name} {MANY}"]
            section.figures.append(
                Figure(
                    f"{title}: {name}",
                    many / few,
                    1.2,
                    milliseconds(many),
                    f"{milliseconds(few)} at {FEW:,}",
                )
            )
        # The list is measured with the summary of a sweep, as it is with a cron line.
        start = time.perf_counter()
        manage("expire_stale_uploads", env=env)
        section.notes.append(
            f"{title}: a sweep that counts {MANY:,} backups for the admin took "
            f"{time.perf_counter() - start:.1f} s, with the start of Python and Django."
        )
        progress(f"{title}: sweep")
        known = said["nodes"][0]["pending"][0]
        for page, query in _admin_pages(known):
            seconds = _page(address, said["session"], query)
            progress(f"{title}: {page}")
            section.figures.append(
                Figure(f"{title}: {page}", seconds * 1000, 300, unit=" ms"),
            )


def _admin_pages(known: str):
    yield "the admin's list, with its summary", ""
    yield "its 10th page", "?p=10"
    yield "filtered by state: failed", "?state=failed"
    yield "a search by uuid", f"?q={known}"
    yield "a search for a server's name", "?q=server+0.7"


def _page(address, session: str, query: str) -> float:
    connection = http.client.HTTPConnection(*address, timeout=60)
    headers = {"Cookie": f"sessionid={session}"}
    times = []
    for _ in range(6):
        start = time.perf_counter()
        connection.request("GET", f"/admin/backups_remote/backup/{query}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        times.append(time.perf_counter() - start)
        if answer.status != 200:
            raise RuntimeError(f"The admin's list answered {answer.status} to {query!r}.")
        if not query and b"The sweep counted" not in body:
            raise RuntimeError("The admin's list has no summary of what the sweep counted.")
    connection.close()
    return statistics.median(times[1:])


@contextlib.contextmanager
def on_sqlite(scratch: Path) -> Iterator[tuple[str, str]]:
    """The URLs of two databases, for few rows and for many."""
    few, many = scratch / "few.sqlite3", scratch / "many.sqlite3"
    yield f"sqlite:///{few}", f"sqlite:///{many}"
    many.unlink()


@contextlib.contextmanager
def on_postgresql() -> Iterator[tuple[str, str]]:
    """The URLs of two databases, dropped afterwards; ConnectionError if there is no server."""
    try:
        import psycopg
    except ImportError:
        raise ConnectionError("psycopg is not installed") from None
    names = [f"bench_{size}_{uuid.uuid4().hex[:8]}" for size in ("few", "many")]
    try:
        server = psycopg.connect(POSTGRESQL, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError:
        raise ConnectionError("no server answers at BENCH_POSTGRESQL_URL") from None
    with server:
        try:
            for name in names:
                server.execute(f'CREATE DATABASE "{name}"')
            yield tuple(urlunsplit(urlsplit(POSTGRESQL)._replace(path=f"/{n}")) for n in names)
        finally:
            for name in names:
                server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
