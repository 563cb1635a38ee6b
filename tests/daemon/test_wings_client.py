"""The client for Wings: what it sends, and what each fault of a node or a network means."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.utils import timezone
from django.views.debug import ExceptionReporter

from backups_remote import crypto
from backups_remote.daemon import Daemon, Deletion, WingsDaemon, get_daemon, wings
from backups_remote.exceptions import (
    DaemonError,
    DaemonNotConfigured,
    DaemonNotReached,
    DaemonRefused,
    DaemonUnclear,
)
from tests.support.factories import BackupFactory, NodeFactory, ServerFactory
from tests.support.http import CLOSED
from tests.support.scripted import GONE, Answer, ScriptedServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

LINK = "https://s3.example.com/b/archive.tar.gz?X-Amz-Signature=5ec4e7"


class ImpatientDaemon(WingsDaemon):
    connect_timeout = 0.3
    read_timeout = 0.3


class HurriedDaemon(WingsDaemon):
    """No single read is too long for it."""

    call_timeout = 0.5


@pytest.fixture
def scripted():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def backup(scripted):
    server = ServerFactory(node=NodeFactory(url=scripted.url))
    return BackupFactory(server=server, ignored_files=["logs/*", "*.tmp"])


def daemon_of(backup):
    return ImpatientDaemon(backup.node)


def at(backup, url):
    backup.node.url = url
    return daemon_of(backup)


def test_backup_is_asked_for_as_wings_expects(scripted, backup):
    daemon_of(backup).make_backup(backup)
    (call,) = scripted.calls
    assert (call.method, call.path) == ("POST", f"/api/servers/{backup.server.uuid}/backup")
    assert call.headers["Authorization"] == f"Bearer {backup.node.token}"
    assert call.headers["Content-Type"] == "application/json"
    assert call.body == {"adapter": "s3", "uuid": str(backup.uuid), "ignore": "logs/*\n*.tmp"}


@pytest.mark.parametrize(("link", "sent"), [(LINK, LINK), (None, "")])
@pytest.mark.parametrize("truncate", [True, False])
def test_restore_is_asked_for_as_wings_expects(scripted, backup, link, sent, truncate):
    daemon_of(backup).restore_backup(backup, link=link, truncate=truncate)
    (call,) = scripted.calls
    path = f"/api/servers/{backup.server.uuid}/backup/{backup.uuid}/restore"
    assert (call.method, call.path) == ("POST", path)
    assert call.body == {"adapter": "s3", "truncate_directory": truncate, "download_url": sent}


def test_node_url_may_have_a_path_and_a_slash(scripted, backup):
    at(backup, f"{scripted.url}/node-1/").make_backup(backup)
    assert scripted.calls[0].path == f"/node-1/api/servers/{backup.server.uuid}/backup"


@pytest.mark.parametrize(
    ("answer", "deletion"),
    [
        (Answer(204), Deletion.DONE),
        (Answer(404, GONE), Deletion.DONE),
        (Answer(202), Deletion.UNDER_WAY),
    ],
)
def test_deletion_on_the_node_is_done_or_under_way(scripted, backup, answer, deletion):
    scripted.answer = answer
    assert daemon_of(backup).delete_backup(backup) is deletion
    (call,) = scripted.calls
    path = f"/api/servers/{backup.server.uuid}/backup/{backup.uuid}"
    assert (call.method, call.path, call.body) == ("DELETE", path, None)


@pytest.mark.parametrize(
    "answer", [Answer(404), Answer(404, b"<h1>Not Found</h1>", "text/html"), Answer(404, {})]
)
def test_not_found_of_a_proxy_deletes_nothing(scripted, backup, answer):
    """As of a node whose host name leads elsewhere by now."""
    scripted.answer = answer
    with pytest.raises(DaemonRefused, match="404"):
        daemon_of(backup).delete_backup(backup)


@pytest.mark.parametrize(
    ("body", "version"),
    [
        ({"version": "1.13.2", "os": "linux"}, "1.13.2"),
        ({"version": "1.0\n\x1b[31m" + "9" * 99}, "1.0 [31m" + "9" * 42),
        ({"version": 7}, "7"),
        ({}, ""),
        ([], ""),
        (b"ok", ""),
        (b"[" * 9000, ""),
    ],
    ids=range(7),
)
def test_probe_returns_the_version(scripted, backup, body, version):
    scripted.answer = Answer(200, body)
    assert daemon_of(backup).probe() == version
    (call,) = scripted.calls
    assert (call.method, call.path, call.body) == ("GET", "/api/system", None)
    assert call.headers["Authorization"] == f"Bearer {backup.node.token}"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(403, {"error": "not authorized"}), DaemonRefused),
        (Answer(502), DaemonUnclear),
        (Answer(None), DaemonUnclear),
    ],
    ids=["refused", "proxy", "broken"],
)
def test_probe_of_a_daemon_that_is_not_well(scripted, backup, answer, kind):
    scripted.answer = answer
    with pytest.raises(kind):
        daemon_of(backup).probe()


def test_probe_of_a_daemon_that_is_down(backup):
    with pytest.raises(DaemonNotReached):
        at(backup, CLOSED).probe()


def test_class_without_probe_says_so(backup):
    class OlderDaemon(Daemon):
        make_backup = restore_backup = delete_backup = download_url = None

    with pytest.raises(DaemonNotConfigured, match="OlderDaemon"):
        OlderDaemon(backup.node).probe()


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (Answer(400, {"error": "invalid link"}), DaemonRefused, "answered 400: invalid link"),
        (Answer(404, {"errors": [{"detail": "no server"}]}), DaemonRefused, "404: no server"),
        (Answer(500, {"error": "cannot begin", "request_id": "1"}), DaemonRefused, "cannot begin"),
        (Answer(403, b"<html>", "text/html"), DaemonRefused, "answered 403."),
        (Answer(302, headers={"Location": "/elsewhere"}), DaemonRefused, "answered 302."),
        (Answer(500, b"<html>proxy</html>", "text/html"), DaemonUnclear, "answered 500."),
        (Answer(500, [1]), DaemonUnclear, "answered 500."),
        (Answer(502, {"error": "bad gateway"}), DaemonUnclear, "answered 502"),
        (Answer(503), DaemonUnclear, "answered 503."),
        (Answer(504), DaemonUnclear, "answered 504."),
        (Answer(None), DaemonUnclear, "the connection broke"),
    ],
    ids=lambda value: str(getattr(value, "status", "")) or None,
)
def test_answer_shows_whether_anything_was_begun(scripted, backup, answer, kind, reason):
    scripted.answer = answer
    with pytest.raises(kind) as caught:
        daemon_of(backup).make_backup(backup)
    assert type(caught.value) is kind
    assert reason in str(caught.value)
    assert backup.node.name in str(caught.value)
    assert len(scripted.calls) == 1  # never repeated, no redirect followed


@pytest.mark.parametrize("status", [502, 400, None])
def test_report_of_an_uncaught_error_holds_no_secret(scripted, backup, status):
    """As Django mails it to the admins, with the variables of each frame."""
    scripted.answer = Answer(status)
    with pytest.raises(DaemonError) as caught:
        daemon_of(backup).restore_backup(backup, link=LINK, truncate=True)
    error = caught.value
    report = ExceptionReporter(None, type(error), error, error.__traceback__).get_traceback_html()
    assert "truncate_directory" in report
    for secret in (backup.node.token, LINK.rpartition("=")[2]):
        assert secret not in report


def test_silent_daemon_may_have_begun(scripted, backup):
    release = threading.Event()
    scripted.answer = Answer(before=lambda: release.wait(5))
    with pytest.raises(DaemonUnclear, match="did not answer within the time limit"):
        daemon_of(backup).make_backup(backup)
    release.set()


@contextlib.contextmanager
def dripping(beginning):
    """The address of a peer that begins like this, and then sends a byte now and then for ever."""

    def drip(peer):
        with peer, contextlib.suppress(OSError):
            peer.recv(65536)
            peer.sendall(beginning)
            while True:
                peer.sendall(b"0")
                time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        peer = pool.submit(lambda: drip(listener.accept()[0]))
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        peer.result()


@pytest.mark.parametrize(
    ("scheme", "beginning", "kind"),
    [
        ("http", b"HTTP/1.1 20", DaemonUnclear),
        # A record of TLS that has 16 KiB.
        ("https", b"\x16\x03\x03\x40\x00", DaemonNotReached),
    ],
    ids=["answer", "handshake"],
)
def test_daemon_that_answers_byte_by_byte_is_not_waited_for(backup, scheme, beginning, kind):
    with dripping(beginning) as address:
        backup.node.url = f"{scheme}://{address}"
        with pytest.raises(kind, match="did not answer within the time limit"):
            HurriedDaemon(backup.node).make_backup(backup)


@pytest.mark.parametrize("rest", [b"X-Long: ", b"Content-Length: 9999\r\n\r\n"])
def test_status_counts_although_the_rest_comes_byte_by_byte(backup, rest):
    with dripping(b"HTTP/1.1 202 Accepted\r\n" + rest) as address:
        backup.node.url = f"http://{address}"
        HurriedDaemon(backup.node).make_backup(backup)


def test_raised_limit_of_a_read_raises_that_of_the_call(scripted, backup, monkeypatch):
    class PatientDaemon(WingsDaemon):
        read_timeout = 300.0

    class LimitedDaemon(PatientDaemon):
        call_timeout = 90.0

    limits = []

    class Timer(threading.Timer):
        def __init__(self, interval, function):
            limits.append(interval)
            super().__init__(interval, function)

    monkeypatch.setattr(wings, "threading", SimpleNamespace(Timer=Timer))
    for kind in (WingsDaemon, PatientDaemon, LimitedDaemon):
        kind(backup.node).make_backup(backup)
    assert limits == [70, 610, 90]


def test_host_that_answers_no_packet_was_not_reached(backup):
    """As one that is off, or behind a firewall: here, whose queue of connections is full."""
    with contextlib.ExitStack() as full, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = full.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(DaemonNotReached, match="no connection within the time limit"):
            at(backup, url).make_backup(backup)


def test_answer_that_breaks_off_keeps_its_status(scripted, backup):
    scripted.answer = Answer(400, headers={"Content-Length": "100"})
    with pytest.raises(DaemonRefused):
        daemon_of(backup).make_backup(backup)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (CLOSED, "no connection could be made"),
        ("http://node.invalid", "host name is not known"),
        ("http://[::1", "URL is not valid"),
    ],
)
def test_daemon_that_was_not_reached_has_not_begun(backup, url, reason):
    with pytest.raises(DaemonNotReached, match=reason):
        at(backup, url).make_backup(backup)


def test_daemon_without_tls_has_not_begun(scripted, backup):
    with pytest.raises(DaemonNotReached, match="no TLS connection"):
        at(backup, scripted.url.replace("http:", "https:")).make_backup(backup)
    assert scripted.calls == []


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate for 127.0.0.1: its file, with the key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "node")])
    now = timezone.now()
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "node.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + built.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def over_tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ScriptedServer(tls=context) as server:
        yield server


def test_daemon_with_an_unknown_certificate_has_not_begun(over_tls, backup):
    with pytest.raises(DaemonNotReached, match="no TLS connection"):
        at(backup, over_tls.url).make_backup(backup)
    assert over_tls.calls == []


def test_subclass_may_trust_a_certificate(over_tls, backup, certificate):
    class Trusting(ImpatientDaemon):
        def tls_context(self):
            return ssl.create_default_context(cafile=certificate)

    backup.node.url = over_tls.url
    Trusting(backup.node).make_backup(backup)
    over_tls.answer = Answer(None)
    # After the handshake a broken connection is no sign that nothing was begun.
    with pytest.raises(DaemonUnclear):
        Trusting(backup.node).make_backup(backup)
    assert len(over_tls.calls) == 2


def test_error_shows_neither_token_nor_signed_query(scripted, backup):
    token = backup.node.token
    said = f'Get "{LINK}" with {token} failed\r\n\x1b[31mforged line'
    scripted.answer = Answer(400, {"error": said})
    with pytest.raises(DaemonRefused) as caught:
        daemon_of(backup).restore_backup(backup, link=LINK, truncate=False)
    message = str(caught.value)
    assert "archive.tar.gz?…" in message
    assert message.isprintable()
    for secret in (token, "5ec4e7", "X-Amz"):
        assert secret not in message
        assert secret not in repr(caught.value.__context__)


def test_long_reason_is_cut(scripted, backup):
    scripted.answer = Answer(400, {"error": "x" * 10_000})
    with pytest.raises(DaemonRefused) as caught:
        daemon_of(backup).make_backup(backup)
    assert len(str(caught.value)) < 400


def test_unreadable_token_is_an_unreached_daemon(scripted, backup, settings):
    backup.node.encrypted_token = "unreadable"
    with pytest.raises(DaemonNotReached, match="token cannot be decrypted"):
        daemon_of(backup).make_backup(backup)
    assert scripted.calls == []


def test_download_link_has_the_claims_that_wings_checks(backup):
    user = uuid.uuid4()
    tokens = []
    for _ in range(2):
        url = urlsplit(daemon_of(backup).download_url(backup, user_uuid=user))
        assert f"{url.scheme}://{url.netloc}{url.path}" == f"{backup.node.url}/download/backup"
        (token,) = parse_qs(url.query)["token"]
        tokens.append(
            jwt.decode(token, backup.node.token, algorithms=["HS256"], audience=backup.node.url)
        )
    claims = tokens[0]
    assert claims["scope"] == "backup-download"
    assert claims["server_uuid"] == str(backup.server.uuid)
    assert claims["backup_uuid"] == str(backup.uuid)
    assert claims["user_uuid"] == str(user)
    assert claims.keys() >= {"iss", "aud", "jti", "iat", "nbf", "exp", "unique_id"}
    assert claims["exp"] - claims["iat"] == 15 * 60
    assert claims["nbf"] <= claims["iat"] <= timezone.now().timestamp()
    assert tokens[0]["unique_id"] != tokens[1]["unique_id"]


def test_daemon_is_chosen_by_the_setting(backup, settings):
    with pytest.raises(DaemonNotConfigured, match="DAEMON"):
        get_daemon(backup.node)
    path = f"{__name__}.{ImpatientDaemon.__name__}"
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "DAEMON": path}
    assert type(get_daemon(backup.node)) is ImpatientDaemon
    settings.BACKUPS_REMOTE["DAEMON"] = "backups_remote.daemon.WingsDaemon"
    assert type(get_daemon(backup.node)) is WingsDaemon
    backup.node.url = ""
    with pytest.raises(DaemonNotConfigured, match="no URL"):
        get_daemon(backup.node)


def test_token_of_daemon_is_not_in_its_repr(backup):
    assert crypto.decrypt(backup.node.encrypted_token) not in repr(daemon_of(backup))
