"""Panels under gunicorn, as real processes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent
_START_TIMEOUT = 30


def environment(database: str, more: Mapping[str, str]) -> dict[str, str]:
    """What a process of the benchmarks' host project is told."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "benchmarks.site.settings",
        "DATABASE_URL": database,
        "BACKUPS_REMOTE_DEFAULT_DISK": "s3",
        "BACKUPS_REMOTE_MAX_PART_SIZE": str(5 * 1024**2),
        **more,
    }


def manage(*arguments: str, env: Mapping[str, str]) -> str:
    """Run a management command; what it printed."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout


def populate(env: Mapping[str, str], **numbers: int | str) -> dict[str, Any]:
    """Fill the database, see benchmarks.populate; what it says of the rows."""
    options = [f"--{name}={value}" for name, value in numbers.items()]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.populate", *options],
        cwd=ROOT,
        env=dict(env),
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


@contextlib.contextmanager
def running_panel(
    env: Mapping[str, str], *, workers: int = 1, threads: int = 4
) -> Iterator[tuple[str, int]]:
    """gunicorn on a free port until the block ends; host and port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "gunicorn", "panel_site.wsgi:application"),
        *(f"--bind=127.0.0.1:{port}", f"--workers={workers}", f"--threads={threads}"),
        *("--worker-class=gthread", "--keep-alive=75", "--timeout=180", "--log-level=warning"),
    ]
    process = subprocess.Popen(command, cwd=ROOT, env=dict(env))
    try:
        _wait_for(port, process)
        yield "127.0.0.1", port
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < give_up and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError("The panel did not start.")
