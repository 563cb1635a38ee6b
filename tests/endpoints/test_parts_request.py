"""GET /api/remote/backups/{uuid}/s3/parts: where a node puts an archive that it streams."""

from __future__ import annotations

import os
from urllib.parse import parse_qs, urlsplit

import pytest

from backups_remote.models import Backup
from tests.support.daemon import Daemon
from tests.support.factories import BackupFactory, NodeFactory
from tests.support.http import CLOSED, MIB, change_disk_options, details, errors, nothing_changes

pytestmark = pytest.mark.django_db(transaction=True)

State = Backup.State
ARCHIVE = os.urandom(2 * 5 * MIB + 17)


def query(url):
    return {name: value for name, [value] in parse_qs(urlsplit(url).query).items()}


def test_streamed_archive_is_stored_whole(daemon, backup, s3, store, open_uploads):
    parts = daemon.stream(backup, ARCHIVE)
    assert len(parts) == 3
    backup.refresh_from_db()
    assert (backup.state, backup.upload_size, backup.part_size) == (
        State.UPLOADING,
        None,
        5 * MIB,
    )
    body = {"checksum": "ab" * 32, "checksum_type": "sha256", "files": 3, "streaming": True}
    assert daemon.report(backup, ARCHIVE, parts, **body).status_code == 204
    backup.refresh_from_db()
    assert (backup.state, backup.size) == (State.COMPLETED, len(ARCHIVE))
    assert backup.is_verified
    stored = s3.get_object(Bucket=store.bucket, Key=backup.object_key)
    assert stored["Body"].read() == ARCHIVE
    assert open_uploads() == []


def test_each_call_answers_the_next_urls_of_one_upload(daemon, backup, open_uploads):
    seen = {}
    for first in (1, 51, 9951, 9952, 10_000, 1):
        ticket = daemon.ask_parts(backup, first).json()
        assert ticket.keys() == {"parts", "part_size"}
        assert type(ticket["part_size"]) is int
        said = [query(url) for url in ticket["parts"]]
        seen[first] = [int(q["partNumber"]) for q in said]
        [(_, upload_id)] = open_uploads()
        assert {q["uploadId"] for q in said} == {upload_id}
        # An hour, and a second for each MiB of fifty parts.
        assert {q["X-Amz-Expires"] for q in said} == {str(3600 + 250)}
    assert seen == {
        1: list(range(1, 51)),
        51: list(range(51, 101)),
        9951: list(range(9951, 10_001)),
        9952: list(range(9952, 10_001)),
        10_000: [10_000],
    }


def test_urls_of_a_later_call_take_parts(daemon, backup, s3, store):
    daemon.ask_parts(backup, 1)
    url = daemon.ask_parts(backup, 51).json()["parts"][1]
    daemon.put(url, b"a part")
    backup.refresh_from_db()
    listed = s3.list_parts(Bucket=store.bucket, Key=backup.object_key, UploadId=backup.upload_id)
    assert [part["PartNumber"] for part in listed["Parts"]] == [52]


def test_bulk_and_single_signing_agree(daemon, backup, settings, monkeypatch):
    """Where our signature is not botocore's, botocore signs, and the same parts."""
    from backups_remote.storage import get_backend

    daemon.ask_parts(backup, 1)
    bulk = daemon.ask_parts(backup, 51).json()["parts"]
    monkeypatch.setattr(get_backend("s3")._built, "_target", None)
    single = daemon.ask_parts(backup, 51).json()["parts"]
    assert [query(url)["partNumber"] for url in single] == [
        query(url)["partNumber"] for url in bulk
    ]
    daemon.put(single[0], b"a part")


NOT_NUMBERS = [
    "",
    "from_part",
    "from_part=",
    "From_Part=1",
    "from_part=0",
    "from_part=-1",
    "from_part=1.0",
    "from_part=%201",
    "from_part=%2B1",
    "from_part=0x1",
    "from_part=%D9%A1",
    "from_part=%00",
    "from_part=true",
    "from_part=10001",
    f"from_part={2**63}",
    "from_part=" + "9" * 5000,
    "from_part=1&from_part=",
    "size=5",
]


def test_invalid_part_number_is_refused(daemon, backup, open_uploads):
    taken = {}
    with nothing_changes(backup, open_uploads):
        for sent in NOT_NUMBERS:
            answer = daemon.call("GET", f"{backup.uuid}/s3/parts?{sent}")
            if answer.status_code != 400 or not details(answer, 400).startswith("from_part: "):
                taken[sent] = answer.text
        assert taken == {}


def test_part_beyond_max_parts_is_refused(daemon, backup, settings):
    settings.BACKUPS_REMOTE |= {"MAX_PARTS": 70}
    assert len(daemon.ask_parts(backup, 1).json()["parts"]) == 50
    assert len(daemon.ask_parts(backup, 51).json()["parts"]) == 20
    assert "70" in details(daemon.ask_parts(backup, 71), 400)


def test_later_part_without_its_upload_is_a_conflict(daemon, backup, open_uploads, s3, store):
    with nothing_changes(backup, open_uploads):
        [error] = errors(daemon.ask_parts(backup, 51), 409)
        assert error["code"] == "backup_conflict"
    daemon.ask_parts(backup, 1)
    backup.refresh_from_db()
    s3.abort_multipart_upload(Bucket=store.bucket, Key=backup.object_key, UploadId=backup.upload_id)
    with nothing_changes(backup, open_uploads):
        assert errors(daemon.ask_parts(backup, 51), 409)
    assert daemon.ask_parts(backup, 1).status_code == 200
    assert len(open_uploads()) == 1


def test_fallback_to_the_size_starts_another_upload(daemon, backup, open_uploads, s3, store):
    daemon.stream(backup, ARCHIVE)
    [(_, streamed)] = open_uploads()
    assert daemon.back_up(backup, b"a tiny archive").status_code == 204
    backup.refresh_from_db()
    assert (backup.state, backup.size) == (State.COMPLETED, 14)
    assert backup.upload_id != streamed
    assert open_uploads() == []


def test_states_are_refused_as_for_a_size(daemon, server, disk):
    whole, failed = (BackupFactory(server=server, disk=disk) for _ in range(2))
    assert daemon.back_up(whole, b"an archive").status_code == 204
    assert daemon.report_failure(failed).status_code == 204
    for backup in (whole, failed):
        for first in (1, 51):
            assert errors(daemon.ask_parts(backup, first), 409) == errors(
                daemon.ask(backup, 10), 409
            )
    own_disk = BackupFactory(server=server, disk="wings")
    assert errors(daemon.ask_parts(own_disk, 1), 400) == errors(daemon.ask(own_disk, 10), 400)


def test_other_callers_see_nothing(daemon, backup, live_server, open_uploads):
    path = f"{backup.uuid}/s3/parts"
    with (
        Daemon(live_server.url, NodeFactory().bearer_token) as stranger,
        nothing_changes(backup, open_uploads),
    ):
        assert errors(stranger.ask_parts(backup, 1), 404)
        assert errors(daemon.ask_parts(backup, 1, headers={"Authorization": None}), 401)
        assert errors(daemon.call("GET", "no-uuid/s3/parts?from_part=1"), 404)
        for method in ("POST", "PUT", "DELETE"):
            assert errors(daemon.call(method, f"{path}?from_part=1"), 405)
        assert daemon.call("HEAD", f"{path}?from_part=1").status_code == 405
        assert daemon.call("GET", f"{path}/?from_part=1").status_code == 404


@pytest.mark.parametrize("first", [1, 51])
def test_store_that_is_down_is_a_503(daemon, backup, settings, first):
    whole = settings.STORAGES
    assert daemon.ask_parts(backup, 1).status_code == 200
    backup.refresh_from_db()
    change_disk_options(settings, endpoint_url=CLOSED)
    with nothing_changes(backup):
        [error] = errors(daemon.ask_parts(backup, first), 503)
        assert error["code"] == "storage_unavailable"
    settings.STORAGES = whole
    assert daemon.ask_parts(backup, first).status_code == 200


def test_refused_report_of_a_stream_changes_nothing(daemon, backup):
    parts = daemon.stream(backup, ARCHIVE)
    for changes in (
        {"size": len(ARCHIVE) + 1},
        {"size": 0},
        {"size": 2**63 - 1},
        {"parts": parts[:-1]},
        {"parts": None},
        {"parts": [*parts, {"etag": "x", "part_number": 4}]},
    ):
        answer = daemon.report(backup, ARCHIVE, **{"parts": parts, **changes})
        [error] = errors(answer, 400)
        assert error["code"] == "report_refused", changes
    backup.refresh_from_db()
    assert backup.state is State.UPLOADING
    assert daemon.report(backup, ARCHIVE, parts).status_code == 204
