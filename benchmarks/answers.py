"""A request for upload URLs from end to end: over HTTP, under gunicorn, with a real store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks import presigning
from benchmarks.figures import Figure, Section, milliseconds
from benchmarks.panel import environment, manage, populate, running_panel
from benchmarks.small import Client
from benchmarks.timing import ROUNDS, Times, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from panel_site.seaweedfs import Store

PART_COUNTS = (1, 10, 100, 1_000, 3_000, 10_000)
PART_SIZE = 5 * 1024**2


def run(store: Store, scratch: Path, progress: Callable[[str], None]) -> tuple[Section, dict]:
    """The figures at 10,000 parts, and the times at each part count for the plot."""
    env = environment(f"sqlite:///{scratch / 'answers.sqlite3'}", store.environment)
    manage("migrate", env=env)
    node = populate(env, pending=len(PART_COUNTS) * 2 * (ROUNDS + 1))["nodes"][0]
    backups = iter(node["pending"])
    floor = _Floor(store)
    curve: dict[int, Times] = {}
    with running_panel(env) as address:
        client = Client(address, node["bearer"])
        for count in PART_COUNTS:

            def ask(path: str = "", count: int = count) -> None:
                where = f"/api/remote/backups/{next(backups)}{path}?size={count * PART_SIZE}"
                answer = json.loads(client.call("GET", where))
                assert len(answer["parts"]) == count

            curve[count] = side_by_side(
                {
                    "ours": ask,
                    "plain DRF + boto3": lambda ask=ask: ask("/plain"),
                    "floor": lambda count=count: floor(count),
                }
            )
            progress(f"{count:,} parts")
    return _figures(curve[PART_COUNTS[-1]]), curve


class _Floor:
    """The least work: bare signing, one create call, and JSON; no HTTP, no database, no Django."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.client = store.client()
        self.urls = presigning.ours(PART_COUNTS[-1])

    def __call__(self, count: int) -> str:
        self.client.create_multipart_upload(Bucket=self.store.bucket, Key=presigning.KEY)
        presigning.floor(count)
        return json.dumps({"parts": self.urls[:count], "part_size": PART_SIZE})


def _figures(times: Times) -> Section:
    ours, plain, floor = times["ours"], times["plain DRF + boto3"], times["floor"]
    section = Section(f"The whole answer for {PART_COUNTS[-1]:,} parts, over HTTP")
    section.figures += [
        Figure(
            "Times faster than plain DRF + boto3",
            times.ratio("plain DRF + boto3", "ours"),
            15,
            milliseconds(ours),
            f"{milliseconds(plain)} plain",
            at_least=True,
        ),
        Figure(
            "Time, beside presigning floor + JSON + create call",
            times.ratio("ours", "floor"),
            3,
            milliseconds(ours),
            f"{milliseconds(floor)} floor",
        ),
    ]
    return section
