"""The host project: its environment, and ``manage.py runserver``."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import requests

from tests.docs.test_demo import session_of

ROOT = Path(__file__).resolve().parents[2]
TELL = """
import json
from panel_site import settings
names = "ALLOWED_HOSTS BACKUPS_REMOTE DATABASES DEBUG STORAGES".split()
print(json.dumps({name: getattr(settings, name) for name in names}))
"""

pytestmark = pytest.mark.once


def environment(**more):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "BACKUPS_", "DATABASE_", "DJANGO_"))
    }
    return kept | {"DJANGO_SECRET_KEY": "of-this-test", "PYTHONUNBUFFERED": "1"} | more


def python(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


def settings_under(**variables):
    """The settings as a new process reads them."""
    done = python("-c", TELL, **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def plain():
    """The settings without a word in the environment."""
    return settings_under()


def test_defaults_without_environment_serve_localhost_only(plain):
    assert plain["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert plain["DATABASES"]["default"]["NAME"] == str(ROOT / "var/panel.sqlite3")
    assert plain["DEBUG"] is False
    assert set(plain["STORAGES"]) == {"default", "staticfiles"}
    assert plain["BACKUPS_REMOTE"] == {"REPORT_REPLAY_WINDOW": 300}


def test_an_empty_variable_counts_as_unset(plain):
    source = (ROOT / "panel_site/settings.py").read_text(encoding="utf-8")
    names = set(re.findall(r'environ\.get\(\s*"(\w+)"', source)) - {"DJANGO_SECRET_KEY"}
    assert {"DATABASE_URL", "DJANGO_ALLOWED_HOSTS", "AWS_STORAGE_BUCKET_NAME"} <= names
    assert settings_under(**dict.fromkeys(names, "")) == plain


def test_hosts_are_stripped_and_empty_ones_dropped():
    told = settings_under(DJANGO_ALLOWED_HOSTS=" panel.example.com, ,10.0.0.7 ,")
    assert told["ALLOWED_HOSTS"] == ["panel.example.com", "10.0.0.7"]


def test_settings_are_read_from_the_environment():
    told = settings_under(
        DATABASE_URL="postgres://panel@db.example.com/panel",
        DJANGO_DEBUG="yes",
        AWS_STORAGE_BUCKET_NAME="backups",
        AWS_S3_REGION_NAME="eu-central-1",
        BACKUPS_REMOTE_DAEMON="backups_remote.daemon.WingsDaemon",
        BACKUPS_REMOTE_DEFAULT_DISK="s3",
        BACKUPS_REMOTE_MAX_PART_SIZE="67108864",
    )
    assert told["DATABASES"]["default"]["HOST"] == "db.example.com"
    assert told["DEBUG"] is True
    options = told["STORAGES"]["s3"]["OPTIONS"]
    assert options == {"bucket_name": "backups", "region_name": "eu-central-1"}
    told["BACKUPS_REMOTE"].pop("REPORT_REPLAY_WINDOW")
    assert told["BACKUPS_REMOTE"] == {
        "DAEMON": "backups_remote.daemon.WingsDaemon",
        "DEFAULT_DISK": "s3",
        "MAX_PART_SIZE": 67108864,
    }


def test_invalid_part_size_is_named():
    done = python("manage.py", "check", BACKUPS_REMOTE_MAX_PART_SIZE="abc")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "django.core.exceptions.ImproperlyConfigured: "
        "BACKUPS_REMOTE_MAX_PART_SIZE is not a number of bytes: 'abc'."
    )


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """The URL of a migrated database."""
    url = f"sqlite:///{tmp_path_factory.mktemp('panel') / 'panel.sqlite3'}"
    done = python("manage.py", "migrate", "--verbosity", "0", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    return url


@contextlib.contextmanager
def heeding_interrupts():
    """Start processes that Ctrl-C ends: those of a shell's background job would ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def serving(log, **variables):
    """``manage.py runserver`` in a session of its own; its address, its process."""
    with log.open("wb") as output, heeding_interrupts():
        process = subprocess.Popen(
            [sys.executable, "manage.py", "runserver", "127.0.0.1:0"],
            cwd=ROOT,
            env=environment(**variables),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        give_up = time.monotonic() + 60
        while not (found := re.search(r"server at (http://[\d.:]+)/", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.05)
        yield found[1], process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


@pytest.mark.parametrize("debug", ["1", "0"], ids=["debug", "no debug"])
def test_runserver_serves_the_api_and_the_admin_and_stops_cleanly(debug, database, tmp_path):
    log = tmp_path / "server.log"
    with (
        serving(log, DATABASE_URL=database, DJANGO_DEBUG=debug) as (url, process),
        requests.Session() as browser,
    ):
        browser.trust_env = False
        for headers in ({}, {"Authorization": f"Bearer {'a' * 16}.{'b' * 64}"}):
            backup = f"{url}/api/remote/backups/{uuid.uuid4()}"
            answer = browser.get(backup, params={"size": 1}, headers=headers, timeout=30)
            assert answer.status_code == 401
            (error,) = answer.json()["errors"]
            assert set(error) == {"code", "status", "detail"}
            assert error["status"] == "401"

        login = browser.get(url, timeout=30)
        assert login.status_code == 200
        assert login.url == f"{url}/admin/login/?next=/admin/"
        assert "csrfmiddlewaretoken" in login.text
        sheets = re.findall(r'<link rel="stylesheet" href="(/static/[^"]+\.css)"', login.text)
        assert sheets
        ours = "/static/backups_remote/" + next(
            path.name for path in (ROOT / "backups_remote/static/backups_remote").glob("*.css")
        )
        for sheet in [*sheets, ours]:
            answer = browser.get(f"{url}{sheet}", timeout=30)
            assert answer.status_code == 200, sheet
            assert answer.headers["Content-Type"].startswith("text/css"), sheet
            assert "{" in answer.text

        # As a terminal's Ctrl-C does: to the reloader and to the server.
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 0
        # Django's reloader does not wait for the server that it ends.
        give_up = time.monotonic() + 30
        while left := session_of(process.pid):
            assert time.monotonic() < give_up, left
            time.sleep(0.05)
    assert "Traceback" not in log.read_text()
