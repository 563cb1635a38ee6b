"""POST /api/remote/backups/{uuid}: a backup is finished, or failed."""

from __future__ import annotations

import hashlib
import json
import os
import uuid

import pytest

from backups_remote import lifecycle
from backups_remote.models import Backup
from tests.support.daemon import cut, success
from tests.support.factories import BackupFactory
from tests.support.http import (
    ARCHIVE,
    MIB,
    complete_in_store,
    details,
    errors,
    nothing_changes,
    only_refusal_changes,
    row,
    upload,
)

#: Two parts: the store wants 5 MiB of every part but the last.
TWO_PARTS = os.urandom(5 * MIB) + b"the rest"
SHA1 = hashlib.sha1(ARCHIVE).hexdigest()
State = Backup.State

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def own_disk(server):
    """A backup on the node's own disk."""
    return BackupFactory(server=server, disk="wings")


def now(backup):
    backup.refresh_from_db()
    return backup


def post(daemon, backup, body, **headers):
    return daemon.call("POST", f"{backup.uuid}", data=body, headers=headers)


# The body


def report(**changes):
    """A good report of ARCHIVE on the node's own disk, with ``changes``."""
    body = {**success(ARCHIVE, None), **changes}
    return {key: value for key, value in body.items() if value is not ...}


def part(**changes):
    item = {"etag": '"e"', "part_number": 1, **changes}
    return report(parts=[{key: value for key, value in item.items() if value is not ...}])


BROKEN = [
    # Not an object
    b"",
    b" \r\n\t ",
    b"null",
    b"true",
    b"7",
    b'"successful"',
    b"[]",
    b"[{}]",
    json.dumps([report()]).encode(),
    # Not JSON
    *(json.dumps(report()).encode()[:length] for length in (1, 20, 60, 110)),
    json.dumps(report()).encode() + b"}",
    json.dumps(report()).encode() * 2,
    b"successful=true&size=1",
    b"successful=false",
    b"{'successful': false}",
    b'{"successful":false,}',
    b"\xff\xfe\x00",
    b"\x00",
    json.dumps(report()).encode() + b"\x00",
    b'{"successful":false,"x":"\xff"}',
    b'{"successful":false,"x":"\xed\xa0\x80"}',
    b'{"successful":NaN}',
    b'{"successful":false,"x":' + b"9" * 5000 + b"}",
    json.dumps(report()).encode("utf-16"),
    json.dumps(report()).encode("utf-32-be"),
    b"[" * 200_000,
    b'{"successful":false,"x":' + b"[" * 200_000,
    b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
    # Not the table's types
    {},
    *(report(successful=word) for word in (..., None, 0, 1, 1.0, "", "true", "false", [], {})),
    *(report(checksum=word) for word in (..., None, "", 1, True, [], {}, ["a"])),
    *(report(checksum_type=word) for word in (..., None, "", 1, False, [], {})),
    *(report(checksum=word) for word in ("a" * 129, "a b", "\x00", "a\x00", "\ud800", "é", "\n")),
    *(report(checksum_type=word) for word in ("a" * 33, "sha 1", "\x00", "ß", "\x7f")),
    *(report(size=word) for word in (..., None, "1", "", 1.5, True, False, [1], {})),
    *(report(size=word) for word in (-1, -1.0, 2**63, 2**64, 10**400)),
    json.dumps(report()).replace(str(len(ARCHIVE)), "NaN").encode(),
    json.dumps(report()).replace(str(len(ARCHIVE)), "Infinity").encode(),
    json.dumps(report()).replace(str(len(ARCHIVE)), "1e999").encode(),
    *(report(parts=word) for word in ({}, "", "[]", 0, False, [1], [None], [[]], ["e"])),
    report(parts={"etag": "e", "part_number": 1}),
    *(part(part_number=word) for word in (..., None, 0, -1, 10_001, 2**64, 1.0, True, "1", [])),
    *(part(etag=word) for word in (..., None, 1, True, [], {}, "a" * 1025, "\x00", "a b", "é")),
    report(parts=[{"etag": "e", "part_number": 1}, {"etag": "f", "part_number": 1}]),
    report(parts=[{"etag": "e", "part_number": 1}, {"etag": "e", "part_number": 1}]),
    report(parts=[{"ETag": "e", "PartNumber": 1}]),
]
#: Nothing but the word counts of a failure.
FAILURES = [
    {"successful": False},
    report(successful=False, size="x"),
    report(successful=False, size=-1),
    report(successful=False, checksum=5, checksum_type=[]),
    report(successful=False, parts={}),
    {**part(part_number=0), "successful": False},
    b'{"successful":false,"x":NaN,"size":-Infinity}',
]
#: Other spellings of the same success.
SUCCESSES = [
    report(size=float(len(ARCHIVE))),
    report(checksum=f" {SHA1}\n", checksum_type="\tsha1 "),
    json.dumps(report()).encode().replace(b"{", b'{"x":NaN,"y":[Infinity],', 1),
]


def as_bytes(body):
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def test_invalid_body_changes_nothing(daemon, own_disk, ends):
    """Not even where the word alone counts. Its refusal is final for the node, and remembered."""
    taken = {}
    with only_refusal_changes(own_disk):
        for body in map(as_bytes, BROKEN):
            answer = post(daemon, own_disk, body)
            if answer.status_code != 400 or not errors(answer, 400):
                taken[body[:120]] = (answer.status_code, answer.text)
        assert taken == {}
    assert ends == []
    assert post(daemon, own_disk, as_bytes(report())).status_code == 204


@pytest.mark.parametrize("body", FAILURES)
def test_failure_report_contains_nothing_else(daemon, own_disk, body):
    assert post(daemon, own_disk, as_bytes(body)).status_code == 204
    assert now(own_disk).state is State.FAILED


@pytest.mark.parametrize("body", SUCCESSES)
def test_success_may_be_spelt_differently(daemon, own_disk, body):
    assert post(daemon, own_disk, as_bytes(body)).status_code == 204
    assert now(own_disk).state is State.COMPLETED
    assert (own_disk.size, own_disk.checksum) == (len(ARCHIVE), f"sha1:{SHA1}")


def test_invalid_body_keeps_the_upload(daemon, backup, open_uploads, ends):
    parts = upload(daemon, backup)
    with only_refusal_changes(backup, open_uploads):
        for body in map(as_bytes, BROKEN[::6]):
            [error, *_] = errors(post(daemon, backup, body), 400)
            assert now(backup).refusal.startswith(error["detail"][:100])
    assert ends == []
    assert daemon.report(backup, ARCHIVE, parts).status_code == 204


def test_refusal_of_an_unreadable_report_is_remembered(daemon, backup):
    body = as_bytes(report(checksum_type="a\nb\x00\ud800\u2028"))
    [error] = errors(post(daemon, backup, body), 400)
    assert error["detail"].startswith("checksum_type: ")
    assert now(backup).refusal.startswith("checksum_type: ")
    assert backup.refusal.isprintable()


def test_refusal_can_be_of_any_characters(backup):
    lifecycle.record_refusal(backup, "a\nb\x00\ud800\u2028")
    assert now(backup).refusal == r"a\nb\x00\ud800\u2028"


def test_unreadable_report_changes_nothing_of_a_completed_backup(daemon, own_disk):
    assert post(daemon, own_disk, as_bytes(report())).status_code == 204
    with nothing_changes(own_disk):
        assert errors(post(daemon, own_disk, b"{"), 400)


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", None],
)
def test_content_type_is_ignored(daemon, own_disk, content_type):
    headers = {"Content-Type": content_type}
    with only_refusal_changes(own_disk):
        for body in (b"", b"{}", b"successful=false", b"successful=true", b"--x--\r\n"):
            assert errors(post(daemon, own_disk, body, **headers), 400), body
    assert post(daemon, own_disk, as_bytes(report()), **headers).status_code == 204


def test_the_field_is_named(daemon, own_disk):
    for body, field in (
        ({}, "successful"),
        (report(successful="x"), "successful"),
        (report(checksum=...), "checksum"),
        (report(checksum_type=""), "checksum_type"),
        (report(size=...), "size"),
        (report(size=True), "size"),
        (report(parts={}), "parts"),
        (part(part_number=0), "parts"),
        (part(etag=...), "parts"),
    ):
        assert details(post(daemon, own_disk, as_bytes(body)), 400).startswith(f"{field}: "), body


def test_every_field_that_is_wrong_is_named(daemon, own_disk):
    answer = post(daemon, own_disk, as_bytes({"successful": True}))
    named = [error["detail"].partition(":")[0] for error in errors(answer, 400)]
    assert sorted(named) == ["checksum", "checksum_type", "size"]


def test_too_large_body_is_refused(daemon, own_disk):
    with only_refusal_changes(own_disk):
        body = as_bytes(report(padding="x" * 4 * MIB))
        [error] = errors(post(daemon, own_disk, body), 413)
        assert error["code"] == "body_too_large"


def test_body_with_ten_thousand_parts_is_accepted(daemon, own_disk):
    parts = [{"etag": f'"{n:064x}"', "part_number": n} for n in range(1, 10_001)]
    assert post(daemon, own_disk, as_bytes(report(parts=parts))).status_code == 204
    parts.append({"etag": "e", "part_number": 10_001})
    assert errors(post(daemon, own_disk, as_bytes(report(parts=parts))), 400)


def test_unknown_keys_are_ignored(daemon, own_disk, server):
    body = report(
        parts=[], files=3, browsable=True, streaming=False, server_uuid=str(server.uuid), x={}
    )
    assert post(daemon, own_disk, as_bytes(body)).status_code == 204
    assert now(own_disk).state is State.COMPLETED


def test_order_of_validation_body_backup_state(daemon, own_disk):
    unknown = Backup(uuid=uuid.uuid4())
    assert errors(post(daemon, unknown, b"{"), 400)
    assert errors(post(daemon, unknown, as_bytes(report())), 404)
    assert post(daemon, own_disk, as_bytes(report())).status_code == 204
    assert details(post(daemon, own_disk, as_bytes(report(size=...))), 400).startswith("size: ")
    [error] = errors(post(daemon, own_disk, as_bytes(report())), 400)
    assert (error["code"], error["detail"]) == (
        "already_completed",
        "The backup is already in completed state.",
    )


# Success on the node's own disk


@pytest.mark.parametrize("parts", [None, [], ...])
def test_report_for_wings_disk_is_accepted_without_proof(daemon, own_disk, ends, parts):
    answer = post(daemon, own_disk, as_bytes(report(parts=parts)))
    assert (answer.status_code, answer.content) == (204, b"")
    now(own_disk)
    assert own_disk.state is State.COMPLETED
    assert (own_disk.checksum, own_disk.size) == (f"sha1:{SHA1}", len(ARCHIVE))
    assert ends == [("completed", own_disk.uuid)]


@pytest.mark.parametrize("size", [0, 1, 60 * 1024**4, 2**63 - 1])
def test_store_limits_do_not_apply_to_wings_disk(daemon, own_disk, settings, size):
    settings.BACKUPS_REMOTE = {"MAX_PARTS": 1}
    assert post(daemon, own_disk, as_bytes(report(size=size))).status_code == 204
    assert now(own_disk).size == size


def test_failure_on_wings_disk_can_become_success(daemon, own_disk, ends):
    """The archive is with the daemon: its last word is the best there is."""
    assert daemon.report_failure(own_disk).status_code == 204
    assert now(own_disk).state is State.FAILED
    assert post(daemon, own_disk, as_bytes(report())).status_code == 204
    now(own_disk)
    assert own_disk.state is State.COMPLETED
    assert (own_disk.checksum, own_disk.size) == (f"sha1:{SHA1}", len(ARCHIVE))
    assert ends == [("failed", own_disk.uuid), ("completed", own_disk.uuid)]


# Success on a store


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(lambda etag: etag, id="as-given"),
        pytest.param(lambda etag: etag.strip('"'), id="bare"),
        pytest.param(lambda etag: "", id="empty"),
        pytest.param(lambda etag: '""', id="empty-quoted"),
        pytest.param(lambda etag: f"W/{etag}", id="weak"),
    ],
)
def test_etag_spellings_are_equivalent(daemon, backup, ends, written):
    parts = [
        {"etag": written(item["etag"]), "part_number": item["part_number"]}
        for item in upload(daemon, backup)
    ]
    assert daemon.report(backup, ARCHIVE, parts).status_code == 204
    assert now(backup).state is State.COMPLETED
    assert ends == [("completed", backup.uuid)]


@pytest.mark.parametrize("parts", [None, [], ...])
def test_missing_part_list_is_read_from_the_store(daemon, backup, s3, store, open_uploads, parts):
    upload(daemon, backup, TWO_PARTS)
    body = {**success(TWO_PARTS, parts)}
    body = {key: value for key, value in body.items() if value is not ...}
    assert post(daemon, backup, as_bytes(body)).status_code == 204
    assert now(backup).state is State.COMPLETED
    assert open_uploads() == []
    stored = s3.get_object(Bucket=store.bucket, Key=backup.object_key)["Body"].read()
    assert stored == TWO_PARTS


def test_parts_out_of_order_are_put_in_order(daemon, backup, s3, store):
    parts = upload(daemon, backup, TWO_PARTS)
    assert daemon.report(backup, TWO_PARTS, parts[::-1]).status_code == 204
    assert now(backup).state is State.COMPLETED
    stored = s3.get_object(Bucket=store.bucket, Key=backup.object_key)["Body"].read()
    assert stored == TWO_PARTS


def test_resent_part_is_used_as_reported(daemon, backup, s3, store):
    """SeaweedFS goes on listing the first one."""
    ticket = daemon.ask(backup, len(TWO_PARTS)).json()
    first, *rest = cut(TWO_PARTS, ticket["part_size"])
    # The second try of a daemon can arrive short; here it is the first.
    for body in (first[:-1], first[::-1], first):
        etag = daemon.put(ticket["parts"][0], body).headers["ETag"]
    parts = [{"etag": etag, "part_number": 1}]
    for number, (url, body) in enumerate(zip(ticket["parts"][1:], rest, strict=True), start=2):
        parts.append({"etag": daemon.put(url, body).headers["ETag"], "part_number": number})
    assert daemon.report(backup, TWO_PARTS, parts).status_code == 204
    stored = s3.get_object(Bucket=store.bucket, Key=now(backup).object_key)["Body"].read()
    assert stored == TWO_PARTS


def swapped(parts):
    return [
        {"etag": parts[1]["etag"], "part_number": 1},
        {"etag": parts[0]["etag"], "part_number": 2},
    ]


DIFFERENCES = [
    ({"size": len(TWO_PARTS) - 1}, "size"),
    ({"size": len(TWO_PARTS) + 1}, "size"),
    ({"size": 0}, "size"),
    ({"size": 5 * MIB}, "size"),
    ({"size": 2**63 - 1}, "size"),
    ({"parts": lambda parts: parts[:1]}, "parts"),
    ({"parts": lambda parts: parts[1:]}, "parts"),
    ({"parts": lambda parts: [*parts, {"etag": "e", "part_number": 3}]}, "parts"),
    ({"parts": lambda parts: [parts[0], {**parts[1], "part_number": 3}]}, "parts"),
    ({"parts": lambda parts: [parts[0], {**parts[1], "etag": "0" * 32}]}, "part 2"),
    ({"parts": lambda parts: [parts[0], {**parts[1], "etag": "no-etag"}]}, "part 2"),
    ({"parts": swapped}, "part 1"),
]


def test_differing_report_is_refused_and_correct_one_accepted(daemon, backup, open_uploads, ends):
    parts = upload(daemon, backup, TWO_PARTS)
    with only_refusal_changes(backup, open_uploads):
        for change, said in DIFFERENCES:
            wrong = {
                name: value(parts) if callable(value) else value for name, value in change.items()
            }
            answer = daemon.report(backup, TWO_PARTS, **{"parts": parts, **wrong})
            assert said in details(answer, 400), change
    assert ends == []
    assert daemon.report(backup, TWO_PARTS, parts).status_code == 204
    assert now(backup).state is State.COMPLETED


def test_missing_part_can_be_uploaded_after_refusal(daemon, backup, open_uploads):
    ticket = daemon.ask(backup, len(TWO_PARTS)).json()
    first, second = ticket["parts"]
    etag = daemon.put(first, TWO_PARTS[: 5 * MIB]).headers["ETag"]
    parts = [{"etag": etag, "part_number": 1}, {"etag": "e", "part_number": 2}]
    with only_refusal_changes(backup, open_uploads):
        detail = details(daemon.report(backup, TWO_PARTS, parts), 400)
        assert detail == "parts: 2 were announced, the store holds 1 (1)."
        assert errors(daemon.report(backup, TWO_PARTS, None), 400)
    parts[1]["etag"] = daemon.put(second, TWO_PARTS[5 * MIB :]).headers["ETag"]
    assert daemon.report(backup, TWO_PARTS, parts).status_code == 204


def test_short_part_is_refused(daemon, backup, open_uploads):
    """The daemon sends a part again from where its reader stands: possibly from the end."""
    ticket = daemon.ask(backup, len(ARCHIVE)).json()
    etag = daemon.put(ticket["parts"][0], ARCHIVE[4:]).headers["ETag"]
    parts = [{"etag": etag, "part_number": 1}]
    with only_refusal_changes(backup, open_uploads):
        for said in (parts, None):
            detail = details(daemon.report(backup, ARCHIVE, said), 400)
            assert f"the store holds {len(ARCHIVE) - 4}" in detail
            # Nor is it what was announced, if it is called by its right size.
            detail = details(daemon.report(backup, ARCHIVE[4:], said), 400)
            assert f"{len(ARCHIVE)} was announced" in detail


def test_report_without_upload_is_refused(daemon, backup, open_uploads, ends):
    with only_refusal_changes(backup):
        assert details(daemon.report(backup, ARCHIVE, None), 400)
    ticket = daemon.ask(backup, len(ARCHIVE)).json()
    with only_refusal_changes(backup, open_uploads):
        assert details(daemon.report(backup, ARCHIVE, None), 400)
    assert ends == []
    parts = daemon.upload(ticket["parts"], ARCHIVE, ticket["part_size"])
    assert daemon.report(backup, ARCHIVE, parts).status_code == 204


# Again


@pytest.mark.parametrize("disk_name", ["s3", "wings"])
def test_repeated_success_report_returns_400(daemon, server, disk, disk_name, ends):
    backup = BackupFactory(server=server, disk=disk_name)
    parts = upload(daemon, backup) if disk_name == "s3" else None
    assert daemon.report(backup, ARCHIVE, parts).status_code == 204
    with nothing_changes(backup):
        for changes in ({}, {"checksum": "0" * 40}, {"size": 1}, {"parts": None}):
            [error] = errors(daemon.report(backup, ARCHIVE, **{"parts": parts, **changes}), 400)
            assert error["code"] == "already_completed"
    assert ends == [("completed", backup.uuid)]


@pytest.mark.parametrize("disk_name", ["s3", "wings"])
def test_failure_report_never_changes_a_completed_backup(daemon, server, disk, disk_name, ends):
    backup = BackupFactory(server=server, disk=disk_name, is_locked=True)
    parts = upload(daemon, backup) if disk_name == "s3" else None
    assert daemon.report(backup, ARCHIVE, parts).status_code == 204
    with nothing_changes(backup):
        assert errors(daemon.report_failure(backup), 400)
    assert ends == [("completed", backup.uuid)]
    assert now(backup).is_locked


def test_repeated_report_within_replay_window_returns_204(daemon, backup, settings):
    settings.BACKUPS_REMOTE |= {"REPORT_REPLAY_WINDOW": 300}
    parts = upload(daemon, backup)
    assert daemon.report(backup, ARCHIVE, parts).status_code == 204
    with nothing_changes(backup):
        assert daemon.report(backup, ARCHIVE, parts).status_code == 204
        assert errors(daemon.report(backup, ARCHIVE, parts, checksum="0" * 40), 400)
        assert errors(daemon.report_failure(backup), 400)


# Failure


def test_failure_report_aborts_the_upload(daemon, server, disk, open_uploads, ends):
    backup = BackupFactory(server=server, is_locked=True)
    upload(daemon, backup)
    assert len(open_uploads()) == 1
    answer = daemon.report_failure(backup)
    assert (answer.status_code, answer.content) == (204, b"")
    now(backup)
    assert backup.state is State.FAILED
    assert (backup.checksum, backup.size, backup.is_locked) == ("", 0, False)
    assert (backup.upload_id, open_uploads()) == ("", [])
    assert ends == [("failed", backup.uuid)]


def test_failure_report_before_any_upload(daemon, backup, open_uploads):
    assert daemon.report_failure(backup).status_code == 204
    assert now(backup).state is State.FAILED
    assert open_uploads() == []


def test_repeated_failure_report_returns_204(daemon, backup, ends):
    assert daemon.report_failure(backup).status_code == 204
    with nothing_changes(backup):
        assert daemon.report_failure(backup).status_code == 204
    assert ends == [("failed", backup.uuid)]


@pytest.mark.parametrize(
    "body",
    [
        {"successful": False},
        {"successful": False, "checksum": None, "checksum_type": None, "size": None},
        {"successful": False, "parts": []},
        {"successful": False, "checksum": SHA1, "checksum_type": "sha1", "size": 14},
    ],
)
def test_failure_report_needs_only_successful_false(daemon, own_disk, body):
    assert post(daemon, own_disk, as_bytes(body)).status_code == 204
    now(own_disk)
    assert (own_disk.state, own_disk.checksum, own_disk.size) == (State.FAILED, "", 0)


def test_success_report_after_failure_needs_an_object(daemon, backup, ends):
    parts = upload(daemon, backup)
    assert daemon.report_failure(backup).status_code == 204
    with only_refusal_changes(backup):
        for said in (parts, None):
            assert details(daemon.report(backup, ARCHIVE, said), 400)
    assert ends == [("failed", backup.uuid)]


def test_success_report_after_failure_completes_with_verified_object(
    daemon, backup, s3, store, ends
):
    """The object was whole all along: completed by a call whose answer was lost, say."""
    parts = upload(daemon, backup)
    complete_in_store(s3, store.bucket, backup, parts)
    assert daemon.report_failure(backup).status_code == 204
    assert now(backup).state is State.FAILED

    with only_refusal_changes(backup):
        assert errors(daemon.report(backup, ARCHIVE + b"x", parts), 400)
    assert daemon.report(backup, ARCHIVE, parts).status_code == 204
    assert now(backup).state is State.COMPLETED
    assert backup.checksum == f"sha1:{SHA1}"
    assert ends == [("failed", backup.uuid), ("completed", backup.uuid)]


def test_foreign_object_under_the_key_does_not_verify(daemon, backup, s3, store):
    upload(daemon, backup)
    key = now(backup).object_key
    assert daemon.report_failure(backup).status_code == 204
    s3.put_object(Bucket=store.bucket, Key=key, Body=ARCHIVE, Metadata={"backup-mark": "forged"})
    with only_refusal_changes(backup):
        assert errors(daemon.report(backup, ARCHIVE, None), 400)
    assert row(backup)[0]["is_successful"] is False


# What becomes of it


def test_report_for_deleting_backup_returns_error(daemon, own_disk):
    assert daemon.report_failure(own_disk).status_code == 204
    assert now(own_disk).begin_deletion()
    with nothing_changes(own_disk):
        assert errors(post(daemon, own_disk, as_bytes(report())), 400)
        assert errors(daemon.report_failure(own_disk), 400)
