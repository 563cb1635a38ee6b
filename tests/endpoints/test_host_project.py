"""The endpoints under a host project's own DRF settings, handlers and transactions."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

import pytest
import requests
from django.conf import settings as project
from django.db import connection, connections

from backups_remote.models import Backup
from backups_remote.storage.s3 import S3Backend
from panel_site.gunicorn import Gunicorn
from tests.support.daemon import Daemon
from tests.support.factories import BackupFactory
from tests.support.http import (
    MIB,
    change_disk_options,
    errors,
    upload,
)
from tests.support.proxy import Fault, Proxy

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = b"a tiny archive"
State = Backup.State


@pytest.fixture(scope="module")
def host_log(tmp_path_factory):
    return tmp_path_factory.mktemp("host") / "gunicorn.log"


@pytest.fixture
def host(store, location, transactional_db, host_log):
    """The address of a panel whose host project has other ideas about DRF."""
    told = {
        "database": str(connection.settings_dict["NAME"]),
        "storage": {**store.storage_options, "location": location},
    }
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.support.host_project.settings",
        "HOST_PROJECT": json.dumps(told),
        "PYTHONPATH": str(ROOT),
    }
    gunicorn = Gunicorn(
        "django.core.wsgi:get_wsgi_application()", host_log, env=environment, threads=4
    )
    with gunicorn:
        yield gunicorn.url


def test_project_drf_settings_do_not_apply(host, node, server, host_log):
    assert "rest_framework" not in project.INSTALLED_APPS
    backup = BackupFactory(server=server, disk="s3")
    with Daemon(host, node.bearer_token) as daemon:
        parts = upload(daemon, backup)
        assert errors(daemon.ask(backup, "x"), 400)
        assert errors(daemon.call("GET", f"{uuid.uuid4()}?size=5"), 404)
        assert errors(daemon.call("DELETE", f"{backup.uuid}"), 405)
        assert errors(daemon.call("POST", f"{backup.uuid}", data=b"{"), 400)
        assert errors(daemon.call("POST", f"{backup.uuid}", data=b""), 400)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert errors(daemon.call("POST", f"{backup.uuid}", data=b"", headers=form), 400)
        large = b" " * (4 * MIB + 1)
        assert errors(daemon.call("POST", f"{backup.uuid}", data=large), 413)
        assert errors(daemon.ask(backup, 5, headers={"Authorization": None}), 401)
        assert daemon.report(backup, ARCHIVE, parts).status_code == 204
        assert errors(daemon.report(backup, ARCHIVE, parts), 400)
        assert errors(daemon.ask(backup, 5), 409)
        assert daemon.report_restore(backup).status_code == 204
        # The host's own views are as they were, and its redirect to https is its own too: the
        # endpoints are exempt because the project says so.
        assert (
            daemon.session.get(f"{host}/teapot", allow_redirects=False, timeout=30)
            .headers["Location"]
            .startswith("https://")
        )
        log = host_log.read_text(encoding="utf-8")
        assert "Traceback" not in log, log
    backup.refresh_from_db()
    assert backup.state is State.COMPLETED


def test_project_views_keep_their_exception_handler(host):
    """Asked as a TLS proxy in front of it would."""
    answer = requests.get(f"{host}/teapot", headers={"X-Forwarded-Proto": "https"}, timeout=30)
    assert answer.status_code == 418
    assert answer.text == "{'HOST': 'SAID'}"
    assert answer.headers["Content-Type"].startswith("text/shout")


class Watched(S3Backend):
    """Notes whether its calls are made inside of a transaction."""

    inside = {}

    def create_upload(self, *args, **kwargs):
        self.inside["create"] = connection.in_atomic_block
        return super().create_upload(*args, **kwargs)

    def list_parts(self, *args, **kwargs):
        self.inside["list"] = connection.in_atomic_block
        return super().list_parts(*args, **kwargs)

    def complete_upload(self, *args, **kwargs):
        self.inside["complete"] = connection.in_atomic_block
        return super().complete_upload(*args, **kwargs)

    def abort_upload(self, *args, **kwargs):
        self.inside["abort"] = connection.in_atomic_block
        return super().abort_upload(*args, **kwargs)


def test_atomic_requests_do_not_apply_to_the_views(daemon, backup, server, settings, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    settings.BACKUPS_REMOTE |= {"BACKENDS": {"s3": f"{__name__}.Watched"}}
    Watched.inside.clear()
    assert daemon.back_up(backup, ARCHIVE).status_code == 204
    failed = BackupFactory(server=server)
    assert daemon.ask(failed, 5).status_code == 200
    assert daemon.report_failure(failed).status_code == 204
    assert Watched.inside == dict.fromkeys(["create", "list", "complete", "abort"], False)


def test_report_is_recorded_when_store_fails(daemon, backup, store, settings, monkeypatch, s3):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    with Proxy(store.endpoint) as proxy:
        change_disk_options(settings, endpoint_url=proxy.url)
        parts = upload(daemon, backup)
        refusal = Fault("complete", forward=False, times=9, answer=(503, "SlowDown"))
        with proxy.going_wrong(refusal):
            [error] = errors(daemon.report(backup, ARCHIVE, parts), 503)
            assert error["code"] == "storage_unavailable"
        assert refusal.hits == 1
        backup.refresh_from_db()
        assert backup.state is State.REPORTED
        assert backup.checksum.startswith("sha1:")
        assert daemon.report(backup, ARCHIVE, parts).status_code == 204
    backup.refresh_from_db()
    assert backup.state is State.COMPLETED


def test_unexpected_error_is_left_to_the_project(daemon, backup, settings):
    """A broken setting is no node's fault, and no 4xx: the node tries again."""
    settings.BACKUPS_REMOTE |= {"AUTHENTICATION_CLASSES": ["tests.nowhere.Authentication"]}
    assert daemon.ask(backup, 5).status_code == 500
