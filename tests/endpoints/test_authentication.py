"""Who may call: the node that makes the backup, or the one that its server is on now."""

from __future__ import annotations

import uuid

import pytest
from django.conf import settings as project
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError, connection
from django.views.debug import ExceptionReporter

from backups_remote import authentication, crypto
from backups_remote.models import RESTORING, Backup, Node
from tests.support.daemon import Daemon
from tests.support.factories import BackupFactory, NodeFactory
from tests.support.http import errors, nothing_changes, send_raw

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def strange(live_server):
    """The daemon of a node that has nothing to do with the backup."""
    with Daemon(live_server.url, NodeFactory().bearer_token) as speaking:
        yield speaking


@pytest.fixture
def restoring(server):
    server.status = RESTORING
    server.save()
    return server


def calls(daemon, backup, **kwargs):
    """The three calls, each of which would change something if it were let through."""
    yield daemon.ask(backup, 10, **kwargs)
    body = {"successful": False}
    yield daemon.call("POST", f"{backup.uuid}", json=body, **kwargs)
    yield daemon.call("POST", f"{backup.uuid}/restore", json=body, **kwargs)


def refused(answers):
    """Every answer is the same 401 with a challenge; its code."""
    codes = set()
    for answer in answers:
        [error] = errors(answer, 401)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="backups_remote"'
        codes.add(error["code"])
    assert len(codes) == 1
    return codes.pop()


# The header


def test_missing_header_returns_401_with_challenge(daemon, backup, restoring, open_uploads):
    with nothing_changes(backup, open_uploads):
        code = refused(calls(daemon, backup, headers={"Authorization": None}))
    assert code == "not_authenticated"


def test_a_malformed_header_is_refused(daemon, backup, node, restoring, open_uploads):
    good = node.bearer_token
    with nothing_changes(backup, open_uploads):
        for header in (
            "",
            "Bearer",
            "Bearer ",
            "Bearer .",
            f"Bearer {node.token_id}",
            f"Bearer {node.token_id}.",
            f"Bearer .{node.token}",
            f"Bearer {node.token}",
            f"Bearer{good}",
            f"Bearer:{good}",
            f"Basic {good}",
            f"Token {good}",
            f"Bearer\t{good}",
            good,
        ):
            assert refused(calls(daemon, backup, headers={"Authorization": header})), header


def test_a_wrong_token_is_refused(daemon, backup, node, restoring, open_uploads):
    other = NodeFactory()
    token_id, token = node.token_id, node.token
    answers = set()
    with nothing_changes(backup, open_uploads):
        for credentials in (
            f"{token_id}.{token[:-1]}",
            f"{token_id}.{token}x",
            f"{token_id}.{token.swapcase()}",
            f"{token_id}.{other.token}",
            f"{token_id}.{token}.{token}",
            f"{token_id}..{token}",
            f"{token_id}.{token} {token}",
            f"{token_id}.{node.encrypted_token}",
            f"{other.token_id}.{token}",
            f"{crypto.new_token_id()}.{token}",
            f"{token_id[:-1]}.{token}",
            f"{token_id}x.{token}",
            f"%.{token}",
            f"{token_id}\x01.{token}",
            f"{'i' * 20_000}.{token}",
            f"{token_id}.{'t' * 20_000}",
        ):
            headers = {"Authorization": f"Bearer {credentials}"}
            for answer in calls(daemon, backup, headers=headers):
                refused([answer])
                answers.add(answer.content)
    # An unknown id is told in the very words of a wrong token.
    assert len(answers) == 1


@pytest.mark.parametrize(
    "credentials",
    [
        "Bearer ïd.tökèn".encode(),
        "Bearer ïd.tökèn".encode("latin-1"),
        b"Bearer \xff\xfe.\x80\x81",
        "Bearer \N{FULLWIDTH LATIN SMALL LETTER A}.\N{SNOWMAN}".encode(),
        b"Bearer a\x00b.token",
        b"B\xe9arer id.token",
    ],
)
def test_non_ascii_credentials_are_refused(live_server, backup, node, credentials):
    for header in (credentials, credentials.replace(b"id", node.token_id.encode())):
        status, headers, body = send_raw(
            live_server.url,
            [
                f"GET /api/remote/backups/{backup.uuid}?size=5 HTTP/1.1".encode(),
                b"Host: localhost",
                b"Connection: close",
                b"Authorization: " + header,
            ],
        )
        assert status == 401, body
        assert headers["WWW-Authenticate"].startswith("Bearer")
        assert b'"status":"401"' in body


def test_scheme_is_case_insensitive(daemon, backup, node):
    for scheme in ("Bearer", "bearer", "BEARER", "Bearer "):
        headers = {"Authorization": f"{scheme} {node.bearer_token}"}
        assert daemon.ask(backup, 10, headers=headers).status_code == 200


def test_authentication_comes_before_validation(daemon, live_server, backup):
    """Nobody learns which backups, methods or bodies there are."""
    headers = {"Authorization": None}
    assert refused(
        [
            daemon.call("GET", f"{uuid.uuid4()}?size=x", headers=headers),
            daemon.call("GET", "no-uuid", headers=headers),
            daemon.call("DELETE", f"{backup.uuid}", headers=headers),
            daemon.call("OPTIONS", f"{backup.uuid}/restore", headers=headers),
            daemon.call("POST", f"{backup.uuid}", data=b"{", headers=headers),
        ]
    )


def test_credentials_are_neither_returned_nor_logged(daemon, backup, node, caplog):
    caplog.set_level("DEBUG", "backups_remote")
    caplog.set_level("INFO")
    wrong = crypto.new_token()
    answer = daemon.ask(backup, 10, headers={"Authorization": f"Bearer {node.token_id}.{wrong}"})
    assert errors(answer, 401)
    assert caplog.records
    for secret in (wrong, node.token, node.encrypted_token):
        assert secret not in answer.text + str(answer.headers) + caplog.text


# The token


def test_old_token_is_refused_after_rotation(daemon, backup, node):
    old_id = node.token_id
    assert daemon.ask(backup, 10).status_code == 200
    new = node.rotate_token()
    assert refused([daemon.ask(backup, 10)])
    halves = {"Authorization": f"Bearer {old_id}.{node.token}"}
    assert refused([daemon.ask(backup, 10, headers=halves)])
    headers = {"Authorization": f"Bearer {new}"}
    assert daemon.ask(backup, 10, headers=headers).status_code == 200


def test_secret_key_fallback_keeps_tokens_valid(daemon, backup, settings):
    old = project.SECRET_KEY
    settings.SECRET_KEY = "another-key-for-tests"
    settings.SECRET_KEY_FALLBACKS = ["nobodys-key", old]
    assert daemon.ask(backup, 10).status_code == 200

    # Without it, nobody can tell whether the token is right: the node tries again.
    settings.SECRET_KEY_FALLBACKS = []
    [error] = errors(daemon.ask(backup, 10), 503)
    assert error["code"] == "token_unreadable"

    settings.SECRET_KEY_FALLBACKS = [old]
    assert daemon.ask(backup, 10).status_code == 200


def test_a_deleted_node_is_refused(daemon, backup, node):
    loose = NodeFactory()
    headers = {"Authorization": f"Bearer {loose.bearer_token}"}
    assert errors(daemon.ask(backup, 10, headers=headers), 404)
    Node.objects.filter(pk=loose.pk).delete()
    assert refused([daemon.ask(backup, 10, headers=headers)])


def test_the_token_is_in_no_traceback(client, backup, node, caplog):
    """Where a database fails, projects mail the locals of every frame."""
    wrong = crypto.new_token()

    def fail(execute, sql, params, many, context):
        raise OperationalError("server closed the connection")

    for token in (node.token, wrong):
        caplog.clear()
        headers = {"Authorization": f"Bearer {node.token_id}.{token}"}
        with connection.execute_wrapper(fail):
            answer = client.get(f"/api/remote/backups/{backup.uuid}?size=5", headers=headers)
        assert answer.status_code == 503
        reports = [record.exc_info for record in caplog.records if record.exc_info]
        assert reports
        for exc_info in reports:
            html = ExceptionReporter(answer.wsgi_request, *exc_info).get_traceback_html()
            assert "authenticate" in html
            assert token not in html


def test_stored_token_is_in_no_traceback(client, backup, node, monkeypatch):
    token = node.token

    def fail(given, expected):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(authentication, "constant_time_compare", fail)
    headers = {"Authorization": f"Bearer {node.token_id}.wrong"}
    with pytest.raises(RuntimeError) as caught:
        client.get(f"/api/remote/backups/{backup.uuid}?size=5", headers=headers)
    # Without the frame of this test, which knows the token.
    exc_info = (caught.type, caught.value, caught.tb.tb_next)
    html = ExceptionReporter(None, *exc_info).get_traceback_html()
    assert "authenticate" in html
    assert token not in html


def test_unknown_and_known_ids_take_the_same_work(client, backup, node, monkeypatch):
    """One decryption and one comparison in constant time: nothing shows which ids there are."""
    calls = []

    def spy(module, name):
        real = getattr(module, name)

        def spied(*args):
            calls.append(name)
            return real(*args)

        monkeypatch.setattr(module, name, spied)

    spy(crypto, "encrypt")
    spy(crypto, "decrypt")
    spy(authentication, "constant_time_compare")

    def cost(token_id):
        calls.clear()
        headers = {"Authorization": f"Bearer {token_id}.{crypto.new_token()}"}
        path = f"/api/remote/backups/{backup.uuid}?size=5"
        assert client.get(path, headers=headers).status_code == 401
        return list(calls)

    # What is made once a process is made by now.
    cost(crypto.new_token_id())
    assert cost(node.token_id) == ["decrypt", "constant_time_compare"]
    assert cost(crypto.new_token_id()) == ["decrypt", "constant_time_compare"]


def test_known_and_unknown_ids_get_the_same_answer_after_key_change(client, backup, node, settings):
    """Else the answers would tell which ids there are."""
    NodeFactory()
    path = f"/api/remote/backups/{backup.uuid}?size=5"

    def answers():
        ids = [node.token_id, *("A" * 16, "z" * 16, crypto.new_token_id())]
        for token_id in ids:
            headers = {"Authorization": f"Bearer {token_id}.{crypto.new_token()}"}
            answer = client.get(path, headers=headers)
            yield answer.status_code, answer.content

    [(status, _)] = set(answers())
    assert status == 401
    settings.SECRET_KEY = "another-key-for-tests"
    [(status, _)] = set(answers())
    assert status == 503


# Whose backup it is


def test_backup_of_another_node_returns_404(strange, backup, restoring, open_uploads):
    unknown = Backup(uuid=uuid.uuid4())
    with nothing_changes(backup, open_uploads):
        for theirs, nobodys in zip(calls(strange, backup), calls(strange, unknown), strict=True):
            [error] = errors(theirs, 404)
            assert error["code"] == "backup_not_found"
            assert theirs.content == nobodys.content
            assert set(theirs.headers.items()) ^ set(nobodys.headers.items()) <= {
                ("Date", answer.headers["Date"]) for answer in (theirs, nobodys)
            }


def test_backup_stays_with_its_node_after_server_moved(daemon, strange, backup, restoring):
    """The old node finishes the backup; the new one is told to restore, and says how it went."""
    new_home = Node.objects.get(token_id=strange.bearer.partition(".")[0])
    ticket = daemon.ask(backup, 10).json()
    restoring.node = new_home
    restoring.save()

    assert errors(strange.ask(backup, 10), 404)
    assert errors(strange.report(backup, b"0123456789", None), 404)
    assert errors(daemon.report_restore(backup), 404)
    restoring.refresh_from_db()
    assert restoring.status == RESTORING

    parts = daemon.upload(ticket["parts"], b"0123456789", ticket["part_size"])
    assert daemon.report(backup, b"0123456789", parts).status_code == 204
    assert strange.report_restore(backup).status_code == 204
    restoring.refresh_from_db()
    assert restoring.status is None
    backup.refresh_from_db()
    assert backup.state is Backup.State.COMPLETED


def test_backup_after_move_belongs_to_the_new_node(daemon, strange, restoring, disk):
    restoring.node = Node.objects.get(token_id=strange.bearer.partition(".")[0])
    restoring.save()
    backup = BackupFactory(server=restoring)
    assert errors(daemon.ask(backup, 10), 404)
    assert strange.ask(backup, 10).status_code == 200


# Other classes


class NodeOfAProxy:
    """Trusts the name that a proxy in front of the panel has proven (say, by mutual TLS)."""

    def authenticate(self, request):
        name = request.headers.get("X-Node")
        return None if name is None else (AnonymousUser(), Node.objects.get(name=name))

    def authenticate_header(self, request):
        return None


def test_project_can_replace_authentication_classes(daemon, backup, node, settings):
    settings.BACKUPS_REMOTE |= {
        "AUTHENTICATION_CLASSES": ["tests.endpoints.test_authentication.NodeOfAProxy"]
    }
    headers = {"Authorization": None, "X-Node": node.name}
    assert daemon.ask(backup, 10, headers=headers).status_code == 200
    assert errors(daemon.ask(backup, 10), 401)


class SomebodysAccount(NodeOfAProxy):
    """Authenticates, but not a node."""

    def authenticate(self, request):
        return None, "a key of somebody's"

    def authenticate_header(self, request):
        return 'Bearer realm="elsewhere"'


def test_user_that_is_not_a_node_is_refused(daemon, backup, settings):
    settings.BACKUPS_REMOTE |= {
        "AUTHENTICATION_CLASSES": ["tests.endpoints.test_authentication.SomebodysAccount"]
    }
    answer = daemon.ask(backup, 10)
    assert errors(answer, 401)
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="elsewhere"'
