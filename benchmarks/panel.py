"""Runs panels under gunicorn, and management commands, as separate processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panel_site.gunicorn import Gunicorn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent


def environment(database: str, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process of the benchmarks' host project."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "benchmarks.site.settings",
        "DATABASE_URL": database,
        "BACKUPS_REMOTE_DEFAULT_DISK": "s3",
        "BACKUPS_REMOTE_MAX_PART_SIZE": str(5 * 1024**2),
        **more,
    }


def manage(*arguments: str, env: Mapping[str, str]) -> str:
    """Run a management command; return its output."""
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
    """Fill the database with ``benchmarks.populate``; return its description of the rows."""
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
    with (
        tempfile.TemporaryDirectory() as directory,
        Gunicorn(
            "panel_site.wsgi:application",
            Path(directory) / "panel.log",
            env=dict(env),
            workers=workers,
            threads=threads,
            options=("--keep-alive", "75"),
        ) as gunicorn,
    ):
        yield "127.0.0.1", gunicorn.port
