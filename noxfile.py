"""The suite on every version that is claimed, and on the oldest of what is depended on.

The classifiers of ``pyproject.toml`` say which: the oldest Django on the oldest Python, every newer
one on the newest Python. Further interpreters that are found get the newest Django they can have.

Sessions leave out the torture and the demo, and only the newest looks at the admin in a browser.
Arguments after ``--`` go to pytest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
DJANGOS = [
    version
    for classifier in PROJECT["project"]["classifiers"]
    if (version := classifier.rpartition("Framework :: Django :: ")[2]) != classifier
]
OLDEST, *BETWEEN, NEWEST = DJANGOS
TRIXIE = ROOT / ".trixie/usr/bin/python3.13"

COVERAGE = ("--cov", "--cov-report", "term:skip-covered")

# Interpreters come from the machine or from .ci/trixie.
os.environ["UV_PYTHON_DOWNLOADS"] = "never"
nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = True
nox.options.reuse_existing_virtualenvs = False


def find(version: str) -> str | None:
    """A finished Python of this version that starts: one on the PATH, of pyenv, or trixie's."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}")),
        TRIXIE,
    ]
    question = "import ssl, sqlite3, sys, venv; print(*sys.version_info[:2], sep='.')"
    for candidate in filter(None, candidates):
        if not Path(candidate).exists():
            continue
        answer = subprocess.run(
            [candidate, "-c", f"{question}; sys.exit(sys.version_info[3] != 'final')"],
            capture_output=True,
            check=False,
            text=True,
        )
        if answer.returncode == 0 and answer.stdout.strip() == version:
            return str(candidate)
    return None


FOUND = {version: find(version) for version in (f"3.{minor}" for minor in range(11, 30))}
#: The newest interpreter of this machine, pinned versions on it: for a quick look.
AT_HAND = next(FOUND[version] for version in reversed(FOUND) if FOUND[version])
#: This very interpreter's.
MINE = "{}.{}".format(*sys.version_info)
REST = [version for version in FOUND if FOUND[version] and version != MINE] or [MINE]
OTHERS = [version for version in FOUND if FOUND[version] and version not in PYTHONS]
NEEDED = [] if FOUND[PYTHONS[-1]] else ["trixie"]
NEWEST_PYTHON = FOUND[PYTHONS[-1]] or str(TRIXIE)


@nox.session(python=False, default=False)
def trixie(session: nox.Session) -> None:
    """Make the root that Python 3.13 is taken from where the machine has none."""
    session.run(str(ROOT / ".ci/trixie"), external=True)


@nox.session(python=AT_HAND, default=False)
def quick(session: nox.Session) -> None:
    """What depends on versions most, on the newest Python at hand, with the pinned versions."""
    session.install(
        *("--quiet", "--constraint", "constraints.txt", "--editable", ".", "--group", "test")
    )
    session.run("python", "-c", SAY)
    session.run("python", "-m", "pytest", "-q", "tests/unit")
    marks = "browser and not themes"
    session.run("python", "-m", "pytest", "-q", "-n", "2", "-m", marks, "tests/admin")


@nox.session(default=False)
@nox.parametrize("python", [FOUND[version] or sys.executable for version in REST], ids=REST)
def pinned(session: nox.Session) -> None:
    """The pinned versions, on every Python that is found but this one: it runs make test."""
    run_suite(session, "--constraint", "constraints.txt")


@nox.session(python=FOUND[PYTHONS[0]] or PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """The oldest Django on the oldest Python."""
    run_suite(session, f"django~={OLDEST}.0")


@nox.session(python=NEWEST_PYTHON, requires=NEEDED)
def newest(session: nox.Session) -> None:
    """The newest Django on the newest Python, with the branch coverage measured."""
    if not (shutil.which("chromium") or shutil.which("chromium-browser")):
        session.warn("There is no chromium on the PATH: the admin is not looked at in a browser.")
    run_suite(session, f"django~={NEWEST}.0", browser=True, options=COVERAGE)


@nox.session(python=NEWEST_PYTHON, requires=NEEDED)
@nox.parametrize("django", BETWEEN)
def between(session: nox.Session, django: str) -> None:
    """The other Djangos on the newest Python."""
    run_suite(session, f"django~={django}.0")


@nox.session(python=FOUND[PYTHONS[0]] or PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The lowest version of every direct dependency."""
    run_suite(session, "--resolution=lowest-direct")


if OTHERS:

    @nox.session
    @nox.parametrize("python", [FOUND[version] for version in OTHERS], ids=OTHERS)
    def others(session: nox.Session) -> None:
        """The newest Django that they can have, on other Pythons that were found."""
        run_suite(session)


def run_suite(
    session: nox.Session, *requirements: str, browser: bool = False, options: tuple[str, ...] = ()
) -> None:
    """Install the app with its tests, say what it is, and run them."""
    session.install("--quiet", "--editable", ".", "--group", "test", *requirements)
    session.run("python", "-c", SAY)
    marks = "not torture and not sampled and not " + ("themes" if browser else "browser")
    session.run(
        *("python", "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "-m", marks),
        *("--ignore", "tests/docs/test_demo.py", *options, *session.posargs),
    )


SAY = """
import platform, sys, django
print("Python", platform.python_version(), sys.base_prefix, "with Django", django.__version__)
"""
