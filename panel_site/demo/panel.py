"""Runs the panel as in production: settings in the environment, a new database, gunicorn."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import requests

from panel_site.gunicorn import Gunicorn, NotStartedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from panel_site.seaweedfs import Store

ROOT: Final = Path(__file__).resolve().parents[2]
FIXTURE: Final = ROOT / "fixtures" / "demo.json"
#: The smallest part that a store accepts: even a small world has several.
PART_SIZE: Final = 5 * 1024**2
_READ_BY_SETTINGS: Final = ("AWS_", "BACKUPS_REMOTE_", "DATABASE_", "DJANGO_")
_START_TIMEOUT: Final = 60.0


class PanelError(Exception):
    """The panel, or one of its commands, failed."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A running panel."""

    url: str

    @staticmethod
    def manage(*arguments: str) -> str:
        """Run a management command as cron does; return its output.

        Raises:
            PanelError: it exited with an error.

        """
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise PanelError(f"{arguments[0]} exited with {done.returncode}: {done.stderr.strip()}")
        return done.stdout


def clear_environment(work: Path) -> None:
    """Remove the environment variables that configure the panel, the store or their clients.

    Temporary files go to ``work``.
    """
    for name in list(os.environ):
        if name.startswith(_READ_BY_SETTINGS):
            del os.environ[name]
    os.environ["TMPDIR"] = str(work)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    # The directory to back up may contain this code.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True


def set_up(store: Store, directory: Path) -> None:
    """Configure this process and its children for a new panel, and load the demo's data."""
    os.environ.update(
        store.environment,
        BACKUPS_REMOTE_DAEMON="backups_remote.daemon.WingsDaemon",
        BACKUPS_REMOTE_DEFAULT_DISK="s3",
        BACKUPS_REMOTE_MAX_PART_SIZE=str(PART_SIZE),
        DATABASE_URL=f"sqlite:///{directory / 'panel.sqlite3'}",
        DJANGO_SECRET_KEY=secrets.token_urlsafe(50),
        DJANGO_SETTINGS_MODULE="panel_site.settings",
    )
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    call_command("loaddata", str(FIXTURE), verbosity=0)


@contextlib.contextmanager
def running_panel(directory: Path) -> Iterator[Panel]:
    """Serve the panel with gunicorn on a free port until the block ends.

    Raises:
        PanelError: it does not answer; the message has the end of its log.

    """
    log = directory / "panel.log"
    gunicorn = Gunicorn(
        "panel_site.wsgi:application", log, workers=2, options=("--graceful-timeout", "5")
    )
    try:
        with gunicorn:
            panel = Panel(gunicorn.url)
            _wait_for(panel, gunicorn)
            yield panel
    except NotStartedError as error:
        raise PanelError(str(error)) from error


def _wait_for(panel: Panel, gunicorn: Gunicorn) -> None:
    give_up = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < give_up and gunicorn.is_running:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{panel.url}/admin/login/", timeout=10).ok:
                return
        time.sleep(0.1)
    raise PanelError(f"The panel does not answer. The end of its log:\n{gunicorn.said()[-2000:]}")
