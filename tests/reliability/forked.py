"""Runs one pytest after the other, each in a process forked from one that has all imports done.

``python -m tests.reliability.forked`` reads a JSON list of arguments a line, and answers each with
a line: what came of its tests. Nothing of the code under test is imported before the fork.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import pytest

from tests.reliability.warm import warm_up

#: What every run needs and none changes.
_NEEDED = (
    "cryptography.fernet",
    "dj_database_url",
    "django.contrib.admin",
    "django.contrib.staticfiles.handlers",
    "django.core.management",
    "django.db.backends.sqlite3.base",
    "django.db.migrations.executor",
    "django.template.loader",
    "django.test.client",
    "django.test.testcases",
    "factory.django",
    "psutil",
    "requests",
    "whitenoise",
)
#: Seconds; every test has a shorter limit of its own.
_LONGEST = 150


class Counting:
    """What came of the tests: a failure is one of a test itself, anything else an error."""

    def __init__(self):
        self.passed = self.failed = self.errors = 0

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed += report.when == "call"
            self.errors += report.when != "call"
        elif report.passed and report.when == "call":
            self.passed += 1


def run(arguments, output):
    """In the child: run, and write what came of it."""
    with output.open("w", encoding="utf-8") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        sys.stdout = sys.stderr = said
        counting = Counting()
        pytest.main(arguments, plugins=[counting])
        said.flush()
    package = sys.modules.get("backups_remote")
    return {**vars(counting), "package": getattr(package, "__file__", "")}


def serve(directory):
    output = directory / "output"
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            answer = {}
            try:
                os.setsid()
                answer = run(json.loads(line), output)
            except BaseException:  # noqa: BLE001 - a forked process must not go on as its parent
                output.write_text(traceback.format_exc(), encoding="utf-8")
            finally:
                os.write(writing, json.dumps(answer).encode())
                os._exit(0)
        os.close(writing)
        ended, _, _ = select.select([reading], [], [], _LONGEST)
        said = os.read(reading, 65536) if ended else b""
        os.close(reading)
        # With whatever it has left running.
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        answer = json.loads(said or b"{}")
        answer["output"] = output.read_text(encoding="utf-8", errors="replace")[-20_000:]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    for name in _NEEDED:
        importlib.import_module(name)
    warm_up()
    with tempfile.TemporaryDirectory() as made:
        serve(Path(made))
