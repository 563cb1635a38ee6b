"""GET /api/remote/backups/{uuid}: where a node puts its archive."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import uuid
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from backups_remote import lifecycle
from backups_remote.lifecycle.lease import lease_end
from backups_remote.models import Backup
from backups_remote.types import Report
from tests.support.daemon import PELICAN, PTERODACTYL
from tests.support.factories import BackupFactory
from tests.support.http import MIB, details, errors, nothing_changes

GIB = 1024**3
TIB = 1024**4

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def own_disk(server):
    """A backup on the node's own disk."""
    return BackupFactory(server=server, disk="wings")


def in_state(backup, state, daemon):
    """Bring ``backup`` into ``state`` by what a daemon sends."""
    if state in {"completed", "deleting"}:
        assert daemon.back_up(backup, b"an archive").status_code == 204
    if state == "failed":
        assert daemon.report_failure(backup).status_code == 204
    backup.refresh_from_db()
    if state == "deleting":
        assert backup.begin_deletion()
    if state == "reported":
        assert daemon.ask(backup, 10).status_code == 200
        backup.refresh_from_db()
        assert backup.record_success(
            checksum="sha1:00", size=10, etags=["e"], claimed_until=lease_end()
        )
    assert backup.state == state


# The size


NOT_SIZES = [
    "",
    "size",
    "size=",
    "Size=5",
    "size[]=5",
    "size=1.5",
    "size=5.0",
    "size=1e3",
    "size=abc",
    "size=0x10",
    "size=1_000",
    "size=%205",
    "size=5%20",
    "size=5%0A",
    "size=%2B5",
    "size=+5",
    "size=%00",
    "size=5%00",
    "size=%D9%A5",
    "size=%EF%BC%95",
    "size=%ff%fe",
    "size=0",
    "size=000",
    "size=-0",
    "size=-1",
    "size=true",
    "size=null",
    "size=NaN",
    "size=Infinity",
    f"size={10_000 * 5 * GIB + 1}",
    f"size={2**63}",
    f"size={2**64}",
    "size=" + "9" * 400,
    "size=" + "9" * 5000,
    "size=" + "0" * 400 + "5",
    "size=10&size=",
]


def test_invalid_size_is_refused(daemon, backup, open_uploads):
    taken = {}
    with nothing_changes(backup, open_uploads):
        for query in NOT_SIZES:
            answer = daemon.call("GET", f"{backup.uuid}?{query}")
            if answer.status_code != 400 or not details(answer, 400).startswith("size: "):
                taken[query] = answer.text
        assert taken == {}


def test_size_above_the_maximum_is_refused(daemon, backup, settings):
    settings.BACKUPS_REMOTE |= {"MAX_PARTS": 7}
    assert str(7 * 5 * GIB) in details(daemon.ask(backup, 7 * 5 * GIB + 1), 400)
    ticket = daemon.ask(backup, 7 * 5 * GIB).json()
    assert (len(ticket["parts"]), ticket["part_size"]) == (7, 5 * GIB)


def test_largest_size_returns_ten_thousand_urls(daemon, backup):
    answer = daemon.ask(backup, 10_000 * 5 * GIB)
    ticket = answer.json()
    assert len(set(ticket["parts"])) == 10_000
    assert ticket["part_size"] == 5 * GIB


# The parts


@pytest.mark.parametrize(
    ("size", "configured", "max_parts", "part_size", "count"),
    [
        (1, 5 * MIB, 10_000, 5 * MIB, 1),
        (5 * MIB - 1, 5 * MIB, 10_000, 5 * MIB, 1),
        (5 * MIB, 5 * MIB, 10_000, 5 * MIB, 1),
        (5 * MIB + 1, 5 * MIB, 10_000, 5 * MIB, 2),
        (10 * MIB, 5 * MIB, 10_000, 5 * MIB, 2),
        (10 * MIB + 1, 5 * MIB, 10_000, 5 * MIB, 3),
        (11 * MIB, 1, 10_000, 5 * MIB, 3),
        (11 * GIB, 50 * GIB, 10_000, 5 * GIB, 3),
        (1000 * MIB, 5 * MIB, 100, 10 * MIB, 100),
        (1000 * MIB + 1, 5 * MIB, 100, 11 * MIB, 91),
        (TIB, 128 * MIB, 1000, 1049 * MIB, 1000),
    ],
)
def test_parts_cover_the_size(
    daemon, backup, settings, size, configured, max_parts, part_size, count
):
    settings.BACKUPS_REMOTE |= {"MAX_PART_SIZE": configured, "MAX_PARTS": max_parts}
    ticket = daemon.ask(backup, size).json()
    assert ticket["part_size"] == part_size
    assert len(ticket["parts"]) == count == -(-size // part_size)


def test_parts_are_of_128_mib_unless_told_otherwise(daemon, backup, settings):
    settings.BACKUPS_REMOTE = {"DEFAULT_DISK": "s3"}
    ticket = daemon.ask(backup, 300 * MIB).json()
    assert (len(ticket["parts"]), ticket["part_size"]) == (3, 128 * MIB)


def test_the_answer_says_parts_and_part_size_and_nothing_else(daemon, backup):
    answer = daemon.ask(backup, 6 * MIB)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"parts", "part_size"}
    assert [type(url) for url in body["parts"]] == [str, str]
    assert type(body["part_size"]) is int


def test_concurrent_uploads_are_named_where_they_are_configured(daemon, backup, settings):
    settings.BACKUPS_REMOTE |= {"MAX_CONCURRENT_UPLOADS": 4}
    body = daemon.ask(backup, 10).json()
    assert body.keys() == {"parts", "part_size", "max_concurrent_uploads"}
    assert body["max_concurrent_uploads"] == 4


# The URLs


def test_only_the_host_is_signed_in_urls(daemon, backup, store, location, server):
    urls = daemon.ask(backup, 11 * MIB).json()["parts"]
    backup.refresh_from_db()
    for number, url in enumerate(urls, start=1):
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}" == store.endpoint
        assert parts.path == f"/{store.bucket}/{location}/{server.uuid}/{backup.uuid}.tar.gz"
        query = {name: value for name, [value] in parse_qs(parts.query).items()}
        assert query.keys() == {
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            "X-Amz-Date",
            "X-Amz-Expires",
            "X-Amz-SignedHeaders",
            "X-Amz-Signature",
            "partNumber",
            "uploadId",
        }
        assert query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
        assert query["X-Amz-SignedHeaders"] == "host"
        assert query["X-Amz-Expires"] == str(3600 + 11)
        assert query["partNumber"] == str(number)
        assert query["uploadId"] == backup.upload_id


def test_store_accepts_signed_url_and_refuses_tampered_one(daemon, backup):
    first, second = daemon.ask(backup, 5 * MIB + 9).json()["parts"]
    signature = parse_qs(urlsplit(first).query)["X-Amz-Signature"][0]
    forged = f"{'0' if signature[0] != '0' else '1'}{signature[1:]}"
    for url in (
        first.replace(signature, forged),
        first.replace("partNumber=1", "partNumber=2"),
        first.replace("X-Amz-Expires=", "X-Amz-Expires=9"),
        first.replace(str(backup.uuid), str(uuid.uuid4())),
    ):
        assert url != first
        assert requests.put(url, data=b"part", timeout=30).status_code == 403
    unsigned = first.replace(f"X-Amz-Signature={signature}", "")
    assert requests.put(unsigned, data=b"part", timeout=30).status_code in {400, 403}
    # It is good for a PUT, under any content type, and for nothing else.
    assert requests.get(first, timeout=30).status_code == 403
    assert daemon.put(first, b"part").headers["ETag"]
    headers = {"Content-Type": "application/gzip"}
    assert requests.put(second, data=b"part", headers=headers, timeout=30).status_code == 200


def test_object_is_under_the_documented_key(daemon, backup, s3, store, location, server):
    assert daemon.back_up(backup, b"an archive").status_code == 204
    key = f"{location}/{server.uuid}/{backup.uuid}.tar.gz"
    head = s3.head_object(Bucket=store.bucket, Key=key)
    assert head["ContentType"] == "application/x-gzip"
    assert head["ContentLength"] == len(b"an archive")


# Asking again


def test_same_size_returns_the_same_upload(daemon, backup, open_uploads):
    first = daemon.ask(backup, 6 * MIB).json()
    etags = daemon.upload(first["parts"], b"a" * 6 * MIB, first["part_size"])
    [upload] = open_uploads()
    second = daemon.ask(backup, 6 * MIB)
    assert second.status_code == 200
    assert open_uploads() == [upload]
    # Parts that went up by the first URLs count for the second.
    assert daemon.report(backup, b"a" * 6 * MIB, etags).status_code == 204


def test_same_size_keeps_the_part_size(daemon, backup, settings):
    first = daemon.ask(backup, 100 * MIB).json()
    settings.BACKUPS_REMOTE |= {"MAX_PART_SIZE": 64 * MIB}
    second = daemon.ask(backup, 100 * MIB).json()
    assert (len(second["parts"]), second["part_size"]) == (20, 5 * MIB)
    assert (len(first["parts"]), first["part_size"]) == (20, 5 * MIB)


def test_other_size_replaces_the_open_upload(daemon, backup, open_uploads):
    daemon.ask(backup, 6 * MIB)
    [first] = open_uploads()
    daemon.ask(backup, 7 * MIB)
    [second] = open_uploads()
    assert first != second
    backup.refresh_from_db()
    assert (backup.upload_size, backup.upload_id) == (7 * MIB, second[1])


# What is judged, and in which order


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        ("completed", 409, "already_completed"),
        ("failed", 409, "already_completed"),
        ("reported", 409, "backup_conflict"),
        ("deleting", 409, "already_completed"),
    ],
)
def test_ended_backup_gets_no_urls(daemon, backup, open_uploads, state, status, code):
    in_state(backup, state, daemon)
    with nothing_changes(backup, open_uploads):
        [error] = errors(daemon.ask(backup, 10), status)
    assert error["code"] == code


def test_wings_disk_returns_no_urls(daemon, own_disk):
    with nothing_changes(own_disk):
        [error] = errors(daemon.ask(own_disk, 10), 400)
    assert error["detail"] == "The configured backup adapter is not an S3 compatible adapter."


def test_disk_of_the_row_is_used_not_the_default(daemon, backup, own_disk, settings):
    settings.BACKUPS_REMOTE |= {"DEFAULT_DISK": "wings"}
    assert daemon.ask(backup, 10).status_code == 200
    settings.BACKUPS_REMOTE |= {"DEFAULT_DISK": "s3"}
    assert daemon.ask(own_disk, 10).status_code == 400


def test_order_of_validation_size_backup_state_disk(daemon, backup, own_disk):
    unknown = Backup(uuid=uuid.uuid4())
    assert details(daemon.ask(unknown, "x"), 400).startswith("size: ")
    assert errors(daemon.ask(unknown, 10), 404)
    in_state(backup, "failed", daemon)
    assert details(daemon.ask(backup, 0), 400).startswith("size: ")
    assert errors(daemon.ask(backup, 10), 409)
    lifecycle.record_report(own_disk, Report(successful=True, checksum="sha1:0", size=1))
    assert details(daemon.ask(own_disk, 0), 400).startswith("size: ")
    assert errors(daemon.ask(own_disk, 10), 409)


# How it is asked


def test_accept_header_does_not_change_the_answer(daemon, backup):
    for accept in (PTERODACTYL, PELICAN, None, "text/html", "*/*", "image/png", "x", "", ";q=é"):
        headers = {"Accept": accept if accept is None else accept.encode()}
        good = daemon.ask(backup, 10, headers=headers)
        assert (good.status_code, good.headers["Content-Type"]) == (200, "application/json")
        assert good.json().keys() == {"parts", "part_size"}
        assert errors(daemon.ask(backup, 0, headers=headers), 400)


def test_a_body_is_not_read(daemon, backup):
    for content_type, body in (
        ("application/json", b""),
        ("application/json", b"{"),
        ("application/json", b'{"size": 99}'),
        ("application/x-www-form-urlencoded", b"size=99"),
        ("multipart/form-data; boundary=x", b"garbage"),
        ("garbage", b"\xff\x00"),
        (None, b""),
    ):
        answer = daemon.ask(backup, 10, headers={"Content-Type": content_type}, data=body)
        assert answer.status_code == 200, (content_type, body, answer.text)
    backup.refresh_from_db()
    assert backup.upload_size == 10


def test_urls_are_not_logged(daemon, backup, store, node, caplog):
    caplog.set_level("INFO")
    caplog.set_level("DEBUG", "backups_remote")
    caplog.set_level("DEBUG", "django")
    urls = daemon.ask(backup, 10).json()["parts"]
    daemon.ask(backup, 0)
    daemon.report_failure(backup)
    daemon.ask(backup, 10)
    assert caplog.records, "nothing was logged: this test looks at nothing"
    signature = parse_qs(urlsplit(urls[0]).query)["X-Amz-Signature"][0]
    for secret in (signature, "X-Amz-", store.secret_key, node.token):
        assert secret not in caplog.text


def test_tar_archive_in_three_parts(daemon, backup, server, tmp_path, s3, store):
    """Files → tar.gz → three parts → the object → files."""
    archive = make_archive(tmp_path)
    assert 10 * MIB < len(archive) <= 15 * MIB

    ticket = daemon.ask(backup, len(archive)).json()
    assert len(ticket["parts"]) == 3
    parts = daemon.upload(ticket["parts"], archive, ticket["part_size"])
    assert daemon.report(backup, archive, parts).status_code == 204

    backup.refresh_from_db()
    assert backup.state is Backup.State.COMPLETED
    assert (backup.size, backup.checksum) == (
        len(archive),
        f"sha1:{hashlib.sha1(archive).hexdigest()}",
    )
    stored = s3.get_object(Bucket=store.bucket, Key=backup.object_key)
    assert re.fullmatch(r'"[0-9a-f]{32}-3"', stored["ETag"])
    assert stored["Body"].read() == archive


def make_archive(directory):
    """A tar.gz of real files, a little over 11 MiB."""
    (directory / "world").mkdir()
    (directory / "world" / "region.mca").write_bytes(os.urandom(11 * MIB))
    (directory / "server.properties").write_text("motd=Ünïcödé\n", encoding="utf-8")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        tar.add(directory, arcname=".")
    return packed.getvalue()
