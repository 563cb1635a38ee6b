"""Runs every benchmark and writes docs/benchmarks.md: ``python -m benchmarks [--only NAME …]``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import answers, events, growth, load, plot, presigning, report, small, sweeping
from benchmarks.panel import environment, manage, populate, running_panel
from panel_site.seaweedfs import running_store

#: The number of steps that each benchmark reports, for its progress bar.
STEPS = {
    "presigning": 7,
    "answers": 6,
    "small": 10,
    "growth": 36,
    "events": 26,
    "expiry": 8,
    "load": 3,
}


def main() -> int:
    """Return 0 if every bar is reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS))
    chosen = parser.parse_args().only
    console = Console()
    start = time.monotonic()
    sections, curve = [], {}
    with (
        tempfile.TemporaryDirectory(prefix="benchmarks-") as directory,
        running_store() as store,
        Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[name]:<12}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
        ) as bars,
    ):
        scratch = Path(directory)
        for name in chosen:
            bar = bars.add_task("", name=name, total=STEPS[name])

            def progress(what: str, bar=bar) -> None:
                bars.update(bar, advance=1, description=what)

            if name == "presigning":
                section = presigning.run(progress)
            elif name == "answers":
                section, curve = answers.run(store, scratch, progress)
            elif name == "small":
                section = _small(store, scratch, progress)
            elif name == "growth":
                section = growth.run(store.environment, scratch, progress)
            elif name == "events":
                section = events.run(store.environment, scratch, progress)
            elif name == "expiry":
                section = sweeping.run(store, scratch, progress)
            else:
                section = load.run(store, scratch, progress)
            bars.update(bar, completed=STEPS[name], description="")
            sections.append(section)
    _print(console, sections)
    short = [figure.what for section in sections for figure in section.figures if not figure.holds]
    console.print(
        f"{len(short)} fall short: {'; '.join(short)}" if short else "Every bar is reached.",
        f"{time.monotonic() - start:.0f} s.",
    )
    if chosen == list(STEPS):
        report.write(sections, curve, time.monotonic() - start)
        report.quote(sections)
        plot.write(curve)
        console.print(f"Written: {report.PATH.name} and {plot.PATH.name}, in docs/.")
    return bool(short)


def _small(store, scratch: Path, progress):
    env = environment(f"sqlite:///{scratch / 'small.sqlite3'}", store.environment)
    manage("migrate", env=env)
    node = populate(env, disk="instant", pending=small.ROWS, uploading=small.ROWS)["nodes"][0]
    progress("rows made")
    with running_panel(env) as address:
        calls = small.calls(small.Client(address, node["bearer"]), node)
        return small.figures(small.medians(calls, on_round=lambda: progress("a round")))


def _print(console: Console, sections) -> None:
    for section in sections:
        table = Table(title=section.title, title_justify="left", title_style="bold")
        for heading in report.HEADINGS:
            table.add_column(heading)
        for figure in section.figures:
            table.add_row(*figure.row, style="" if figure.holds else "red")
        console.print(table)
        for note in section.notes:
            console.print(f"  {note}")


if __name__ == "__main__":
    sys.exit(main())
