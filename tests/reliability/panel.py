"""Panels and commands as real processes, on the tests' database and on a store or its proxy."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import requests

from panel_site.gunicorn import ROOT, Gunicorn


@dataclass(frozen=True)
class Site:
    """What a process of the host project is told."""

    database: str
    storage: dict
    locations: dict
    backups_remote: dict
    timeouts: dict = field(default_factory=dict)
    #: How many database connections the threads of a process share; 0: each has its own.
    pool: int = 0

    @property
    def environment(self):
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.reliability.settings",
            "RELIABILITY": json.dumps(vars(self)),
            "PYTHONPATH": str(ROOT),
        }


class Panel(Gunicorn):
    """gunicorn in a process group of its own, which ends with this process however it ends."""

    def __init__(self, site, directory, *, workers=2, threads=16):
        super().__init__(
            "tests.reliability.wsgi:application",
            Path(directory) / f"panel-{id(self)}.log",
            env=site.environment,
            workers=workers,
            threads=threads,
            # Workers are forked from a parent that has imported everything and served nothing:
            # one that was killed is back within milliseconds, without its memory.
            options=("--preload",),
            wrapper=(sys.executable, "-m", "tests.reliability.leash"),
        )
        self.site = site

    def stop(self):
        self.kill()

    def restart(self):
        self.kill()
        self.start()

    def delete(self, backup, **headers):
        """Have the panel delete a backup."""
        return requests.get(
            f"{self.url}/api/remote/backups/{backup.uuid}/panel/delete", headers=headers, timeout=60
        )


@dataclass(frozen=True)
class Outcome:
    """How a command ended; ``code`` is negative for a signal."""

    code: int
    out: str
    steps: list[str]


class Commander:
    """Runs management commands, each in a fresh process forked from a warm parent.

    Hundreds of commands are to be run, and importing Django and boto takes longer than they do.
    """

    def __init__(self, site, directory):
        self.site = site
        self.directory = directory

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.commander", self.directory],
            cwd=ROOT,
            env=self.site.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(self, *exc_info):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=10)

    def run(self, *arguments, crash_at=""):
        """Run one command to its end, or to where it is to crash."""
        self.process.stdin.write(json.dumps({"arguments": arguments, "crash_at": crash_at}) + "\n")
        self.process.stdin.flush()
        return Outcome(**json.loads(self.process.stdout.readline()))
