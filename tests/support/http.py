"""Checks of HTTP answers, uploads over HTTP, and disks with changed options."""

from __future__ import annotations

import contextlib
import http.client
import socket
from urllib.parse import urlsplit

from backups_remote.models import Backup, Server

MIB = 1024**2
ARCHIVE = b"a tiny archive"
#: A port that nothing listens at: the kernel never assigns it.
CLOSED = "http://127.0.0.1:1"


def errors(answer, status):
    """The errors of ``answer``, once it is the envelope with ``status`` and nothing else."""
    assert answer.status_code == status, (answer.status_code, answer.text[:500])
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert list(body) == ["errors"]
    assert body["errors"]
    for error in body["errors"]:
        assert error.keys() == {"code", "status", "detail"}
        assert all(isinstance(value, str) and value for value in error.values())
        assert error["status"] == str(status)
    return body["errors"]


def details(answer, status):
    """The details of an answer's errors, as one text."""
    return "\n".join(error["detail"] for error in errors(answer, status))


def row(backup):
    """Every column of a backup, and its server's status."""
    return (
        Backup.objects.filter(pk=backup.pk).values().get(),
        Server.objects.filter(pk=backup.server_id).values().get(),
    )


@contextlib.contextmanager
def nothing_changes(backup, open_uploads=None):
    """Neither the row changes nor, if ``open_uploads`` is given, the uploads in the store."""
    before = row(backup), open_uploads and open_uploads()
    yield
    assert (row(backup), open_uploads and open_uploads()) == before


@contextlib.contextmanager
def only_refusal_changes(backup, open_uploads=None):
    """A report is refused: the row keeps the reason, nothing else changes."""

    def known():
        columns, server = row(backup)
        remembered = {name: columns.pop(name) for name in ("refusal", "refused_at", "updated_at")}
        return remembered, (columns, server, open_uploads and open_uploads())

    _, before = known()
    yield
    remembered, after = known()
    assert after == before
    assert remembered["refusal"]
    assert remembered["refused_at"] is not None


def change_disk_options(settings, **options):
    """Change OPTIONS of the disk ``s3``."""
    disk = settings.STORAGES["s3"]
    settings.STORAGES = {
        **settings.STORAGES,
        "s3": {**disk, "OPTIONS": {**disk["OPTIONS"], **options}},
    }


def send_raw(url, lines, body=b""):
    """Send bytes that no client library would; (status, headers, body) of the answer."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.headers, answer.read()


def upload(daemon, backup, archive=ARCHIVE):
    """Ask and upload; the parts for the report."""
    ticket = daemon.ask(backup, len(archive)).json()
    parts = daemon.upload(ticket["parts"], archive, ticket["part_size"])
    backup.refresh_from_db()
    return parts


def complete_in_store(s3, bucket, backup, parts):
    """Complete the upload in the store only; the row is not changed."""
    s3.complete_multipart_upload(
        Bucket=bucket,
        Key=backup.object_key,
        UploadId=backup.upload_id,
        MultipartUpload={
            "Parts": [{"ETag": p["etag"], "PartNumber": p["part_number"]} for p in parts]
        },
    )
