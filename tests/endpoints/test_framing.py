"""A body counts whole or not at all, however a client, a proxy or a server frames it."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import uuid
from pathlib import Path

import pytest
from django.db import connection
from django.test import RequestFactory

from backups_remote import bodies
from backups_remote.bodies import LARGEST_BODY, BodyNotReceived, BodyTooLarge, received_body
from backups_remote.models import RESTORING, Backup
from panel_site.gunicorn import Gunicorn
from tests.reliability.cases import FAILURE
from tests.support.daemon import Daemon, success
from tests.support.factories import BackupFactory
from tests.support.http import ARCHIVE, errors, send_raw, upload

ROOT = Path(__file__).resolve().parents[2]
State = Backup.State
SERVERS = {
    "WSGI": ("django.core.wsgi:get_wsgi_application()", "gthread"),
    "ASGI": ("django.core.asgi:get_asgi_application()", "asgi"),
}


@pytest.fixture(scope="module", params=SERVERS)
def server_of_panel(request, store, django_db_setup, tmp_path_factory):
    """The address of a panel under a real server of each kind."""
    told = {
        "database": str(connection.settings_dict["NAME"]),
        "storage": {**store.storage_options, "location": f"framing-{uuid.uuid4()}"},
    }
    application, worker = SERVERS[request.param]
    gunicorn = Gunicorn(
        application,
        tmp_path_factory.mktemp("panel") / "gunicorn.log",
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.support.host_project.settings",
            "HOST_PROJECT": json.dumps(told),
            "PYTHONPATH": str(ROOT),
        },
        options=("--worker-class", worker),
    )
    with gunicorn:
        yield gunicorn.url


@pytest.fixture
def panel(server_of_panel, transactional_db):
    return server_of_panel


@pytest.fixture
def node_of(node):
    def speak(panel):
        return Daemon(panel, node.bearer_token)

    return speak


def in_chunks(body, length=20):
    """The body as requests sends it without a Content-Length."""
    text = json.dumps(body).encode()
    return iter([text[start : start + length] for start in range(0, len(text), length)])


def test_reports_in_chunks_are_read_whole(panel, node_of, server):
    stored, on_node, failed = (
        BackupFactory(server=server, disk=disk) for disk in ("s3", "wings", "s3")
    )
    with node_of(panel) as daemon:
        parts = upload(daemon, stored)
        for backup, body in (
            (stored, success(ARCHIVE, parts)),
            (on_node, success(ARCHIVE, None)),
            (failed, FAILURE),
        ):
            answer = daemon.call("POST", f"{backup.uuid}", data=in_chunks(body))
            assert answer.status_code == 204, answer.text
    states = [Backup.objects.get(pk=backup.pk).state for backup in (stored, on_node, failed)]
    assert states == [State.COMPLETED, State.COMPLETED, State.FAILED]


def test_restore_reports_in_chunks_are_read_whole(panel, node_of, server):
    backup = BackupFactory(server=server, disk="wings")
    with node_of(panel) as daemon:
        assert daemon.report(backup, ARCHIVE, None).status_code == 204
        backup.refresh_from_db()
        assert server.begin_restore(backup)
        answer = daemon.call("POST", f"{backup.uuid}/restore", data=in_chunks({"successful": True}))
    assert answer.status_code == 204, answer.text
    server.refresh_from_db()
    assert server.status != RESTORING


def test_report_of_ten_thousand_parts_fits_in_chunks(panel, node_of, server):
    """It is read whole: what is refused is what it says."""
    backup = BackupFactory(server=server, disk="s3")
    parts = [
        {"etag": f'"{number:032x}-{"9" * 64}"', "part_number": number}
        for number in range(1, 10_001)
    ]
    with node_of(panel) as daemon:
        upload(daemon, backup)
        answer = daemon.call(
            "POST", f"{backup.uuid}", data=in_chunks(success(ARCHIVE, parts), 64_000)
        )
    [error] = errors(answer, 400)
    assert error["code"] == "report_refused"


def test_too_large_body_is_refused_in_any_framing(panel, node_of, server):
    backup = BackupFactory(server=server, disk="s3")
    # One byte too many: a server may end the connection of a client that goes on sending.
    chunks = [*[b" " * 2**16] * (LARGEST_BODY // 2**16), b" "]
    with node_of(panel) as daemon:
        assert errors(daemon.call("POST", f"{backup.uuid}", data=iter(chunks)), 413)
        assert errors(daemon.call("POST", f"{backup.uuid}", data=b" " * (LARGEST_BODY + 1)), 413)


def test_empty_body_in_chunks_gets_a_retryable_answer(panel, node_of, server):
    backup = BackupFactory(server=server, disk="wings")
    with node_of(panel) as daemon:
        [error] = errors(daemon.call("POST", f"{backup.uuid}", data=iter([])), 503)
        assert error["code"] == "body_not_received"
        assert errors(daemon.call("POST", f"{backup.uuid}", data=b""), 400)
    backup.refresh_from_db()
    assert backup.state is State.PENDING


def test_server_that_passes_on_no_chunks_gives_a_retryable_answer(client, node, server):
    """Such as Django's development server. A 4xx would have the daemon delete its archive."""
    backup = BackupFactory(server=server, disk="wings")
    answer = client.post(
        f"/api/remote/backups/{backup.uuid}",
        data=b"",
        content_type="application/json",
        headers={
            "Authorization": f"Bearer {node.bearer_token}",
            "Transfer-Encoding": "chunked",
        },
    )
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["code"]) == (503, "body_not_received")
    assert "the panel's server hands over none of them" in error["detail"]
    backup.refresh_from_db()
    assert backup.state is State.PENDING


def test_body_that_breaks_off_gets_a_retryable_answer(panel, node, server):
    """The connection ends after half of what was announced."""
    backup = BackupFactory(server=server, disk="wings")
    body = json.dumps(success(ARCHIVE, None)).encode()
    lines = [
        f"POST /api/remote/backups/{backup.uuid} HTTP/1.1".encode(),
        b"Host: 127.0.0.1",
        f"Authorization: Bearer {node.bearer_token}".encode(),
        f"Content-Length: {len(body)}".encode(),
        b"Connection: close",
    ]
    answer = None
    # The server may end the connection instead, which a daemon takes as it takes a 503.
    with contextlib.suppress(OSError, http.client.HTTPException):
        answer = send_raw(panel, lines, body[: len(body) // 2])
    assert answer is None or answer[0] == 503, answer
    backup.refresh_from_db()
    assert backup.state is State.PENDING


# Servers and middlewares of other habits


class Stream:
    """A server's stream that ends by itself, and hands over less than it is asked for."""

    def __init__(self, body, at_once=7):
        self.body = io.BytesIO(body)
        self.at_once = at_once
        self.most_asked = 0

    def read(self, size):
        self.most_asked = max(self.most_asked, size)
        return self.body.read(min(size, self.at_once))


def request_with(stream, **environ):
    request = RequestFactory().post("/", b"", content_type="application/json")
    request.environ.update({"wsgi.input": stream, "wsgi.input_terminated": True, **environ})
    request.META.update(environ)
    request.META.pop("CONTENT_LENGTH", None)
    return request


def test_stream_is_read_to_its_end():
    assert received_body(request_with(Stream(b"a body in pieces"))) == b"a body in pieces"


def test_stream_without_end_is_read_no_further_than_the_limit():
    class Endless(Stream):
        def read(self, size):
            super().read(size)
            return b" " * min(size, 2**16)

    stream = Endless(b"")
    with pytest.raises(BodyTooLarge):
        received_body(request_with(stream))
    assert stream.most_asked <= LARGEST_BODY + 1


def test_body_shorter_than_announced_gets_a_retryable_answer():
    request = request_with(Stream(b'{"successful": true'))
    request.META["CONTENT_LENGTH"] = "30"
    with pytest.raises(BodyNotReceived, match="19 of the body's 30 bytes reached the panel"):
        received_body(request)


def test_body_that_a_middleware_has_read_is_used():
    request = RequestFactory().post("/", b'{"a": 1}', content_type="application/json")
    assert request.body
    assert received_body(request) == b'{"a": 1}'


def test_chunks_are_read_after_a_middleware_that_looked_for_a_body():
    """Django gives it an empty one, and leaves the server's stream unread."""
    request = request_with(Stream(b'{"a": 1}'), HTTP_TRANSFER_ENCODING="chunked")
    request._stream = io.BytesIO()
    assert request.body == b""
    assert received_body(request) == b'{"a": 1}'


def test_body_that_a_middleware_consumed_gets_a_retryable_answer():
    request = RequestFactory().post("/", b'{"a": 1}', content_type="application/json")
    assert request.read(4)
    with pytest.raises(BodyNotReceived, match="could not be read to its end"):
        received_body(request)


def test_stream_that_fails_gets_a_retryable_answer():
    class Broken(Stream):
        def read(self, size):
            raise OSError("the client is gone")

    with pytest.raises(BodyNotReceived, match="the client is gone"):
        received_body(request_with(Broken(b"")))


def test_limit_leaves_room_for_the_largest_report():
    longest = {"etag": f'"{"e" * 128}"', "part_number": 10_000}
    assert len(json.dumps(success(ARCHIVE, [longest] * 10_000))) < bodies.LARGEST_BODY / 2
