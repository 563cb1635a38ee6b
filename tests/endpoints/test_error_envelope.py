"""The error envelope: status, code and detail of every error."""

from __future__ import annotations

import uuid

import pytest
from django.conf import settings as project

from backups_remote import lifecycle
from backups_remote.models import RESTORING, Backup
from backups_remote.types import Report
from tests.support.daemon import PELICAN, PTERODACTYL
from tests.support.http import MIB, errors, nothing_changes, send_raw

pytestmark = pytest.mark.django_db(transaction=True)

State = Backup.State


def test_invalid_ids_return_404(daemon, backup):
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


def test_details_are_english_in_a_project_of_another_language(daemon, backup, settings):
    # With its catalogues, which are those of its errors.
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "rest_framework"]
    settings.LANGUAGE_CODE = "de"
    answer = daemon.call("GET", f"{backup.uuid}?size=many", headers={"Accept-Language": "de"})
    assert [e["detail"] for e in errors(answer, 400)] == ["size: A valid integer is required."]
    answer = daemon.call("DELETE", f"{backup.uuid}")
    assert [e["detail"] for e in errors(answer, 405)] == ['Method "DELETE" not allowed.']


def test_answers_are_not_cacheable(daemon, backup, server):
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


def test_site_wide_cache_stores_no_urls(client, backup, node, settings):
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


def test_truncated_body_gets_a_retryable_answer(live_server, backup, node):
    """A 4xx would be final."""
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
            assert status == 503, (sent, body)
            assert b'"status":"503"' in body


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


def test_language_does_not_change_the_envelope(daemon, backup):
    headers = {"Accept-Language": "de"}
    assert errors(daemon.ask(backup, "", headers=headers), 400)
    assert errors(daemon.call("DELETE", f"{backup.uuid}", headers=headers), 405)


def test_the_repr_of_a_ticket_shows_no_url(backup):
    ticket = lifecycle.request_upload(backup, 5)
    assert "X-Amz-Signature" in ticket.urls[0]
    assert "X-Amz" not in repr(ticket)
    assert "part_size=" in repr(ticket)
