"""``python -m panel_site.demo``: exit code 0 if every step held, 1 if not, 2 for a bad DIR."""

from __future__ import annotations

import argparse
import contextlib
import secrets
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from backups_remote.testing.daemon import StandInDaemon
from panel_site.demo.interrupts import Interrupts, Stopped
from panel_site.demo.panel import PanelError, clear_environment, running_panel, set_up
from panel_site.demo.world import DiffersError, UnusableDirectoryError, make_world, survey
from panel_site.seaweedfs import running_store

if TYPE_CHECKING:
    from backups_remote.models import BackupEvent
    from panel_site.demo.panel import Panel
    from panel_site.demo.story import Row


#: A tenth of the waits of a real daemon: it gives up a call after 3 s.
_PACE: Final = 0.1


@dataclass
class Run:
    """One run of the demo: its options and its progress."""

    console: Console
    directory: Path | None
    keep: bool
    finished: bool = False

    def play(self, stack: contextlib.ExitStack, interrupts: Interrupts) -> None:
        """Run the demo, from the directory to the table; ``stack`` cleans up."""
        started = time.monotonic()
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backups-demo-")))
        clear_environment(work)
        directory = self._directory(work)
        found = survey(directory)

        self.console.print("Starting a store (SeaweedFS), a panel (gunicorn) and a node ...")
        with interrupts.held():
            store = stack.enter_context(running_store())
        set_up(store, work)
        with interrupts.held():
            panel = stack.enter_context(running_panel(work))
        # Models cannot be imported before Django is set up.
        from backups_remote.exceptions import BackupsRemoteError
        from panel_site.demo.story import StepFailedError, Story

        daemon = stack.enter_context(StandInDaemon(work / "node", pace=_PACE))
        story = Story(self.console, panel, store, daemon, directory, found)
        try:
            story.run()
        except (BackupsRemoteError, StepFailedError) as error:
            raise PanelError(str(error)) from error
        self.console.print(_table(story.rows, time.monotonic() - started))
        self.console.print(_timeline(story.history))
        self.finished = True
        if self.keep:
            self._wait(panel)

    def _directory(self, work: Path) -> Path:
        if self.directory is None:
            world = work / "world"
            make_world(world)
            return world
        directory = self.directory.expanduser().resolve()
        if work.resolve().is_relative_to(directory):
            raise UnusableDirectoryError(
                f"{directory} holds the demo's own temporary files; point TMPDIR elsewhere."
            )
        return directory

    def _wait(self, panel: Panel) -> None:
        from django.contrib.auth import get_user_model

        password = secrets.token_urlsafe(12)
        get_user_model().objects.create_superuser("demo", password=password)
        log_in = f"{panel.url}/admin/  user demo, password {password}"
        self.console.print(log_in, soft_wrap=True)
        self.console.print("Panel, store and node run until Ctrl-C.")
        while True:
            signal.pause()


def _table(rows: list[Row], seconds: float) -> Table:
    table = Table(
        title=f"Every step held, {seconds:.1f} s in all",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in ("step", "outcome", "figures"):
        table.add_column(column)
    for row in rows:
        table.add_row(row.step, row.outcome, row.figures)
    return table


def _timeline(events: list[BackupEvent]) -> Table:
    table = Table(
        title="What happened to the first backup",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in ("time", "event", "by", "detail"):
        table.add_column(column)
    for event in events:
        by = f"{event.actor} {event.actor_name}".strip()
        table.add_row(f"{event.at:%H:%M:%S}", event.get_kind_display(), by, event.detail)
    return table


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m panel_site.demo", description=__doc__)
    parser.add_argument("--dir", type=Path, metavar="PATH", help="Back up this directory.")
    parser.add_argument("--keep", action="store_true", help="Leave panel and store running.")
    options = parser.parse_args(arguments)
    run = Run(Console(highlight=False), options.dir, options.keep)
    interrupts = Interrupts()
    try:
        with contextlib.ExitStack() as stack, interrupts.raised():
            run.play(stack, interrupts)
    except Stopped as stopped:
        if run.finished:
            return 0
        return _end(f"Stopped by {stopped}.", stopped.exit_code)
    except UnusableDirectoryError as error:
        return _end(str(error), 2)
    except (DiffersError, OSError, PanelError, RuntimeError) as error:
        return _end(f"This did not hold: {error}", 1)
    return 0


def _end(message: str, code: int) -> int:
    Console(stderr=True, highlight=False).print(f"[red]{escape(message)}[/]", soft_wrap=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
