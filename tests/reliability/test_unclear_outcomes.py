"""Unclear answers of the store: the object alone decides how a backup ends."""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.models import Backup
from backups_remote.storage import forget_backends, get_backend
from backups_remote.storage.s3 import clients as s3_clients
from backups_remote.types import SweepAction
from tests.reliability.conftest import PATIENCE
from tests.reliability.world import parts_of
from tests.support.daemon import Daemon, success
from tests.support.proxy import Fault

#: The store has done it, and the answer is lost.
DONE_UNHEARD = {
    "answer dropped": "drop",
    "connection reset": "reset",
    "answer truncated": "truncate",
    "document cut": "cut",
    "200 and empty": "empty",
    "200 with an error body": (200, "InternalError"),
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "in progress": (409, "OperationAborted"),
    "NoSuchUpload": (404, "NoSuchUpload"),
    "InvalidPart": (400, "InvalidPart"),
}
#: It has not.
NOT_DONE = {
    "connection reset": "reset",
    "200 and empty": "empty",
    "200 with an error body": (200, "InternalError"),
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "403": (403, "AccessDenied"),
    "in progress": (409, "OperationAborted"),
    "NoSuchUpload": (404, "NoSuchUpload"),
}


@pytest.fixture
def daemon(local, live_server, node):
    with Daemon(live_server.url, node.bearer_token) as speaking:
        yield speaking


@pytest.fixture
def uploaded(world, server, local, tiny):
    """A backup whose node has put every part and is about to report."""
    return world.uploading(server, local, tiny)


@pytest.fixture
def report(daemon, tiny):
    """Reports; the answer's status."""

    def send(backup, **changes):
        body = {"parts": parts_of(backup), **changes}
        return daemon.report(backup, tiny, **body).status_code

    return send


@pytest.fixture
def sweeping(local):
    def run():
        outcomes = lifecycle.sweep(older_than=timezone.timedelta(0), disk=local, workers=1)
        return [(outcome.action, outcome.subject) for outcome in outcomes]

    return run


def completions(world, backup):
    return world.proxy.count(str(backup.uuid))["complete"]


def state_of(backup):
    backup.refresh_from_db()
    return backup.state


# One Complete, and what it is taken for


@pytest.mark.parametrize("answer", DONE_UNHEARD.values(), ids=DONE_UNHEARD)
def test_unanswered_completion_is_verified_by_the_object(world, uploaded, report, tiny, answer):
    with world.proxy.going_wrong(Fault("complete", str(uploaded.uuid), answer=answer)):
        assert report(uploaded) == 204

    assert completions(world, uploaded) == 1
    assert world.violations(uploaded, tiny) == []
    assert state_of(uploaded) is Backup.State.COMPLETED


@pytest.mark.parametrize("answer", NOT_DONE.values(), ids=NOT_DONE)
def test_report_without_object_is_kept_and_returns_503(world, uploaded, report, tiny, answer):
    with world.proxy.going_wrong(
        Fault("complete", str(uploaded.uuid), forward=False, answer=answer)
    ):
        assert report(uploaded) == 503

    assert completions(world, uploaded) == 1
    assert state_of(uploaded) is Backup.State.REPORTED
    assert uploaded.checksum == f"sha1:{hashlib.sha1(tiny).hexdigest()}"

    assert report(uploaded) == 204
    assert completions(world, uploaded) == 2
    assert world.violations(uploaded, tiny) == []


@pytest.fixture
def impatient(monkeypatch, local):
    """A store that has half a second to put an object together."""
    monkeypatch.setattr(s3_clients, "COMPLETE_TIMEOUT", 0.5)
    forget_backends()
    yield
    forget_backends()


@pytest.mark.parametrize(("forward", "status"), [(True, 204), (False, 503)])
def test_timed_out_completion_is_sent_once(
    world, impatient, uploaded, report, tiny, forward, status
):
    given_up = threading.Event()
    slow = Fault("complete", str(uploaded.uuid), after=given_up, forward=forward, answer="drop")
    with world.proxy.going_wrong(slow):
        try:
            assert report(uploaded) == status
        finally:
            given_up.set()

    assert completions(world, uploaded) == 1
    if status == 503:
        # The store may still be at work: no other Complete is sent for a while.
        assert report(uploaded) == 503
        assert completions(world, uploaded) == 1
        end_quiet_period(uploaded)
        assert report(uploaded) == 204
    assert world.violations(uploaded, tiny) == []


def end_quiet_period(backup):
    """Ten minutes later."""
    now = timezone.now()
    assert Backup.objects.filter(pk=backup.pk, quiet_until__gt=now).update(quiet_until=now)


def test_every_store_call_has_a_timeout(local):
    clients = get_backend(local)._built
    for client, seconds in [(clients.quick, 10), (clients.patient, 120)]:
        assert client.meta.config.read_timeout == seconds
        assert client.meta.config.connect_timeout == 5
    assert clients.patient.meta.config.retries["total_max_attempts"] == 1


def test_report_is_recorded_before_completion_is_sent(world, uploaded, report, tiny):
    """Seen from outside, by a connection of its own, while the Complete is under way."""
    looked = threading.Event()
    with (
        ThreadPoolExecutor(1) as pool,
        world.proxy.going_wrong(Fault("complete", str(uploaded.uuid), before=looked)),
    ):
        reporting = pool.submit(report, uploaded)
        world.proxy.wait_for("complete", str(uploaded.uuid))
        try:
            seen = Backup.objects.get(pk=uploaded.pk)
            assert world.read_object(uploaded.object_key) is None
        finally:
            looked.set()
        assert reporting.result() == 204

    assert seen.state is Backup.State.REPORTED
    assert seen.checksum == f"sha1:{hashlib.sha1(tiny).hexdigest()}"
    assert seen.size == len(tiny)
    assert [etag.strip('"') for etag in seen.reported_etags] == [
        etag.strip('"') for etag in uploaded.etags
    ]


@pytest.mark.parametrize("answer", [(500, "InternalError"), (403, "AccessDenied"), "drop"])
def test_unreadable_object_leaves_report_undecided(world, uploaded, report, tiny, answer):
    with world.proxy.going_wrong(Fault("head", str(uploaded.uuid), times=2, answer=answer)):
        assert report(uploaded) == 503
    assert state_of(uploaded) is Backup.State.REPORTED

    # Looked at first: the store is not told again.
    assert report(uploaded) == 204
    assert completions(world, uploaded) == 1
    assert world.violations(uploaded, tiny) == []


def test_backup_whose_upload_is_lost_after_report_fails(world, uploaded, report, tiny, sweeping):
    with world.proxy.going_wrong(
        Fault("complete", str(uploaded.uuid), forward=False, answer="reset")
    ):
        assert report(uploaded) == 503
    abort(world, uploaded)

    assert report(uploaded) == 503

    assert sweeping() == [(SweepAction.FAILED, str(uploaded.uuid))]
    assert world.violations(uploaded, tiny) == []
    assert report(uploaded) == 400


def abort(world, backup):
    world.s3.abort_multipart_upload(
        Bucket=world.store.bucket, Key=backup.object_key, UploadId=backup.upload_id
    )


def test_rejected_parts_take_the_report_back(world, uploaded, report, tiny):
    before = row(uploaded)
    with world.proxy.going_wrong(
        Fault("complete", str(uploaded.uuid), forward=False, answer=(400, "InvalidPart"))
    ):
        assert report(uploaded) == 400
    assert row(uploaded) == before

    assert report(uploaded) == 204
    assert world.violations(uploaded, tiny) == []


def row(backup):
    """All that matters of it, but for why a report was refused."""
    values = Backup.objects.filter(pk=backup.pk).values().get()
    return values | dict.fromkeys(("updated_at", "refused_at", "refusal"))


# Which object is a proof


@pytest.mark.parametrize("mark", ["somebody-else-s", None])
def test_object_of_right_size_does_not_verify(world, uploaded, report, tiny, sweeping, mark):
    """Foreign bytes under our key; the upload itself is gone."""
    with world.proxy.going_wrong(
        Fault("complete", str(uploaded.uuid), forward=False, answer="reset")
    ):
        assert report(uploaded) == 503
    abort(world, uploaded)
    put(world, uploaded, b"?" * len(tiny), mark)

    assert report(uploaded) == 503
    assert state_of(uploaded) is Backup.State.REPORTED
    sweeping()
    assert state_of(uploaded) is Backup.State.FAILED
    # Not ours to delete.
    assert world.read_object(uploaded.object_key)[0] == len(tiny)


def put(world, backup, body, mark):
    world.s3.put_object(
        Bucket=world.store.bucket,
        Key=backup.object_key,
        Body=body,
        Metadata={} if mark is None else {"backup-mark": mark},
    )


def test_object_of_other_size_with_mark_does_not_verify(world, uploaded, report, tiny, sweeping):
    put(world, uploaded, tiny + b"!", uploaded.upload_mark)
    abort(world, uploaded)

    assert report(uploaded) == 400
    assert state_of(uploaded) is Backup.State.UPLOADING
    sweeping()
    assert state_of(uploaded) is Backup.State.FAILED


@pytest.mark.parametrize("answer", ["real", "drop", (404, "NoSuchUpload"), (200, "InternalError")])
def test_size_and_etag_verify_object_without_metadata(world, uploaded, report, tiny, answer):
    world.proxy.drops_metadata = True

    with world.proxy.going_wrong(Fault("complete", str(uploaded.uuid), answer=answer)):
        assert report(uploaded) == 204

    assert completions(world, uploaded) == 1
    assert world.violations(uploaded, tiny) == []


def test_foreign_object_without_metadata_does_not_verify(world, uploaded, report, tiny, sweeping):
    world.proxy.drops_metadata = True
    put(world, uploaded, b"?" * len(tiny), uploaded.upload_mark)

    with world.proxy.going_wrong(
        Fault("complete", str(uploaded.uuid), forward=False, answer="reset")
    ):
        assert report(uploaded) == 503
    assert state_of(uploaded) is Backup.State.REPORTED

    assert report(uploaded) == 204
    assert world.violations(uploaded, tiny) == []


@pytest.mark.parametrize("drops_metadata", [False, True])
def test_first_report_of_finished_upload_is_verified_by_the_object(
    world, uploaded, report, tiny, drops_metadata
):
    world.complete_in_store(uploaded)
    world.proxy.drops_metadata = drops_metadata

    assert report(uploaded) == 204
    assert completions(world, uploaded) == 0
    assert world.violations(uploaded, tiny) == []


# Reports that do not fit


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"size": 39_999}, "size: 39999 is reported, 40000 was announced"),
        ({"parts": [{"etag": "0" * 32, "part_number": 1}]}, "the etag of part 1"),
        ({"parts": [{"etag": "", "part_number": 2}]}, "part 1 is in the store"),
        (
            {"parts": [{"etag": "", "part_number": 1}, {"etag": "", "part_number": 2}]},
            "2 are reported, the store holds 1",
        ),
    ],
)
def test_differing_report_is_named_and_changes_nothing(
    world, daemon, uploaded, tiny, changes, named
):
    before = row(uploaded)

    answer = daemon.report(uploaded, tiny, **{"parts": parts_of(uploaded), **changes})

    assert answer.status_code == 400
    assert any(named in error["detail"] for error in answer.json()["errors"]), answer.text
    assert row(uploaded) == before
    assert daemon.report(uploaded, tiny, parts_of(uploaded)).status_code == 204
    assert world.violations(uploaded, tiny) == []


def test_parts_that_never_arrived_are_named(world, server, local, daemon, archive):
    backup = world.uploading(server, local, archive, parts=1)
    before = row(backup)
    parts = [*parts_of(backup), {"etag": "", "part_number": 2}]

    answer = daemon.report(backup, archive, parts)

    assert answer.status_code == 400
    assert "2 were announced, the store holds 1 (1)" in answer.text
    assert row(backup) == before


@pytest.mark.parametrize("end", ["a part too short", "a part too long"])
def test_a_part_of_another_length_is_named(world, server, local, daemon, tiny, end):
    sent = tiny[:-1] if end == "a part too short" else tiny + b"!"
    backup = world.uploading(server, local, sent, size=len(tiny))

    answer = daemon.report(backup, tiny, parts_of(backup))

    assert answer.status_code == 400
    assert f"{len(tiny)} is reported, the store holds {len(sent)}" in answer.text
    assert state_of(backup) is Backup.State.UPLOADING


def send_again(world, backup, number, body):
    """Put a part once more; some stores keep and list every try, in no order."""
    answer = world.s3.upload_part(
        Bucket=world.store.bucket,
        Key=backup.object_key,
        UploadId=backup.upload_id,
        PartNumber=number,
        Body=body,
    )
    return answer["ETag"]


@pytest.mark.parametrize("listed", [True, False])
def test_resent_part_is_counted_once(world, uploaded, report, tiny, listed):
    for body in (tiny[:100], tiny, tiny, tiny + b"!"):
        send_again(world, uploaded, 1, body)

    # On a store that keeps the last try alone, that is the one to end with.
    uploaded.etags = [send_again(world, uploaded, 1, tiny)]
    assert report(uploaded, **({} if listed else {"parts": None})) == 204
    assert world.violations(uploaded, tiny) == []


def test_resent_part_is_recovered_once(world, uploaded, tiny, sweeping):
    send_again(world, uploaded, 1, tiny[:100])
    send_again(world, uploaded, 1, tiny)

    assert sweeping() == [(SweepAction.RECOVERED, str(uploaded.uuid))]
    assert world.violations(uploaded, tiny) == []


def test_reported_etag_selects_the_upload_of_a_part(world, uploaded, report, tiny):
    time.sleep(1.1)  # the store's times are whole seconds
    other = send_again(world, uploaded, 1, bytes(reversed(tiny)))
    listed = world.s3.list_parts(
        Bucket=world.store.bucket, Key=uploaded.object_key, UploadId=uploaded.upload_id
    )["Parts"]
    if len(listed) == 1:
        pytest.skip("this store keeps the last try alone")
    assert max(listed, key=lambda part: part["LastModified"])["ETag"] == other

    assert report(uploaded) == 204
    assert world.violations(uploaded, tiny) == []


# Successes and failures


def test_completed_backup_never_fails(world, daemon, uploaded, report, tiny):
    assert report(uploaded) == 204
    before = row(uploaded)

    assert daemon.report_failure(uploaded).status_code == 400

    assert row(uploaded) == before
    assert world.violations(uploaded, tiny) == []


def test_failure_report_does_not_undo_recorded_success(world, daemon, uploaded, report, tiny):
    with world.proxy.going_wrong(Fault("complete", str(uploaded.uuid), answer="drop", times=1)):
        with world.proxy.going_wrong(Fault("head", str(uploaded.uuid), times=2, answer="drop")):
            assert report(uploaded) == 503
        assert daemon.report_failure(uploaded).status_code == 503

    assert state_of(uploaded) is Backup.State.REPORTED
    assert report(uploaded) == 204
    assert world.violations(uploaded, tiny) == []


@pytest.mark.parametrize("proven", [True, False])
def test_failed_backup_completes_only_with_verified_object(world, uploaded, report, tiny, proven):
    if proven:
        world.complete_in_store(uploaded)
    assert uploaded.fail("why")

    assert report(uploaded) == (204 if proven else 400)

    assert state_of(uploaded) is (Backup.State.COMPLETED if proven else Backup.State.FAILED)


def test_failure_is_recorded_when_abort_fails(world, daemon, uploaded, tiny, sweeping):
    with world.proxy.going_wrong(
        Fault("abort", str(uploaded.uuid), times=2, forward=False, answer=(500, "InternalError"))
    ):
        assert daemon.report_failure(uploaded).status_code == 204
    assert state_of(uploaded) is Backup.State.FAILED

    assert sweeping() == [(SweepAction.UPLOAD_ABORTED, str(uploaded.uuid))]
    assert world.violations(uploaded, tiny) == []


def test_report_after_completion_returns_400(uploaded, report):
    assert [report(uploaded) for _ in range(3)] == [204, 400, 400]


def test_report_within_replay_window_returns_204(settings, uploaded, report):
    settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "REPORT_REPLAY_WINDOW": 60}
    assert [report(uploaded) for _ in range(2)] == [204, 204]
    assert report(uploaded, checksum="0" * 40) == 400
    long_ago = timezone.now() - timezone.timedelta(seconds=61)
    Backup.objects.filter(pk=uploaded.pk).update(completed_at=long_ago)
    assert report(uploaded) == 400


@pytest.mark.parametrize("is_answered", [True, False])
def test_repeated_report_waits_or_returns_503(world, panel, wings, server, disk, tiny, is_answered):
    """Panels here are patient for PATIENCE seconds."""
    backup = world.uploading(server, disk, tiny)
    body = success(tiny, parts_of(backup))

    def send():
        began = time.monotonic()
        with Daemon(panel.url, wings.bearer) as daemon:
            status = daemon.call("POST", f"{backup.uuid}", json=body).status_code
        return status, time.monotonic() - began

    answered = threading.Event()
    with (
        ThreadPoolExecutor(2) as pool,
        world.proxy.going_wrong(Fault("complete", str(backup.uuid), before=answered)),
    ):
        try:
            first = pool.submit(send)
            world.proxy.wait_for("complete", str(backup.uuid))
            second = pool.submit(send)
            if is_answered:
                answered.set()
            status, took = second.result()
        finally:
            answered.set()
        # On a busy machine it may come after the end, or the end may take longer than it waits.
        assert (status in {204, 400} and is_answered) or (status == 503 and took >= PATIENCE)
        assert first.result()[0] == 204
    assert completions(world, backup) == 1
    assert world.violations(backup, tiny) == []


# Asking again


def test_same_size_keeps_the_upload_and_other_size_replaces_it(
    world, daemon, server, local, archive
):
    backup = world.pending(server, local)

    def ask(size):
        answer = daemon.ask(backup, size)
        assert answer.status_code == 200
        return answer.json()

    def uploads():
        return world.uploads(f"{world.locations[local]}/")

    ask(1000)
    (first,) = uploads()
    ask(1000)
    assert uploads() == [first]
    ticket = ask(len(archive))
    (second,) = uploads()
    assert second != first

    parts = daemon.upload(ticket["parts"], archive, ticket["part_size"])
    assert daemon.report(backup, archive, parts).status_code == 204
    assert world.violations(backup, archive) == []


# The clients


def test_no_transaction_is_open_across_a_store_call(
    world, monkeypatch, uploaded, server, local, node, tiny
):
    """Whoever calls the store: a GET, a report, a failure, the sweep, a deletion."""
    backend = get_backend(local)
    called = set()

    def watch(name, method):
        def call(*args, **kwargs):
            if threading.current_thread() is threading.main_thread():
                assert not connection.in_atomic_block, name
                assert connection.get_autocommit(), name
            called.add(name)
            return method(*args, **kwargs)

        return call

    names = ["create_upload", "list_parts", "complete_upload", "abort_upload", "stat", "delete"]
    for name in names:
        monkeypatch.setattr(backend, name, watch(name, getattr(backend, name)))
    report = lifecycle_report(uploaded, tiny)
    lifecycle.record_report(uploaded, report)
    failing = world.pending(server, local)
    lifecycle.request_upload(failing, 10)
    lifecycle.request_upload(failing, 20)
    lifecycle.record_report(failing, type(report)(successful=False))
    for backup in [
        world.uploading(server, local, tiny),
        world.failed_with_open_upload(server, local, tiny),
    ]:
        assert backup.pk
    list(lifecycle.sweep(older_than=timezone.timedelta(0), disk=local, workers=1))
    lifecycle.delete_backup(Backup.objects.get(pk=uploaded.pk))

    assert called == set(names)


def lifecycle_report(backup, archive):
    from backups_remote.types import Report, ReportedPart

    return Report(
        successful=True,
        checksum=f"sha1:{hashlib.sha1(archive).hexdigest()}",
        size=len(archive),
        parts=tuple(ReportedPart(n, etag) for n, etag in enumerate(backup.etags, start=1)),
    )


def test_threads_share_clients_that_are_built_once(local, monkeypatch):
    built = []
    whole = s3_clients.Clients.__init__

    def counting(self, *args, **kwargs):
        built.append(self)
        whole(self, *args, **kwargs)

    monkeypatch.setattr(s3_clients.Clients, "__init__", counting)
    forget_backends()
    together = threading.Barrier(16)

    def client(_):
        together.wait()
        return get_backend(local)._client

    with ThreadPoolExecutor(16) as pool:
        clients = set(pool.map(client, range(16)))

    assert len(clients) == len(built) == 1
