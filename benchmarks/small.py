"""Small requests, beside an empty view: a GET for one part, a report, a restore."""

from __future__ import annotations

import http.client
import itertools
import json
import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, Section, milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS, CALLS, _WARM_UP = 9, 120, 10
SIZE = 1000
BAR = 1.5
REPORT = json.dumps(
    {
        "checksum": "a" * 40,
        "checksum_type": "sha1",
        "size": SIZE,
        "successful": True,
        "parts": [{"etag": '"d41d8cd98f00b204e9800998ecf8427e"', "part_number": 1}],
    }
)
RESTORE = '{"successful":true}'
#: Rows that one node needs for a run, warm-up included.
ROWS = (ROUNDS + 1) * CALLS


class Client:
    """A node's persistent connection, as daemons have one."""

    def __init__(self, address: tuple[str, int], bearer: str) -> None:
        self.connection = http.client.HTTPConnection(*address, timeout=180)
        self.headers = {
            "Authorization": f"Bearer {bearer}",
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "Pterodactyl Wings/v1.12.0",
        }

    def call(self, method: str, path: str, body: str | None = None) -> bytes:
        """Make a call that must succeed; return the body."""
        self.connection.request(method, path, body, self.headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status not in {200, 204}:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:500]!r}")
        return content


def calls(client: Client, node: dict) -> dict[str, Callable[[], object]]:
    """The requests of a node. Each call uses another row."""
    base = "/api/remote/backups"
    asking: Iterator[str] = iter(node["pending"])
    sending: Iterator[str] = iter(node["uploading"])
    # Each backup has its own server, which is being restored.
    restoring: Iterator[str] = iter(node["uploading"])
    return {
        "empty GET": lambda: client.call("GET", "/api/remote/empty"),
        "empty POST": lambda: client.call("POST", "/api/remote/empty", RESTORE),
        "GET": lambda: client.call("GET", f"{base}/{next(asking)}?size={SIZE}"),
        "report": lambda: client.call("POST", f"{base}/{next(sending)}", REPORT),
        "restore": lambda: client.call("POST", f"{base}/{next(restoring)}/restore", RESTORE),
    }


def medians(
    contestants: dict[str, Callable[[], object]],
    *,
    rounds: int = ROUNDS,
    calls: int = CALLS,
    on_round: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """The median time of each contestant. They take turns, one call each."""
    for call in contestants.values():
        for _ in range(_WARM_UP):
            call()
    seen: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for _, (name, call) in itertools.product(range(calls), contestants.items()):
            start = time.perf_counter()
            call()
            seen[name].append(time.perf_counter() - start)
        on_round()
    return {name: statistics.median(times) for name, times in seen.items()}


def figures(times: dict[str, float]) -> Section:
    """Ratios to the time of the empty view with the same method."""
    section = Section("Small requests")
    for name in ("GET", "report", "restore"):
        empty = times["empty GET" if name == "GET" else "empty POST"]
        section.figures.append(
            Figure(
                f"{name}, own time",
                times[name] / empty,
                BAR,
                milliseconds(times[name]),
                f"{milliseconds(empty)} empty view",
            )
        )
    return section
