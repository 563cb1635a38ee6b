"""Panels and commands as real processes, on the tests' database and on a store or its proxy."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]
_START_TIMEOUT = 60


@dataclass(frozen=True)
class Site:
    """What a process of the host project is told."""

    database: str
    storage: dict
    locations: dict
    backups_remote: dict
    timeouts: dict = field(default_factory=dict)

    @property
    def environment(self):
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.reliability.settings",
            "RELIABILITY": json.dumps(vars(self)),
            "PYTHONPATH": str(ROOT),
        }


class Panel:
    """gunicorn in a process group of its own, which ends with this process however it ends."""

    def __init__(self, site, directory, *, workers=2, threads=16):
        self.site = site
        self.workers = workers
        self.threads = threads
        self.log = Path(directory) / f"panel-{id(self)}.log"
        self.port = 0
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self.kill()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Start it, at the same port as before if it ran already."""
        command = [
            *(sys.executable, "-m", "tests.reliability.leash"),
            *(sys.executable, "-m", "gunicorn", "tests.reliability.wsgi:application"),
            *("--bind", f"127.0.0.1:{self.port}", "--worker-class", "gthread"),
            *("--workers", str(self.workers), "--threads", str(self.threads)),
            # Workers are forked from a parent that has imported everything and served nothing:
            # one that was killed is back within milliseconds, without its memory.
            *("--preload", "--no-control-socket", "--timeout", "120"),
        ]
        with self.log.open("ab") as log:
            start = log.tell()
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.site.environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        give_up = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < give_up and self.process.poll() is None:
            said = self.log.read_text(encoding="utf-8", errors="replace")[start:]
            if listening := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", said):
                self.port = int(listening[1])
                return
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(self.log.read_text(encoding="utf-8", errors="replace")[-3000:])

    def kill(self):
        """SIGKILL to the whole group: nothing is tidied up."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.stdin.close()
        self.process.wait(timeout=10)
        self.process = None

    def restart(self):
        self.kill()
        self.start()

    def delete(self, backup, **headers):
        """Have the panel delete a backup."""
        return requests.get(
            f"{self.url}/api/remote/backups/{backup.uuid}/delete", headers=headers, timeout=60
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

    def __init__(self, site):
        self.site = site

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.commander"],
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
