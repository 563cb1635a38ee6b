"""Runs tests on copies of this tree from which a safeguard was taken out."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from panel_site.seaweedfs import running_store

ROOT = Path(__file__).resolve().parents[2]
_COPIED = ("backups_remote", "panel_site", "tests", "fixtures", "manage.py", "pyproject.toml")
_COPIES = 3
_ARGUMENTS = [
    *("-p", "pytest_django.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider"),
    *("--no-migrations", "-x", "-q", "-m", "not torture", "--timeout=100"),
]


class Copy:
    """A copy of this tree, and a process there that runs one test after the other."""

    _moments = itertools.count(1)

    def __init__(self, tree, *, store, database_url=""):
        self.tree = tree
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "browser")
                shutil.copytree(source, tree / name, ignore=ignored)
            else:
                shutil.copy(source, tree / name)
        environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        environment |= {
            "PYTHONPATH": str(tree),
            # No plugin but those that _ARGUMENTS name.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "TEST_STORE": json.dumps(asdict(store.address)),
            **({"DATABASE_URL": database_url} if database_url else {}),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.forked"],
            cwd=tree,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def passes(self, test):
        """Whether the test passes there."""
        print(json.dumps([*_ARGUMENTS, test]), file=self.process.stdin, flush=True)
        done = json.loads(self.process.stdout.readline())
        # Whatever else went wrong (no such test, no store, no database) proves nothing.
        assert done.get("passed", 0) + done.get("failed", 0), f"{test}\n{done['output']}"
        assert not done["errors"] or done["failed"], f"{test}\n{done['output']}"
        assert done["package"].startswith(str(self.tree)), done["package"]
        return not done["failed"]

    @contextlib.contextmanager
    def without(self, safeguard):
        path = self.tree / safeguard.file
        whole = path.read_text(encoding="utf-8")
        self._write(path, safeguard.mutate(whole))
        try:
            yield
        finally:
            self._write(path, whole)

    def _write(self, path, text):
        path.write_text(text, encoding="utf-8")
        # Compiled code is known by its source's second: no two have the same.
        moment = path.stat().st_mtime + next(self._moments)
        os.utime(path, (moment, moment))

    def close(self):
        self.process.communicate()


def take_out(safeguards, *, database_url=""):
    """Each safeguard, and whether its test passes without it, or what hindered the test.

    On a database server they run one after the other, in a database of their own.
    """
    if database_url:
        url = urlsplit(database_url)
        database_url = url._replace(path=f"{url.path}_safeguards").geturl()
    with (
        running_store() as store,
        tempfile.TemporaryDirectory() as directory,
        contextlib.ExitStack() as running,
    ):
        copies = queue.SimpleQueue()
        count = 1 if database_url else _COPIES
        for number in range(count):
            tree = Path(directory).resolve() / str(number)
            tree.mkdir()
            copy = Copy(tree, store=store, database_url=database_url)
            running.callback(copy.close)
            copies.put(copy)

        def attempt(safeguard):
            copy = copies.get()
            try:
                with copy.without(safeguard):
                    return safeguard, copy.passes(safeguard.test)
            except (AssertionError, ValueError) as problem:
                return safeguard, problem
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(count) as pool:
            yield from pool.map(attempt, safeguards)
