"""Every safeguard of the code, and the test that fails without it.

``python -m tests.reliability.safeguards [word …]`` takes each out of a copy of this tree and runs
its test, which must fail; words choose safeguards by their names, ``--table`` prints them all.
Those that need a database are tried where DATABASE_URL names one of its kind, the others where it
names none.

The catalogue is ``safeguards.toml``; ``mutations`` says how one is applied.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.reliability import mutations
from tests.reliability.without import ROOT, take_out

CATALOGUE = Path(__file__).with_suffix(".toml")

_PARSING = threading.Lock()


@dataclass(frozen=True)
class Safeguard:
    """A statement that protects, what takes the protection out, and the test that then fails."""

    name: str
    marker: str
    file: str
    test: str
    replace: str = ""
    by: str = ""
    drop: int = 0
    move: int = 0
    #: The kind of database that is needed to see it; SQLite lets one writer in at a time.
    database: str = ""

    def mutate(self, source):
        """The module ``source`` without this safeguard."""
        # Python 3.11 cannot build two syntax trees at once: "recursion depth mismatch".
        with _PARSING:
            return mutations.mutate(
                source,
                self.marker,
                replace=self.replace,
                by=self.by,
                drop=self.drop,
                move=self.move,
            )


def marked_files():
    """Marker → the file of the package that it stands in."""
    found = {}
    for path in sorted((ROOT / "backups_remote").rglob("*.py")):
        for marker in mutations.markers(path.read_text(encoding="utf-8")):
            assert marker not in found, f"The marker {marker} stands in two files."
            found[marker] = str(path.relative_to(ROOT))
    return found


def load():
    """The catalogue, in its order."""
    files = marked_files()
    entries = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))["safeguard"]
    return [Safeguard(file=files.get(entry["marker"], ""), **entry) for entry in entries]


SAFEGUARDS = load()


def chosen(words=(), *, database_url=""):
    """The safeguards to try: those of the database at hand, or those that need none."""
    kind = database_url.partition(":")[0]
    kind = {"postgres": "postgresql", "pgsql": "postgresql"}.get(kind, kind)
    return [
        safeguard
        for safeguard in SAFEGUARDS
        if safeguard.database == kind and (not words or any(w in safeguard.name for w in words))
    ]


def table():
    """The table as the documentation shows it."""
    rows = [
        f"| {s.name} | `{s.file.removeprefix('backups_remote/')}` "
        f"| `{s.test.removeprefix('tests/')}` |"
        for s in SAFEGUARDS
    ]
    head = ["| safeguard | in | test that fails without it |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows]) + "\n"


def try_all(words=()):
    """Take each out, with a line for each; the names of those whose test still passes."""
    url = os.environ.get("DATABASE_URL", "")
    if url.startswith("sqlite"):
        url = ""
    safeguards = chosen(words, database_url=url)
    started = time.monotonic()
    survivors = []
    for number, (safeguard, passes) in enumerate(take_out(safeguards, database_url=url), start=1):
        said = {True: "STILL PASSES", False: "fails"}.get(passes, f"WAS NOT TRIED: {passes}")
        print(f"{number}/{len(safeguards)} {safeguard.name} | {said}", flush=True)
        if passes is not False:
            survivors.append(safeguard.name)
    print(
        f"{len(safeguards)} safeguards taken out: {len(safeguards) - len(survivors)} tests failed, "
        f"{len(survivors)} did not ({time.monotonic() - started:.0f} s)",
        flush=True,
    )
    return survivors


if __name__ == "__main__":
    if sys.argv[1:] == ["--table"]:
        print(table(), end="")
    else:
        sys.exit(bool(try_all(sys.argv[1:])))
