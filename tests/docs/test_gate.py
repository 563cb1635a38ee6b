"""``.ci/run`` ends at the first step that fails, says which, and how long each took."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from panel_site.gunicorn import ROOT

pytestmark = pytest.mark.once

PROGRAMS = ("chromium", "gcc", "make", "pkg-config", "xgettext")
IN_VENV = ("nox", "python")

PROGRAM = """#!/bin/sh
echo "$DATABASE_URL NAME $*"
case "NAME $*" in
  $FAILING) exit 3;;
  *support.databases) printf 'POSTGRES_URL=postgres:\\nMARIADB_URL=mysql:\\nBoth run\\n'; exec sleep 600;;
esac
"""


@pytest.fixture
def gate(tmp_path):
    """Runs the gate over programs that only say what they were told, and fail where wanted."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    for directory, names in (("bin", PROGRAMS), (".venv/bin", IN_VENV)):
        (tmp_path / directory).mkdir(parents=True)
        for name in names:
            path = tmp_path / directory / name
            path.write_text(PROGRAM.replace("NAME", name))
            path.chmod(0o755)

    def run(failing="nothing"):
        done = subprocess.run(
            ["bash", tmp_path / ".ci/run"],
            env={
                **os.environ,
                "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
                "FAILING": failing,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        _, _, table = done.stdout.partition("== table\n")
        return done, table.splitlines()

    return run


def outcomes(table):
    return {m[1]: m[2] for m in (re.fullmatch(r"(.+?) +(passed|FAILED) +\d+ s", t) for t in table)}


def test_each_step_has_a_row(gate):
    done, table = gate()

    assert done.returncode == 0, done.stdout + done.stderr
    assert outcomes(table) == dict.fromkeys(
        [
            "system packages",
            "set-up",
            "lint, types, contracts, migrations",
            "make test, on SQLite",
            "database servers",
            "PostgreSQL",
            "MariaDB",
            "the newest Python and Django",
            "together",
        ],
        "passed",
    )
    assert done.stdout.index("make check") < done.stdout.index("make test\n")


def test_nothing_follows_a_failed_step(gate):
    done, table = gate(failing="make test")

    assert done.returncode == 1
    assert outcomes(table)["make test, on SQLite"] == "FAILED"
    assert list(outcomes(table))[-1] == "together"
    assert table[-1].split()[1] == "FAILED"
    assert "nox " not in done.stdout


@pytest.mark.parametrize(
    ("failing", "lanes"),
    [
        ("nox *", ["the newest Python and Django"]),
        ("python -m pytest *sampled*", ["PostgreSQL"]),
        ("python -m pytest *databases*", ["PostgreSQL", "MariaDB"]),
    ],
)  # fmt: skip
def test_failed_lane_fails_the_gate(gate, failing, lanes):
    done, table = gate(failing=failing)

    assert done.returncode == 1
    failed = [name for name, outcome in outcomes(table).items() if outcome == "FAILED"]
    assert failed == [*lanes, "together"]
    assert "postgres: python -m pytest" in done.stdout
    assert "mysql: python -m pytest" in done.stdout


def test_servers_that_do_not_start_fail_the_gate(gate):
    done, table = gate(failing="python -m tests.support.databases")

    assert done.returncode == 1
    assert outcomes(table)["database servers"] == "FAILED"
    assert "pytest" not in done.stdout
