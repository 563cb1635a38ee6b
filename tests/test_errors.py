"""What goes wrong: the envelope for all of it, and nothing lost that a retry would need."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.conf import settings as project
from django.db import connection, connections, transaction
from rest_framework.views import APIView

from backups_remote import errors as backups_remote_errors
from backups_remote import exceptions, lifecycle
from backups_remote.models import RESTORING, Backup
from backups_remote.storage.s3 import S3Backend
from backups_remote.types import Report
from tests.daemon import PELICAN, PTERODACTYL, Daemon
from tests.factories import BackupFactory, NodeFactory
from tests.http import CLOSED, MIB, details, errors, nothing_changes, reached_by, send_raw
from tests.reliability.proxy import Fault, Proxy

ROOT = Path(__file__).resolve().parent.parent
ARCHIVE = b"a tiny archive"
State = Backup.State

pytestmark = pytest.mark.django_db(transaction=True)


def uploaded(daemon, backup, archive=ARCHIVE):
    ticket = daemon.ask(backup, len(archive)).json()
    return daemon.upload(ticket["parts"], archive, ticket["part_size"])


# The envelope


def test_ids_that_are_none_are_not_there(daemon, backup):
    known = str(backup.uuid)
    unknown = errors(daemon.call("GET", f"{uuid.uuid4()}?size=5"), 404)
    for name in (
        "1",
        "null",
        known[:-1],
        f"{known}0",
        known.replace("-", ""),
        f"{{{known}}}",
        f"urn:uuid:{known}",
        f"%20{known}",
        f"{known}%0A",
        f"{known}%00",
        "%00",
        "%FF%FE",
        "é",
        "٣" * 8 + known[8:],
        "x" * 3000,
        "' OR 1=1 --",
        "*",
    ):
        assert errors(daemon.call("GET", f"{name}?size=5"), 404) == unknown, name
        body = {"successful": False}
        assert errors(daemon.call("POST", name, json=body), 404) == unknown, name
        assert errors(daemon.call("POST", f"{name}/restore", json=body), 404) == unknown, name


def test_other_methods_are_refused(daemon, backup, open_uploads):
    allowed = {f"{backup.uuid}?size=5": "GET, POST", f"{backup.uuid}/restore": "POST"}
    with nothing_changes(backup, open_uploads):
        for path, allow in allowed.items():
            for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "GET"):
                if method in allow:
                    continue
                answer = daemon.call(method, path, json={"successful": False})
                [error] = errors(answer, 405)
                assert error["code"] == "method_not_allowed"
                assert answer.headers["Allow"] == allow
            head = daemon.call("HEAD", path)
            assert (head.status_code, head.content) == (405, b"")
            overridden = {"X-HTTP-Method-Override": "DELETE", "X-Method-Override": "PUT"}
            assert daemon.call("TRACE", path, headers=overridden).status_code == 405


def test_no_answer_may_be_kept_by_a_cache(daemon, backup, server):
    server.status = RESTORING
    server.save()
    nobody = {"Authorization": None}
    ask, restore = f"{backup.uuid}?size=5", f"{backup.uuid}/restore"
    failed = {"successful": False}
    answers = [
        (200, daemon.call("GET", ask)),
        (400, daemon.call("GET", str(backup.uuid))),
        (401, daemon.call("GET", ask, headers=nobody)),
        (401, daemon.call("POST", restore, json=failed, headers=nobody)),
        (404, daemon.call("GET", f"{uuid.uuid4()}?size=5")),
        (405, daemon.call("DELETE", ask)),
        (405, daemon.call("HEAD", restore)),
        (204, daemon.call("POST", restore, json=failed)),
        (400, daemon.call("POST", restore, data=b"{")),
        (204, daemon.call("POST", str(backup.uuid), json=failed)),
        (409, daemon.call("GET", ask)),
    ]
    for status, answer in answers:
        assert answer.status_code == status
        assert answer.headers["Cache-Control"] == "private, no-store", answer.request.url


def test_a_cache_of_the_whole_site_keeps_no_urls(client, backup, node, settings):
    settings.MIDDLEWARE = [
        "django.middleware.cache.UpdateCacheMiddleware",
        *settings.MIDDLEWARE,
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]
    path = f"/api/remote/backups/{backup.uuid}?size=5"
    ours = {"Authorization": f"Bearer {node.bearer_token}"}
    assert client.get(path, headers=ours).status_code == 200
    assert client.get(path).status_code == 401
    backup.refresh_from_db()
    lifecycle.record_report(backup, Report(successful=False))
    assert client.get(path, headers=ours).status_code == 409


def test_nothing_redirects(daemon, backup, server):
    """A POST that is redirected arrives as a GET without its body."""
    assert project.APPEND_SLASH
    for path in (
        f"{backup.uuid}/",
        f"{backup.uuid}/restore/",
        f"{backup.uuid}//restore",
        f"/{backup.uuid}",
        f"{backup.uuid}/restore/x",
        f"{backup.uuid}/Restore",
        f"{backup.uuid}.json",
        "",
    ):
        for method in ("GET", "POST"):
            answer = daemon.call(method, path, json={"successful": False}, params={"size": 5})
            assert answer.status_code == 404, (method, path)
            assert "Location" not in answer.headers
    assert Backup.objects.get().state is State.PENDING


def test_a_body_that_is_cut_off_is_refused(live_server, backup, node):
    whole = b'{"checksum":"","checksum_type":"","size":0,"successful":false,"parts":null}'
    with nothing_changes(backup):
        for sent in (0, 1, 40, len(whole) - 1):
            status, _, body = send_raw(
                live_server.url,
                [
                    f"POST /api/remote/backups/{backup.uuid} HTTP/1.1".encode(),
                    b"Host: localhost",
                    b"Connection: close",
                    b"Content-Length: %d" % len(whole),
                    f"Authorization: Bearer {node.bearer_token}".encode(),
                ],
                whole[:sent],
            )
            assert status == 400, (sent, body)
            assert b'"status":"400"' in body


@pytest.mark.parametrize("accept", [PTERODACTYL, PELICAN, "text/html", "image/*", None])
def test_every_error_is_json_under_every_accept_header(daemon, backup, accept):
    headers = {"Accept": accept}
    assert errors(daemon.ask(backup, "x", headers=headers), 400)
    assert errors(daemon.call("GET", f"{uuid.uuid4()}?size=5", headers=headers), 404)
    assert errors(daemon.call("PUT", f"{backup.uuid}", headers=headers), 405)
    assert errors(daemon.call("POST", f"{backup.uuid}", data=b"{", headers=headers), 400)
    body = b" " * (4 * MIB + 1)
    assert errors(daemon.call("POST", f"{backup.uuid}", data=body, headers=headers), 413)
    nobody = {**headers, "Authorization": None}
    assert errors(daemon.ask(backup, 5, headers=nobody), 401)


def test_the_language_of_the_host_leaves_the_envelope_alone(daemon, backup):
    headers = {"Accept-Language": "de"}
    assert errors(daemon.ask(backup, "", headers=headers), 400)
    assert errors(daemon.call("DELETE", f"{backup.uuid}", headers=headers), 405)


def test_every_error_of_ours_has_a_status():
    """One that is new gets its own, not a 400 by accident."""

    def tree(kind):
        yield kind
        for child in kind.__subclasses__():
            yield from tree(child)

    listed = tuple(kind for kind, _ in backups_remote_errors.STATUSES)
    package = exceptions.__name__
    ours = {kind for kind in tree(exceptions.BackupsRemoteError) if kind.__module__ == package}
    ours.discard(exceptions.BackupsRemoteError)
    assert {kind for kind in ours if not issubclass(kind, listed)} == set()
    for kind in ours:
        answer = backups_remote_errors.error_response(kind())
        [error] = answer.data["errors"]
        assert error["status"] == str(answer.status_code)
        assert re.fullmatch(r"[a-z_]+", error["code"])


# The host project


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
    command = [
        *(sys.executable, "-m", "gunicorn", "django.core.wsgi:get_wsgi_application()"),
        *("--bind", "127.0.0.1:0", "--threads", "4", "--no-control-socket"),
    ]
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.host_project.settings",
        "HOST_PROJECT": json.dumps(told),
        "PYTHONPATH": str(ROOT),
    }
    with host_log.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up and process.poll() is None:
            said = host_log.read_text(encoding="utf-8", errors="replace")
            if listening := re.search(r"Listening at: (http://127\.0\.0\.1:\d+)", said):
                yield listening[1]
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"gunicorn does not answer: {host_log.read_text(encoding='utf-8')}")
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_the_hosts_drf_settings_neither_reach_nor_are_needed(host, node, server, host_log):
    assert "rest_framework" not in project.INSTALLED_APPS
    backup = BackupFactory(server=server, disk="s3")
    with Daemon(host, node.bearer_token) as daemon:
        parts = uploaded(daemon, backup)
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


def test_the_hosts_own_views_keep_the_hosts_handler(host):
    """Asked as a TLS proxy in front of it would."""
    answer = requests.get(f"{host}/teapot", headers={"X-Forwarded-Proto": "https"}, timeout=30)
    assert answer.status_code == 418
    assert answer.text == "{'HOST': 'SAID'}"
    assert answer.headers["Content-Type"].startswith("text/shout")


def test_importing_the_app_leaves_drf_as_it_was():
    from rest_framework.settings import DEFAULTS, api_settings

    assert api_settings.EXCEPTION_HANDLER.__module__ == "rest_framework.views"
    assert [c.__module__ + "." + c.__name__ for c in APIView.renderer_classes] == DEFAULTS[
        "DEFAULT_RENDERER_CLASSES"
    ]


# No transaction of the host's around a store call


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


def test_atomic_requests_of_the_host_do_not_reach_the_views(
    daemon, backup, server, settings, monkeypatch
):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    settings.BACKUPS_REMOTE |= {"BACKENDS": {"s3": "tests.test_errors.Watched"}}
    Watched.inside.clear()
    assert daemon.back_up(backup, ARCHIVE).status_code == 204
    failed = BackupFactory(server=server)
    assert daemon.ask(failed, 5).status_code == 200
    assert daemon.report_failure(failed).status_code == 204
    assert Watched.inside == dict.fromkeys(["create", "list", "complete", "abort"], False)


def test_a_report_is_recorded_though_the_store_fails(
    daemon, backup, store, settings, monkeypatch, s3
):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    with Proxy(store.endpoint) as proxy:
        reached_by(settings, endpoint_url=proxy.url)
        parts = uploaded(daemon, backup)
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


# The store is not there


FAULTS = {
    "closed port": {"endpoint_url": CLOSED},
    "wrong secret": {"secret_key": "a-wrong-secret"},
    "unknown access key": {"access_key": "nobody"},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_without_its_store_a_call_is_to_be_repeated(
    daemon, backup, server, store, node, settings, caplog, fault
):
    caplog.set_level("INFO")
    caplog.set_level("DEBUG", "backups_remote")
    started = BackupFactory(server=server)
    ticket = daemon.ask(started, len(ARCHIVE)).json()
    parts = daemon.upload(ticket["parts"], ARCHIVE, ticket["part_size"])
    whole = settings.STORAGES

    reached_by(settings, **FAULTS[fault])
    with nothing_changes(backup), nothing_changes(started):
        answers = [
            daemon.ask(backup, 5),
            daemon.ask(started, 5),
            daemon.report(started, ARCHIVE, parts),
            daemon.report(started, ARCHIVE, None),
        ]
        for answer in answers:
            [error] = errors(answer, 503)
            assert error["code"] == "storage_unavailable"
            assert error["detail"].startswith("The store ")

    settings.STORAGES = whole
    assert daemon.ask(backup, 5).status_code == 200
    assert daemon.report(started, ARCHIVE, parts).status_code == 204
    started.refresh_from_db()
    assert started.state is State.COMPLETED
    # The node reads the answer, an operator the log, and others both.
    signature = parse_qs(urlsplit(ticket["parts"][0]).query)["X-Amz-Signature"][0]
    said = caplog.text + "".join(answer.text for answer in answers)
    assert "A node is told to try again" in said
    for secret in (
        signature,
        "X-Amz-",
        store.secret_key,
        "a-wrong-secret",
        node.token,
        node.encrypted_token,
    ):
        assert secret not in said


def test_without_its_bucket_a_call_is_to_be_repeated(daemon, backup, server, store, settings):
    """The embedded store makes a bucket that it is asked for; others say that there is none."""
    started = BackupFactory(server=server)
    with Proxy(store.endpoint) as proxy:
        reached_by(settings, endpoint_url=proxy.url)
        parts = uploaded(daemon, started)
        gone = [
            Fault(call, forward=False, times=99, answer=(404, "NoSuchBucket"))
            for call in ("create", "list_parts", "complete", "abort", "head")
        ]
        with proxy.going_wrong(*gone), nothing_changes(backup), nothing_changes(started):
            for answer in (daemon.ask(backup, 5), daemon.report(started, ARCHIVE, parts)):
                [error] = errors(answer, 503)
                assert error["code"] == "storage_unavailable"
                assert "NoSuchBucket" in error["detail"]
        assert daemon.ask(backup, 5).status_code == 200
        assert daemon.report(started, ARCHIVE, parts).status_code == 204


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_is_recorded_without_the_store(daemon, backup, settings, open_uploads, fault):
    """The upload is left for the sweep: the row keeps what it needs for that."""
    uploaded(daemon, backup)
    reached_by(settings, **FAULTS[fault])
    assert daemon.report_failure(backup).status_code == 204
    backup.refresh_from_db()
    assert backup.state is State.FAILED
    assert [upload_id for _, upload_id in open_uploads()] == [backup.upload_id]


def test_a_disk_that_is_gone_from_the_settings_is_a_fault_not_an_answer(daemon, backup, settings):
    parts = uploaded(daemon, backup)
    whole = settings.STORAGES
    settings.STORAGES = {name: disk for name, disk in whole.items() if name != "s3"}
    with nothing_changes(backup):
        for answer in (daemon.ask(backup, 5), daemon.report(backup, ARCHIVE, parts)):
            [error] = errors(answer, 503)
            assert error["code"] == "disk_not_configured"
    settings.STORAGES = whole
    assert daemon.report(backup, ARCHIVE, parts).status_code == 204


# The database is not there


@contextlib.contextmanager
def impatient_connections():
    """New connections wait for a lock for a moment only."""
    database = connections.settings["default"]
    options = database.setdefault("OPTIONS", {})
    before = dict(options)
    options.update(
        {
            "sqlite": {"timeout": 0.2},
            "postgresql": {"options": "-c lock_timeout=200"},
            "mysql": {"init_command": "SET SESSION innodb_lock_wait_timeout=1"},
        }[connection.vendor]
    )
    try:
        yield
    finally:
        options.clear()
        options.update(before)


@contextlib.contextmanager
def rows_locked(*rows):
    """Another connection has these rows (on SQLite: the whole file) to itself."""
    with transaction.atomic():
        for locked in rows:
            type(locked)._base_manager.filter(pk=locked.pk).update(name="locked")
        yield
        transaction.set_rollback(True)


def test_a_lock_that_is_held_too_long_is_a_call_to_be_repeated(
    daemon, server, disk, backup, open_uploads, caplog
):
    """Each verb that writes: nothing is changed, and the repeat succeeds."""
    started, failing = BackupFactory(server=server), BackupFactory(server=server)
    own_disk = BackupFactory(server=server, disk="wings")
    parts = uploaded(daemon, started)
    uploaded(daemon, failing)
    server.status = "restoring_backup"
    server.save()

    def calls():
        yield daemon.ask(backup, 5)
        yield daemon.report(started, ARCHIVE, parts)
        yield daemon.report_failure(failing)
        yield daemon.report(own_disk, ARCHIVE, None)
        yield daemon.report_restore(backup)

    touched = (backup, started, failing, own_disk)
    with contextlib.ExitStack() as stack:
        for one in touched:
            stack.enter_context(nothing_changes(one))
        with impatient_connections(), rows_locked(server, *touched):
            for answer in calls():
                [error] = errors(answer, 503)
                assert error["code"] == "database_unavailable"
    # Failing was not recorded: its parts are still there.
    failing.refresh_from_db()
    assert failing.upload_id in {upload_id for _, upload_id in open_uploads()}
    assert "The database did not answer a node's call." in caplog.text
    assert [answer.status_code for answer in calls()] == [200, 204, 204, 204, 204]


def test_without_a_database_every_call_is_to_be_repeated(
    daemon, backup, node, caplog, monkeypatch, open_uploads
):
    parts = uploaded(daemon, backup)
    gone = {"sqlite": ("NAME", "/nowhere/panel.sqlite3")}.get(connection.vendor, ("PORT", "1"))
    with nothing_changes(backup, open_uploads), monkeypatch.context() as patched:
        patched.setitem(connections.settings["default"], *gone)
        for answer in (
            daemon.ask(backup, 5),
            daemon.report(backup, ARCHIVE, parts),
            daemon.report_failure(backup),
            daemon.report_restore(backup),
        ):
            [error] = errors(answer, 503)
            assert error["code"] == "database_unavailable"
            assert "sqlite" not in answer.text
            assert "nowhere" not in answer.text
    assert node.token not in caplog.text
    assert daemon.report(backup, ARCHIVE, parts).status_code == 204


def test_what_nobody_foresaw_is_the_hosts_to_answer(daemon, backup, settings):
    """A broken setting is no node's fault, and no 4xx: the node tries again."""
    settings.BACKUPS_REMOTE |= {"AUTHENTICATION_CLASSES": ["tests.nowhere.Authentication"]}
    assert daemon.ask(backup, 5).status_code == 500


def test_another_nodes_fault_is_its_own(daemon, live_server, server, backup, settings):
    """One disk that cannot be reached leaves the others alone."""
    own_disk = BackupFactory(server=server, disk="wings")
    reached_by(settings, endpoint_url=CLOSED)
    assert errors(daemon.ask(backup, 5), 503)
    assert daemon.report(own_disk, ARCHIVE, None).status_code == 204
    with Daemon(live_server.url, NodeFactory().bearer_token) as other:
        assert details(other.ask(backup, 5), 404)


def test_the_repr_of_a_ticket_shows_no_url(backup):
    ticket = lifecycle.request_upload(backup, 5)
    assert "X-Amz-Signature" in ticket.urls[0]
    assert "X-Amz" not in repr(ticket)
    assert "part_size=" in repr(ticket)
