"""The panel as an operator runs it: settings in the environment, a fresh database, gunicorn."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from panel_site.seaweedfs import Store

ROOT: Final = Path(__file__).resolve().parents[2]
FIXTURE: Final = ROOT / "fixtures" / "demo.json"
#: The smallest parts that a store takes: even a small world has several.
PART_SIZE: Final = 5 * 1024**2
_READ_BY_SETTINGS: Final = ("AWS_", "BACKUPS_REMOTE_", "DATABASE_", "DJANGO_")
_START_TIMEOUT: Final = 60.0
_STOP_TIMEOUT: Final = 15.0


class PanelError(Exception):
    """The panel does not run as it should."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A running panel."""

    url: str

    @staticmethod
    def manage(*arguments: str) -> str:
        """Run a management command as cron would; what it printed.

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
    """Drop what the caller's shell would tell the panel, the store or their clients.

    Whatever they leave lying about goes to ``work``.
    """
    for name in list(os.environ):
        if name.startswith(_READ_BY_SETTINGS):
            del os.environ[name]
    os.environ["TMPDIR"] = str(work)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    # The directory to back up may hold this very code.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True


def set_up(store: Store, directory: Path) -> None:
    """Make this process, and those that it starts, part of a new panel; load the demo's data."""
    os.environ.update(
        store.environment,
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
        PanelError: it does not answer; the end of its log is in the message.

    """
    log = directory / "panel.log"
    # Bound here and handed on: nobody can take the port in between, and calls wait for a worker.
    with socket.socket() as listener, log.open("wb") as output:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        panel = Panel(f"http://127.0.0.1:{listener.getsockname()[1]}")
        command = [
            *(sys.executable, "-m", "gunicorn", "panel_site.wsgi:application"),
            *("--bind", f"fd://{listener.fileno()}", "--no-control-socket"),
            *("--workers", "2", "--threads", "4", "--timeout", "180", "--graceful-timeout", "5"),
        ]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
        )
    try:
        _wait_for(panel, process, log)
        yield panel
    finally:
        process.terminate()
        try:
            process.wait(timeout=_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(panel: Panel, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < give_up and process.poll() is None:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{panel.url}/admin/login/", timeout=10).ok:
                return
        time.sleep(0.1)
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise PanelError(f"The panel does not answer. The end of its log:\n{tail}")
