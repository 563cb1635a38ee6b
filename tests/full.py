"""``make full``: everything that the gate leaves out, part by part, and a table at the end.

``ONLY=stores,torture-postgresql make full`` runs some. A part that fails does not keep the next
ones from running. Parts of one process each run two at a time. The whole output of each part is in
``var/full/``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from panel_site.gunicorn import ROOT
from tests.support.databases import running_databases

LOGS = ROOT / "var/full"
PYTEST = (sys.executable, "-m", "pytest", "-q")
NOX = (sys.executable, "-m", "nox", "--session")
WHOLE = (
    *PYTEST,
    "-n",
    "2",
    "--dist",
    "worksteal",
    "-m",
    "not torture and not once and not browser",
)
TORTURE = (*PYTEST, "-s", "-m")


@dataclass(frozen=True)
class Part:
    """A command; ``database`` says which server's URL it is given, ``variable`` under which name."""

    name: str
    command: tuple[str, ...]
    database: str = ""
    variable: str = "DATABASE_URL"
    environment: dict[str, str] = field(default_factory=dict)
    #: Whether it is one process, which leaves the second core to another such part.
    is_single: bool = False


PARTS = [
    Part("sqlite", ("make", "test")),
    Part("postgresql", WHOLE, "POSTGRES_URL"),
    Part("mariadb", WHOLE, "MARIADB_URL"),
    Part("replica", (*WHOLE, "--ds=tests.support.behind_a_replica")),
    Part("torture-sqlite", (*TORTURE, "torture"), is_single=True),
    Part("torture-postgresql", (*TORTURE, "torture and not once"), "POSTGRES_URL", is_single=True),
    Part("stores", ("make", "stores"), is_single=True),
    Part("themes", ("make", "themes")),
    Part("pinned", (*NOX, "pinned")),
    # Unpinned: the newest release of everything, but for Django, which each of these chooses.
    Part("oldest", (*NOX, "oldest")),
    Part("between", (*NOX, "between")),
    Part("newest", (*NOX, "newest"), environment={"REQUIRE_BROWSER": "1"}),
    Part("lowest", (*NOX, "lowest")),
    Part("benchmarks", ("make", "bench"), "POSTGRES_URL", variable="BENCH_POSTGRESQL_URL"),
]


@dataclass
class Outcome:
    """How a part ended."""

    part: Part
    code: int
    counts: Counter
    seconds: float

    @property
    def row(self):
        # What failed need not be a test.
        failed = self.counts["failed"] + self.counts["error"] or int(self.code != 0)
        return (
            f"{self.part.name:<20} {self.counts['passed']:>7,} {failed:>7,} {self.seconds:>8,.0f}"
        )


def counted(line):
    """What one of pytest's last lines counts: "3 failed, 210 passed in 4.2s"; None for another."""
    found = re.fullmatch(
        r"=* ?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s(?: \([\d:]+\))? ?=*", line.strip()
    )
    if not found:
        return None
    counts = Counter()
    for number, word in re.findall(r"(\d+) ([a-z]+)", found[1]):
        counts[word.removesuffix("s") if word == "errors" else word] += int(number)
    return counts


def run(part, urls):
    environment = {**os.environ, **part.environment}
    # What ONLY was given to this run means nothing to a part that is a make of its own.
    for name in ("ONLY", "MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL"):
        environment.pop(name, None)
    if part.database:
        environment[part.variable] = urls[part.database]
    began = time.monotonic()
    counts = Counter()
    with (LOGS / f"{part.name}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            part.command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        with process:
            for line in process.stdout:
                log.write(line)
                print(f"[{part.name}] {line}", end="", flush=True)
                counts += counted(line) or Counter()
    return Outcome(part, process.returncode, counts, time.monotonic() - began)


def chosen(words):
    """The parts of these names, in their order; all of them for no names."""
    names = [part.name for part in PARTS]
    unknown = set(words) - set(names)
    if unknown:
        sys.exit(f"No such part: {', '.join(sorted(unknown))}. There are {', '.join(names)}.")
    return [part for part in PARTS if not words or part.name in words]


def groups(parts):
    """Those that run two at a time, and each of the others by itself; in their order."""
    for is_single, some in itertools.groupby(parts, lambda part: part.is_single):
        group = list(some)
        yield from [group] if is_single else ([part] for part in group)


def main():
    parts = chosen(os.environ.get("ONLY", "").replace(",", " ").split())
    LOGS.mkdir(parents=True, exist_ok=True)
    outcomes = []
    with contextlib.ExitStack() as running:
        urls = {}
        if any(part.database for part in parts):
            urls = running.enter_context(running_databases())

        def tell(part):
            print(f"\n== {part.name} ({parts.index(part) + 1} of {len(parts)})", flush=True)
            outcome = run(part, urls)
            print(f"-- {outcome.row}", flush=True)
            return outcome

        for group in groups(parts):
            with ThreadPoolExecutor(2) as pool:
                outcomes += pool.map(tell, group)
    print(f"\n{'part':<20} {'passed':>7} {'failed':>7} {'seconds':>8}")
    for outcome in outcomes:
        print(outcome.row)
    return any(outcome.code for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
