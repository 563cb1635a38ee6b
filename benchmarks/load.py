"""Load: 200 concurrent nodes that back up repeatedly, simulated by one event loop."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import statistics
import sys
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.figures import Figure, Section, milliseconds
from benchmarks.panel import environment, manage, populate, running_panel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from panel_site.seaweedfs import Store

NODES, SECONDS, CEILING_SECONDS = 200, 60, 15
WORKERS, THREADS = 2, 8
#: More than two cores complete in a minute, also if some nodes are served more than others.
BACKUPS_A_NODE = 400
ARCHIVE = os.urandom(1000)


class Connection:
    """A persistent HTTP/1.1 connection."""

    def __init__(self, host: str, port: int) -> None:
        self._where = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return status, headers by lower-case name, and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._where)
        reader, writer = self._streams
        head = [f"{method} {path} HTTP/1.1", f"Host: {self._where[0]}:{self._where[1]}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        head += [f"Content-Length: {len(body)}", "", ""]
        writer.write("\r\n".join(head).encode() + body)
        status = int((await reader.readline()).split()[1])
        answer = {}
        while line := (await reader.readline()).strip():
            name, _, value = line.decode().partition(":")
            answer[name.lower()] = value.strip()
        content = await reader.readexactly(int(answer.get("content-length", 0)))
        if answer.get("connection", "").lower() == "close":
            self.close()
        return status, answer, content

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Fleet:
    """All nodes, with the times and errors of their requests."""

    def __init__(self, address: tuple[str, int], nodes: list[dict], seconds: float) -> None:
        self.address = address
        self.nodes = nodes
        self.seconds = seconds
        self.times: dict[str, list[float]] = defaultdict(list)
        self.errors: Counter[str] = Counter()

    async def run(self, life: Callable) -> None:
        """Run ``life`` for every node until the time is over."""
        self.over = time.monotonic() + self.seconds
        await asyncio.gather(*(life(self, node) for node in self.nodes))

    async def ask(self, panel, node, kind, method, path, body=b"", expected=204):
        """One timed call to the panel; its body, or None if it failed."""
        headers = {
            "Authorization": f"Bearer {node['bearer']}",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }
        start = time.perf_counter()
        try:
            status, _, content = await panel.call(method, path, headers, body)
        except (OSError, EOFError, IndexError) as error:
            panel.close()
            self.errors[f"{kind}: {type(error).__name__}"] += 1
            return None
        self.times[kind].append(time.perf_counter() - start)
        if status != expected:
            self.errors[f"{kind}: {status} {content[:200]!r}"] += 1
            return None
        return content


async def backing_up(fleet: Fleet, node: dict) -> None:
    """Back up repeatedly: request URLs, upload, report, report a restore."""
    panel = Connection(*fleet.address)
    store = None
    checksum = hashlib.sha1(ARCHIVE).hexdigest()
    for backup in node["pending"]:
        if time.monotonic() > fleet.over:
            return
        base = f"/api/remote/backups/{backup}"
        answer = await fleet.ask(
            panel, node, "GET", "GET", f"{base}?size={len(ARCHIVE)}", expected=200
        )
        if answer is None:
            continue
        url = urlsplit(json.loads(answer)["parts"][0])
        store = store or Connection(url.hostname, url.port)
        headers = {"Content-Type": "application/x-gzip"}
        put = await store.call("PUT", f"{url.path}?{url.query}", headers, ARCHIVE)
        parts = [{"etag": put[1].get("etag", ""), "part_number": 1}]
        report = {"checksum": checksum, "checksum_type": "sha1", "size": len(ARCHIVE)}
        body = json.dumps({**report, "successful": True, "parts": parts}).encode()
        await fleet.ask(panel, node, "report", "POST", base, body)
        await fleet.ask(panel, node, "restore", "POST", f"{base}/restore", b'{"successful":true}')
    fleet.errors["a node ran out of backups: raise BACKUPS_A_NODE"] += 1


async def calling_empty(fleet: Fleet, node: dict) -> None:
    """Call the empty view repeatedly."""
    panel = Connection(*fleet.address)
    while time.monotonic() < fleet.over:
        await fleet.ask(panel, node, "empty", "GET", "/api/remote/empty", expected=200)


def play(life: str, address: tuple[str, int], nodes: list[dict], seconds: float) -> dict:
    """Run a fleet in this process; return its times and errors."""
    fleet = Fleet(address, nodes, seconds)
    asyncio.run(fleet.run({"backups": backing_up, "empty": calling_empty}[life]))
    return {"times": fleet.times, "errors": fleet.errors}


def run(store: Store, scratch: Path, progress: Callable[[str], None]) -> Section:
    """Errors, tail latency and throughput."""
    env = environment(f"sqlite:///{scratch / 'load.sqlite3'}", store.environment)
    manage("migrate", env=env)
    nodes = populate(env, nodes=NODES, pending=BACKUPS_A_NODE)["nodes"]
    progress("rows made")
    with running_panel(env, workers=WORKERS, threads=THREADS) as address:
        play("empty", address, nodes, 1)
        empty = play("empty", address, nodes, CEILING_SECONDS)
        progress("the empty view's ceiling")
        lived = play("backups", address, nodes, SECONDS)
        progress(f"{SECONDS} s of backups")
    section = Section(f"{NODES} nodes at once, {SECONDS} s, {WORKERS} gunicorn workers")
    errors = lived["errors"] + empty["errors"]
    section.figures.append(Figure("Errors", float(errors.total()), 0, unit=""))
    for kind, times in lived["times"].items():
        cuts = statistics.quantiles(times, n=100)
        section.figures.append(
            Figure(
                f"{kind}: p99 beside p50",
                cuts[98] / cuts[49],
                10,
                f"{milliseconds(cuts[98])} p99",
                f"{milliseconds(cuts[49])} p50",
            )
        )
    requests = sum(map(len, lived["times"].values())) / SECONDS
    ceiling = len(empty["times"]["empty"]) / CEILING_SECONDS
    section.notes.append(
        f"{requests:,.0f} requests a second, {requests / ceiling:.0%} of the {ceiling:,.0f} a "
        "second that the empty view reaches. Every report among them is of a backup that was "
        "uploaded. Panel, store and all 200 nodes share the machine's cores."
    )
    section.notes += [f"{count} × {error}" for error, count in errors.most_common(5)]
    return section


if __name__ == "__main__":
    sys.exit("Run it through: python -m benchmarks --only load")
