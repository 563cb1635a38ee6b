"""The stand-in daemon: it speaks as the real ones do, and has each of their faults."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import os
import tarfile
import threading
import time
import uuid
from pathlib import Path

import jwt
import pytest
import requests

from backups_remote.testing.daemon import MAKES, Fault, StandInDaemon
from tests.daemon.conftest import PACE
from tests.support.http import CLOSED
from tests.support.scripted import Answer, ScriptedServer

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures/daemons"
TOKEN_ID, TOKEN = "i" * 16, "t" * 64
# Not random: they are in the names of tests.
SERVER, BACKUP, OTHER = (uuid.UUID(int=number) for number in range(1, 4))
MIB = 1024**2
#: A gzip member that is broken after its header.
GARBLED = Answer(
    200, gzip.compress(b"", mtime=0)[:10] + b"\xff" * 8, headers={"Content-Encoding": "gzip"}
)

pytestmark = pytest.mark.once


class Panel(ScriptedServer):
    """Answers as it is told: ``answers`` one after another, then ``answer``."""

    def __init__(self):
        super().__init__(Answer(204))
        self.answers = []

    def respond(self, handler):
        self.send(handler, self.answers.pop(0) if self.answers else self.answer)

    def heard(self):
        return [(call.method, call.path) for call in self.calls]


@pytest.fixture
def panel():
    with Panel() as server:
        yield server


@pytest.fixture
def make():
    return "pterodactyl"


@pytest.fixture
def daemon(tmp_path, panel, make):
    """A daemon whose panel is scripted, with one server."""
    with StandInDaemon(tmp_path, make, pace=PACE) as daemon:
        daemon.connect(panel.url, TOKEN_ID, TOKEN)
        yield daemon
        daemon.wait()


@pytest.fixture
def files(daemon):
    files = daemon.add_server(SERVER)
    (files / "level.dat").write_bytes(b"level")
    (files / "server.properties").write_text("level-name=world")
    return files


def call(daemon, method, path, body=None, token=TOKEN):
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{daemon.url}/api/servers/{path}"
    return requests.request(method, url, json=body, headers=headers, timeout=30)


def back_up(daemon, adapter="wings", ignore=""):
    """Have a backup made; the panel hears of it."""
    body = {"adapter": adapter, "uuid": str(BACKUP), "ignore": ignore}
    answer = call(daemon, "POST", f"{SERVER}/backup", body)
    assert (answer.status_code, answer.content) == (202, b"")
    daemon.wait()


def restore(daemon, link="", *, truncate=False, adapter="s3"):
    body = {"adapter": adapter, "truncate_directory": truncate, "download_url": link}
    answer = call(daemon, "POST", f"{SERVER}/backup/{BACKUP}/restore", body)
    daemon.wait()
    return answer


def names_in(archive):
    with tarfile.open(archive) as tar:
        return sorted(tar.getnames())


# As the real ones speak


def filled(text, daemon):
    values = {"backup": BACKUP, "server": SERVER, "token_id": TOKEN_ID, "token": TOKEN}
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


@pytest.mark.parametrize("make", MAKES)
def test_requests_are_those_of_the_real_daemon(daemon, panel, files, make):
    back_up(daemon)
    restore(daemon, adapter="wings")
    daemon.archive_path(SERVER, BACKUP).write_bytes(b"garbage")
    restore(daemon, adapter="wings")
    panel.answer = Answer(400)  # no URLs: there will be no archive
    back_up(daemon, adapter="s3")
    known = recorded(make, daemon)
    expected = ["success_on_own_disk", "restored", "restore_failed", "ask", "failure"]
    if "ask_for_parts" in known:
        expected.insert(expected.index("ask"), "ask_for_parts")
    for sent, name in zip(panel.calls, expected, strict=True):
        assert_matches(sent, known[name])


@pytest.mark.parametrize("make", MAKES)
def test_restart_is_reported_as_by_the_real_daemon(panel, make, tmp_path):
    with StandInDaemon(tmp_path / "other", make, pace=PACE, resets_servers=True) as other:
        other.connect(panel.url, TOKEN_ID, TOKEN)
        assert_matches(panel.calls[-1], recorded(make, other)["restarted"])


@pytest.mark.parametrize("make", ["calagopus"])
def test_deletion_is_reported_as_the_real_daemon_reports_it(daemon, panel, files, make):
    back_up(daemon)
    call(daemon, "DELETE", f"{SERVER}/backup/{BACKUP}")
    daemon.wait()
    assert_matches(panel.calls[-1], recorded(make, daemon)["deleted"])


def recorded(make, daemon):
    return json.loads(filled((FIXTURES / f"{make}.json").read_text(encoding="utf-8"), daemon))


def assert_matches(sent, real):
    """The stand-in's call has the path, the headers and the keys of the real one."""
    assert sent.method == real["method"]
    path, _, query = sent.path.partition("?")
    real_path, _, real_query = real["path"].partition("?")
    assert path == real_path
    assert query.partition("=")[0] == real_query.partition("=")[0]
    added = {"Host", "Accept-Encoding", "Content-Length"}
    headers = {k: v for k, v in real["headers"].items() if not k.startswith("X-Custom")}
    assert {k: v for k, v in sent.headers.items() if k not in added} == headers
    assert ("Content-Length" in sent.headers) is (sent.method == "POST")
    if "checksum" in real.get("body", {}) and real["body"]["successful"]:
        # The archives differ; the keys and the kinds do not.
        assert list(sent.body) == list(real["body"])
        assert sent.body["checksum_type"] == real["body"]["checksum_type"]
        assert sent.body["parts"] == real["body"]["parts"]
    else:
        assert sent.body == real.get("body")


@pytest.mark.parametrize(
    ("answer", "tries"),
    [(Answer(503), 9), (Answer(None), 9), (GARBLED, 9), (Answer(400), 1), (Answer(302), 1)],
    ids=["5xx", "broken", "garbled", "4xx", "redirect"],
)
def test_call_is_repeated_for_thirty_seconds(daemon, panel, files, answer, tries):
    panel.answer = answer
    back_up(daemon)
    assert panel.heard() == [("POST", f"/api/remote/backups/{BACKUP}")] * tries
    assert len(daemon.calls) == tries + 1


def test_repeats_end_with_the_first_success(daemon, panel, files):
    panel.answers = [Answer(503), Answer(None)]
    back_up(daemon)
    assert len(panel.calls) == 3
    assert daemon.archive_path(SERVER, BACKUP).exists()


def test_panel_that_is_not_there_is_called_nine_times(daemon, files):
    daemon.connect(CLOSED, TOKEN_ID, TOKEN)
    back_up(daemon)
    assert [c.status for c in daemon.calls if c.to == "panel"] == [None] * 9


@pytest.mark.parametrize(("make", "repeats"), [("pterodactyl", False), ("calagopus", True)])
def test_one_make_repeats_a_call_after_a_timeout(tmp_path, panel, make, repeats):
    over = threading.Event()
    panel.answers = [Answer(204, before=lambda: over.wait(5))]
    with StandInDaemon(tmp_path, make, pace=PACE, panel_timeout=0.1) as daemon:
        daemon.connect(panel.url, TOKEN_ID, TOKEN)
        daemon.add_server(SERVER)
        back_up(daemon)
        over.set()
    # On a busy machine the repeat may come too late as well.
    assert (len(panel.calls) > 1) is repeats


def test_only_the_panel_of_the_node_is_obeyed(daemon, panel, files):
    path, body = f"{SERVER}/backup", {"adapter": "wings", "uuid": str(BACKUP)}
    assert requests.post(f"{daemon.url}/api/servers/{path}", timeout=30).status_code == 401
    assert call(daemon, "POST", path, body, token="other").status_code == 403
    refused = [
        (call(daemon, "POST", f"{OTHER}/backup", body), 404),
        (call(daemon, "POST", f"{SERVER}/backup", {"adapter": "wings"}), 400),
        (call(daemon, "POST", f"{SERVER}/backup", {**body, "adapter": "ftp"}), 400),
        (call(daemon, "POST", f"{SERVER}/backup", [1]), 400),
        (call(daemon, "POST", f"{SERVER}/backup/{BACKUP}/restore", {"adapter": "ftp"}), 400),
        (call(daemon, "POST", "../elsewhere/backup", body), 404),
        (restore(daemon, "file:///etc/passwd"), 400),
        (requests.get(f"{daemon.url}/elsewhere", timeout=30), 404),
    ]
    for answer, status in refused:
        assert (answer.status_code, bool(answer.json()["error"])) == (status, True)
    assert panel.calls == []


def test_daemon_without_a_panel_refuses_every_call(tmp_path):
    with StandInDaemon(tmp_path) as daemon:
        daemon.add_server(SERVER)
        assert call(daemon, "DELETE", f"{SERVER}/backup/{BACKUP}").status_code == 403


def test_ignored_files_stay_out_of_the_archive(daemon, files):
    for name in (
        "logs/a.log",
        "logs/keep.log",
        "deep/logs/b.log",
        "deep/x.tmp",
        "cache/c",
        "deep/cache",
    ):
        path = files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (files / "out").symlink_to("/etc/passwd")
    (files / "up").symlink_to("../../elsewhere")
    (files / "in").symlink_to("level.dat")
    back_up(
        daemon, ignore="# comment\n/logs/*\n!/logs/keep.log\n*.tmp\ncache/\nserver.????erties\n"
    )
    assert names_in(daemon.archive_path(SERVER, BACKUP)) == [
        *("deep", "deep/cache", "deep/logs", "deep/logs/b.log", "in", "level.dat", "logs"),
        "logs/keep.log",
    ]


@pytest.mark.parametrize("make", MAKES)
def test_archive_lies_where_the_make_keeps_it(daemon, files, tmp_path, make):
    back_up(daemon)
    places = {"pelican": f"backups/{SERVER}/{BACKUP}.tar.gz"}
    (found,) = tmp_path.rglob("*.tar.gz")
    assert found == tmp_path / places.get(make, f"backups/{BACKUP}.tar.gz")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_archive_is_deleted_once(daemon, panel, files):
    back_up(daemon)
    path = f"{SERVER}/backup/{BACKUP}"
    assert call(daemon, "DELETE", path).status_code == 204
    assert not daemon.archive_path(SERVER, BACKUP).exists()
    assert call(daemon, "DELETE", path).status_code == 404
    assert len(panel.calls) == 1


@pytest.mark.parametrize("make", ["calagopus"])
def test_calagopus_deletes_in_the_background(daemon, panel, files):
    back_up(daemon)
    assert call(daemon, "DELETE", f"{SERVER}/backup/{BACKUP}").status_code == 202
    daemon.wait()
    assert not daemon.archive_path(SERVER, BACKUP).exists()
    assert panel.heard()[-1] == ("POST", f"/api/remote/backups/{BACKUP}/deletion")
    assert panel.calls[-1].body == {"successful": True}


def test_missing_archive_cannot_be_restored(daemon, panel, files):
    answer = restore(daemon, adapter="wings", truncate=True)
    assert answer.status_code == 500
    assert (files / "level.dat").exists()
    assert panel.calls == []


@pytest.mark.parametrize(
    ("link", "make", "status"),
    [
        (Answer(404), "pterodactyl", 400),
        (Answer(200, b"<html>", "text/html"), "pelican", 400),
        (Answer(None), "pelican", 500),
        # Its content type is all that the old daemon looks at.
        (Answer(403, b"<Error>", "application/gzip"), "pterodactyl", 202),
        (Answer(403, b"<Error>", "application/gzip"), "pelican", 400),
        (Answer(404), "calagopus", 202),
        (Answer(200, b"garbage", "application/x-gzip"), "calagopus", 202),
        (Answer(200, b"\x1f\x8bgarbage", "application/x-gzip"), "pelican", 202),
    ],
)
def test_bad_link_is_refused_or_reported(daemon, panel, files, link, make, status):
    with ScriptedServer(link) as store:
        assert restore(daemon, store.url).status_code == status
    reports = [c.body["successful"] for c in panel.calls]
    assert reports == ([False] if status == 202 else [])


def archive_with(name, content=b"x", **fields):
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        for field, value in fields.items():
            setattr(member, field, value)
        tar.addfile(member, io.BytesIO(content))
    return Answer(200, written.getvalue(), "application/x-gzip")


@pytest.mark.parametrize(
    "archive",
    [
        archive_with("../../escaped"),
        archive_with(".."),
        archive_with("."),
        archive_with("link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    ],
)
def test_archive_writes_only_into_its_server(daemon, panel, files, tmp_path, archive):
    with ScriptedServer(archive) as store:
        restore(daemon, store.url)
    assert panel.calls[-1].body == {"successful": False}
    assert list(tmp_path.rglob("escaped")) == []
    assert not (files / "link").is_symlink()


def test_restored_entry_replaces_one_of_another_kind(daemon, panel, files, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    (files / "a").mkdir()
    (files / "a/b").touch()
    (files / "level.dat").unlink()
    (files / "level.dat").symlink_to(elsewhere)
    for name in ("a", "level.dat"):
        with ScriptedServer(archive_with(name)) as store:
            restore(daemon, store.url)
        assert panel.calls[-1].body == {"successful": True}
        assert (files / name).read_bytes() == b"x"
    assert elsewhere.read_text() == "untouched"


# Downloads


def token_for(key=TOKEN, **changes):
    now = dt.datetime.now(dt.UTC)
    claims = {
        "iat": now,
        "exp": now + dt.timedelta(minutes=1),
        "aud": ["somebody"],
        "server_uuid": str(SERVER),
        "backup_uuid": str(BACKUP),
        "user_uuid": str(OTHER),
        "unique_id": uuid.uuid4().hex,
        "scope": "backup-download",
    } | changes
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, key, algorithm="HS256")


def download(daemon, token):
    return requests.get(f"{daemon.url}/download/backup", params={"token": token}, timeout=30)


def test_download_token_is_good_once(daemon, files):
    back_up(daemon)
    token = token_for()
    answer = download(daemon, token)
    assert answer.content == daemon.archive_path(SERVER, BACKUP).read_bytes()
    assert download(daemon, token).status_code == 404
    assert download(daemon, token_for()).status_code == 200
    assert token not in repr(daemon.calls)


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in ("iat", "server_uuid", "user_uuid", "backup_uuid")),
        *({name: None} for name in ("unique_id", "scope")),
        {"scope": "websocket"},
        {"key": "k" * 64},
        {"exp": 1},
        {"backup_uuid": str(OTHER)},
        {"backup_uuid": "../../x"},
        {"iat": 1_700_000_000},  # before the daemon's start
    ],
    ids=str,
)
def test_other_download_tokens_open_nothing(daemon, files, changes):
    back_up(daemon)
    assert download(daemon, token_for(**changes)).status_code == 404


# Faults of the daemon itself


@pytest.mark.parametrize(
    ("make", "kept"), [("pterodactyl", False), ("pelican", False), ("calagopus", True)]
)
def test_archive_is_deleted_after_a_refused_report(daemon, panel, files, make, kept):
    panel.answer = Answer(400)
    back_up(daemon)
    assert daemon.archive_path(SERVER, BACKUP).exists() is kept
    daemon.switch_off(Fault.DELETES_ARCHIVE)
    back_up(daemon)
    assert daemon.archive_path(SERVER, BACKUP).exists()


@pytest.mark.parametrize("make", MAKES)
def test_files_are_deleted_before_the_archive_is_fetched(daemon, files, make):
    def look():
        seen.append((files / "level.dat").exists())

    seen = []
    with ScriptedServer(Answer(404, before=look)) as store:
        daemon.switch_off(Fault.TRUNCATES_FIRST)
        restore(daemon, store.url, truncate=True)
        assert (files / "level.dat").exists()
        daemon.switch_on(Fault.TRUNCATES_FIRST)
        restore(daemon, store.url, truncate=True)
        assert list(files.iterdir()) == []
    assert seen == [True, False]


def test_careful_restore_deletes_files_once_the_archive_is_there(daemon, files):
    daemon.switch_off(Fault.TRUNCATES_FIRST)
    with ScriptedServer(archive_with("new")) as store:
        restore(daemon, store.url, truncate=True)
    assert [path.name for path in files.iterdir()] == ["new"]


def by_name(url):
    return url.replace("127.0.0.1", "localhost")


def test_private_address_is_refused_before_or_after_files_are_deleted(daemon, panel, files):
    daemon.switch_on(Fault.REFUSES_PRIVATE_ADDRESSES)
    with ScriptedServer(archive_with("new")) as store:
        # A literal address: nothing is lost.
        assert restore(daemon, store.url, truncate=True).status_code == 400
        assert (files / "level.dat").exists()
        # A host name: found out too late.
        assert restore(daemon, by_name(store.url), truncate=True).status_code == 500
        assert list(files.iterdir()) == []
        assert store.calls == panel.calls == []

        for link in (store.url, by_name(store.url)):
            daemon.restore_host_allowlist.add(link.split("/")[2].partition(":")[0])
            assert restore(daemon, link, truncate=True).status_code == 202
            assert [path.name for path in files.iterdir()] == ["new"]


@pytest.mark.parametrize("host", ["10.1.2.3", "[::1]", "100.64.0.1", "198.18.0.1", "192.168.1.1"])
def test_private_addresses_are_known(daemon, files, host):
    daemon.switch_on(Fault.REFUSES_PRIVATE_ADDRESSES)
    assert restore(daemon, f"http://{host}/x").status_code == 400


def test_restart_forgets_its_work(daemon, panel, files):
    asked, over = threading.Event(), threading.Event()

    def hold():
        asked.set()
        over.wait(5)

    panel.answer = Answer(503, before=hold)
    call(daemon, "POST", f"{SERVER}/backup", {"adapter": "wings", "uuid": str(BACKUP)})
    assert asked.wait(5)
    with pytest.raises(TimeoutError):
        daemon.wait(0.01)
    restarting = threading.Thread(target=daemon.restart)
    restarting.start()
    over.set()
    restarting.join()
    daemon.wait(0)
    assert len(panel.calls) == 1  # not repeated
    panel.answer = Answer(204)
    back_up(daemon)  # as if nothing had been


def test_servers_are_reset_at_each_start(tmp_path, panel):
    with StandInDaemon(tmp_path, pace=PACE, resets_servers=True) as daemon:
        daemon.connect(panel.url, TOKEN_ID, TOKEN)
        daemon.add_server(SERVER)
        daemon.switch_on(Fault.RESTARTS)
        back_up(daemon)
        daemon.restart()
    assert panel.heard() == [("POST", "/api/remote/servers/reset")] * 3
    assert panel.calls[0].headers["Authorization"] == f"Bearer {TOKEN_ID}.{TOKEN}"


def test_closed_daemon_reports_nothing(tmp_path, panel):
    panel.answer = Answer(503)
    with StandInDaemon(tmp_path) as daemon:  # waits half a second before it repeats
        daemon.connect(panel.url, TOKEN_ID, TOKEN)
        daemon.add_server(SERVER)
        call(daemon, "POST", f"{SERVER}/backup", {"adapter": "wings", "uuid": str(BACKUP)})
    assert len(panel.calls) <= 1
    with pytest.raises(RuntimeError):
        daemon.url  # noqa: B018


# Streaming


class StreamingPanel(Panel):
    """Hands out the URLs of an upload in the real store, ``at_once`` with each answer."""

    def __init__(self, s3, bucket, key):
        super().__init__()
        self._s3, self.at = s3, {"Bucket": bucket, "Key": key}
        self.at_once = 2
        self.part_size = 5 * MIB

    def __enter__(self):
        self.upload = s3_upload = self._s3.create_multipart_upload(**self.at)["UploadId"]
        assert s3_upload
        return super().__enter__()

    def respond(self, handler):
        path, _, query = handler.path.partition("?")
        if path.endswith("/s3/parts"):
            first = int(query.removeprefix("from_part="))
            self.answers = [Answer(200, self.ticket(first))]
        super().respond(handler)

    def ticket(self, first):
        urls = [
            self._s3.generate_presigned_url(
                "upload_part", {**self.at, "UploadId": self.upload, "PartNumber": number}
            )
            for number in range(first, first + self.at_once)
        ]
        return {"parts": urls, "part_size": self.part_size}

    def complete(self, parts):
        listed = [{"ETag": p["etag"], "PartNumber": p["part_number"]} for p in parts]
        self._s3.complete_multipart_upload(
            **self.at, UploadId=self.upload, MultipartUpload={"Parts": listed}
        )
        return self._s3.get_object(**self.at)["Body"].read()


@pytest.fixture
def streaming_panel(s3, store, location):
    with StreamingPanel(s3, store.bucket, f"{location}/{BACKUP}.tar.gz") as panel:
        yield panel


def test_calagopus_uploads_while_it_packs(tmp_path, streaming_panel):
    with StandInDaemon(tmp_path, "calagopus", pace=PACE) as daemon:
        daemon.connect(streaming_panel.url, TOKEN_ID, TOKEN)
        content = os.urandom(11 * MIB)
        (daemon.add_server(SERVER) / "r.0.0.mca").write_bytes(content)
        back_up(daemon, adapter="s3")
        report = streaming_panel.calls[-1].body
        asked = f"/api/remote/backups/{BACKUP}/s3/parts?from_part="
        assert streaming_panel.heard() == [
            *(("GET", f"{asked}1"), ("GET", f"{asked}3")),
            ("POST", f"/api/remote/backups/{BACKUP}"),
        ]
        archive = streaming_panel.complete(report["parts"])
    assert (report["size"], report["streaming"], report["files"]) == (len(archive), True, 1)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert tar.extractfile("r.0.0.mca").read() == content
    assert "Signature" not in repr(daemon.calls)


@pytest.mark.parametrize("make", ["calagopus"])
@pytest.mark.parametrize(("status", "asked"), [(404, 4), (400, 1), (501, 9)])
def test_calagopus_falls_back_to_an_announced_size(daemon, panel, files, status, asked):
    panel.answer = Answer(status)
    began = time.monotonic()
    back_up(daemon, adapter="s3")
    paths = [path.rpartition("/")[2].partition("=")[0] for _, path in panel.heard()]
    assert paths[: asked + 1] == ["parts?from_part"] * asked + [f"{BACKUP}?size"]
    if status == 404:
        assert time.monotonic() - began >= 14 * PACE
