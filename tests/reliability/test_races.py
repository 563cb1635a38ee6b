"""Concurrent calls, on real panels (gunicorn's processes and threads) and real connections."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.db import DatabaseError, connection

from backups_remote import lifecycle
from backups_remote.exceptions import (
    BackupLimitReached,
    BackupLocked,
    BackupsRemoteError,
)
from backups_remote.models import Backup, Server
from tests.reliability.cases import FAILURE, Tally
from tests.reliability.panel import Panel
from tests.reliability.world import MIB, parts_of
from tests.support.daemon import Daemon, success
from tests.support.factories import ServerFactory
from tests.support.memory import completed_backup
from tests.support.proxy import Fault

pytestmark = pytest.mark.databases


@pytest.fixture(params=[2, pytest.param(6, marks=pytest.mark.torture)], ids=["twice", "often"])
def rounds(request):
    """How often a race is run."""
    return request.param


@pytest.fixture(scope="module")
def patient_site(shared_world, django_db_blocker):
    with django_db_blocker.unblock():
        return shared_world.site()


@pytest.fixture(scope="module")
def patient(shared_world, patient_site):
    """Panels as in production: a repeat waits for seconds. Two processes of 24 threads."""
    with Panel(patient_site, shared_world.scratch, workers=2, threads=24) as panel:
        yield panel


@pytest.fixture
def at_once(world, node, patient):
    """Makes calls at the same moment, each on a connection of its own; (when sent, answer)."""

    def together(*calls):
        barrier = threading.Barrier(len(calls))

        def one(call):
            with Daemon(patient.url, node.bearer_token) as daemon:
                barrier.wait()
                sent = time.monotonic()
                answer = call(daemon)
                return sent, answer

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(one, calls))

    return together


def reporting(backup, archive):
    body = success(archive, parts_of(backup))
    return lambda daemon: daemon.call("POST", f"{backup.uuid}", json=body)


def failing(backup):
    return lambda daemon: daemon.call("POST", f"{backup.uuid}", json=FAILURE)


def asking(backup, size):
    return lambda daemon: daemon.ask(backup, size)


def uploads_under(world, disk):
    return world.uploads(f"{world.locations[disk]}/")


def held_together(world, at_once, calls, event, held, *others):
    """The answers to concurrent calls. All that ``held`` holds come in before ``event`` is set."""
    with ThreadPoolExecutor(1) as pool, world.proxy.going_wrong(held, *others):
        answered = pool.submit(at_once, *calls)
        try:
            world.proxy.wait_for(held.operation, held.key, times=held.times)
        finally:
            event.set()
        return [answer for _, answer in answered.result()]


# GET


def test_eight_concurrent_requests_get_one_upload(world, at_once, server, disk, tiny):
    backup = world.pending(server, disk)

    # None has noted its upload before all have begun one.
    all_begun = threading.Event()
    begins = Fault("create", str(backup.uuid), times=8, after=all_begun)
    answers = held_together(world, at_once, [asking(backup, len(tiny))] * 8, all_begun, begins)

    assert [answer.status_code for answer in answers] == [200] * 8
    assert world.proxy.count(str(backup.uuid))["create"] == 8
    ((_, upload_id),) = uploads_under(world, disk)
    for answer in answers:
        (url,) = answer.json()["parts"]
        assert parse_qs(urlsplit(url).query)["uploadId"] == [upload_id]
        put = requests.put(url, data=tiny, timeout=30)
        assert put.status_code == 200, put.text
    backup.etags = [put.headers["ETag"]]
    ((_, answer),) = at_once(reporting(backup, tiny))
    assert answer.status_code == 204, answer.text
    assert world.violations(backup, tiny) == []


def test_concurrent_requests_of_two_sizes_leave_one_upload(
    world, at_once, server, disk, tiny, rounds
):
    for _ in range(rounds):
        backup = world.pending(server, disk)
        sizes = [len(tiny), len(tiny) + 1] * 4

        answers = [answer for _, answer in at_once(*(asking(backup, size) for size in sizes))]

        # Overtaken over and over by the other size, one may be told to try again.
        assert {answer.status_code for answer in answers} <= {200, 503}
        backup.refresh_from_db()
        assert [u for u in uploads_under(world, disk) if u[0] == backup.object_key] == [
            (backup.object_key, backup.upload_id)
        ]


# Reports


def test_sixteen_concurrent_reports_have_one_effect(world, at_once, server, disk, tiny):
    backup = world.uploading(server, disk, tiny)

    # The store works on it until all the others wait, looking at the object.
    all_wait = threading.Event()
    slow = Fault("complete", str(backup.uuid), before=all_wait)
    looks = Fault("head", str(backup.uuid), times=15, before=all_wait)
    answers = held_together(world, at_once, [reporting(backup, tiny)] * 16, all_wait, looks, slow)

    assert [answer.status_code for answer in answers] == [204] * 16
    assert world.proxy.count(str(backup.uuid))["complete"] == 1
    assert world.violations(backup, tiny) == []
    ((_, late),) = at_once(reporting(backup, tiny))
    assert late.status_code == 400


def test_sixteen_immediate_reports_complete_once(world, at_once, server, disk, tiny, rounds):
    for _ in range(rounds):
        backup = world.uploading(server, disk, tiny)

        answers = [answer for _, answer in at_once(*[reporting(backup, tiny)] * 16)]

        counted = Counter(answer.status_code for answer in answers)
        assert set(counted) <= {204, 400, 503}
        assert counted[204] >= 1
        for answer in answers:
            if answer.status_code == 400:
                (error,) = answer.json()["errors"]
                assert error["code"] == "already_completed"
        assert world.proxy.count(str(backup.uuid))["complete"] == 1
        assert world.violations(backup, tiny) == []


def test_concurrent_reports_of_finished_upload_have_one_effect(world, at_once, server, disk, tiny):
    backup = world.uploading(server, disk, tiny)
    world.complete_in_store(backup)

    # None is answered before all have asked.
    all_asked = threading.Event()
    looks = Fault("head", str(backup.uuid), times=8, after=all_asked)
    answers = held_together(world, at_once, [reporting(backup, tiny)] * 8, all_asked, looks)

    assert [answer.status_code for answer in answers] == [204] * 8
    assert world.proxy.count(str(backup.uuid))["complete"] == 0
    assert world.violations(backup, tiny) == []


@pytest.mark.parametrize(
    "slow",
    [
        [],
        [Fault("list_parts", before=0.15)],
        [Fault("list_parts", after=0.15)],
        [Fault("complete", before=0.15)],
        [Fault("abort", before=0.15)],
    ],
    ids=["nothing", "before the list", "after the list", "complete", "abort"],
)
def test_concurrent_success_and_failure_end_in_one_state(
    world,
    at_once,
    server,
    disk,
    tiny,
    sweep,
    slow,
    rounds,
):
    played = []
    for _ in range(rounds):
        backup = world.uploading(server, disk, tiny)
        faults = [f.on(f.operation, str(backup.uuid)) for f in slow]
        world.proxy.inject(*faults)
        (_, succeeded), (_, failed) = at_once(reporting(backup, tiny), failing(backup))
        world.proxy.remove(*faults)
        backup.refresh_from_db()
        # An answer of 204 means that the report was recorded.
        assert {succeeded.status_code, failed.status_code} <= {204, 400, 503}
        if succeeded.status_code == 204:
            assert backup.is_successful
        played.append(backup)

    sweep(disk)
    for backup in played:
        assert world.violations(backup, tiny) == []


# Reports and the command, commands and the command


def test_concurrent_report_and_sweep_lose_no_complete_upload(
    world,
    at_once,
    server,
    disk,
    tiny,
    command,
    sweep,
    rounds,
):
    """Every upload is whole: each must end completed, by its node or by the command."""
    tally = Tally("reports against the command")
    played = []
    for number in range(rounds * 2):
        backups = [world.uploading(server, disk, tiny) for _ in range(4)]
        slow = [
            Fault("list_parts", str(backups[0].uuid), nth=1, after=0.05 * number),
            Fault("list_parts", str(backups[1].uuid), nth=2, after=0.05 * number),
            Fault("complete", str(backups[2].uuid), after=0.05 * number),
        ]
        with world.proxy.going_wrong(*slow), ThreadPoolExecutor(1) as pool:
            running = pool.submit(
                command, "expire_stale_uploads", "--older-than", "0s", "--disk", disk
            )
            time.sleep(0.03 * number)
            answers = [answer for _, answer in at_once(*(reporting(b, tiny) for b in backups))]
            ended = running.result()
        assert "Traceback" not in ended.out
        assert {answer.status_code for answer in answers} <= {204, 400, 503}
        played += backups
    sweep(disk)
    for number, backup in enumerate(played):
        tally.judge(_World(world, tiny), f"backup {number}", backup, {"whole"})
    tally.close()
    assert uploads_under(world, disk) == []


class _World:
    """What a Tally asks of a stage."""

    def __init__(self, world, archive):
        self.world = world
        self.archive = archive


def test_report_waits_for_the_sweep_that_completes_it(world, at_once, server, disk, tiny, command):
    backup = world.reported(server, disk, tiny, claimed=False)
    arguments = ["expire_stale_uploads", "--older-than", "1h", "--disk", disk]
    waiting = threading.Event()
    with (
        ThreadPoolExecutor(2) as pool,
        world.proxy.going_wrong(Fault("complete", str(backup.uuid), before=waiting)),
    ):
        running = pool.submit(command, *arguments)
        try:
            world.proxy.wait_for("complete", str(backup.uuid))
            looks = world.proxy.count(str(backup.uuid))["head"]
            reported = pool.submit(at_once, reporting(backup, tiny))
            # It waits for the sweep, and looks at the object meanwhile.
            world.proxy.wait_for("head", str(backup.uuid), times=looks + 1)
        finally:
            waiting.set()
        ((_, answer),) = reported.result()
        assert running.result().code == 0

    assert answer.status_code == 204
    assert world.proxy.count(str(backup.uuid))["complete"] == 1
    assert world.violations(backup, tiny) == []


def test_request_during_sweep_is_served_or_refused(
    world,
    at_once,
    server,
    disk,
    tiny,
    command,
    sweep,
    rounds,
):
    for _ in range(rounds):
        backup = world.pending(server, disk)
        with (
            ThreadPoolExecutor(1) as pool,
            world.proxy.going_wrong(Fault("create", str(backup.uuid), after=0.3)),
        ):
            running = pool.submit(
                command, "expire_stale_uploads", "--older-than", "0s", "--disk", disk
            )
            ((_, answer),) = at_once(asking(backup, len(tiny)))
            assert "Traceback" not in running.result().out
        assert answer.status_code in {200, 409}
    sweep(disk)
    assert uploads_under(world, disk) == []
    assert not Backup.objects.filter(disk=disk).unfinished().exists()


def test_request_overtaken_by_report_changes_nothing(world, at_once, server, disk, tiny):
    """It began an upload of another size in the store; the row is reported by then."""
    backup = world.uploading(server, disk, tiny)
    created, completing = threading.Event(), threading.Event()
    with (
        ThreadPoolExecutor(2) as pool,
        world.proxy.going_wrong(
            Fault("create", str(backup.uuid), after=created),
            Fault("complete", str(backup.uuid), before=completing),
        ),
    ):
        try:
            overtaken = pool.submit(at_once, asking(backup, len(tiny) + 1))
            world.proxy.wait_for("create", str(backup.uuid))
            reported = pool.submit(at_once, reporting(backup, tiny))
            world.proxy.wait_for("complete", str(backup.uuid))
            created.set()
            ((_, refused),) = overtaken.result()
        finally:
            created.set()
            completing.set()
        ((_, answer),) = reported.result()
    assert (refused.status_code, answer.status_code) == (409, 204)
    assert world.violations(backup, tiny) == []


def test_report_during_new_upload_completes_nothing(world, at_once, server, disk, tiny):
    backup = world.uploading(server, disk, tiny)
    answered = threading.Event()
    with (
        ThreadPoolExecutor(1) as pool,
        world.proxy.going_wrong(Fault("list_parts", str(backup.uuid), after=answered)),
    ):
        overtaken = pool.submit(at_once, reporting(backup, tiny))
        world.proxy.wait_for("list_parts", str(backup.uuid))
        try:
            ((_, asked),) = at_once(asking(backup, len(tiny) + 1))
        finally:
            answered.set()
        assert asked.status_code == 200
        ((_, refused),) = overtaken.result()
    assert refused.status_code == 400
    assert world.proxy.count(str(backup.uuid))["complete"] == 0
    backup.refresh_from_db()
    assert backup.state is Backup.State.UPLOADING
    assert uploads_under(world, disk) == [(backup.object_key, backup.upload_id)]


# Slow stores


def hold_up(world, patient, node, server, disk, archive, seconds=0):
    """Other backups' calls, while one Complete waits for them, and for ``seconds`` at least."""
    slow = world.uploading(server, disk, archive)
    others = [world.uploading(server, disk, archive) for _ in range(12)]
    told = threading.Event()

    def timed(call):
        started = time.monotonic()
        answer = call()
        return time.monotonic() - started, answer.status_code

    with Daemon(patient.url, node.bearer_token) as own, Daemon(patient.url, node.bearer_token) as d:
        calls = []

        def work(backups):
            for backup in backups:
                fresh = world.pending(server, disk)
                calls.append(timed(lambda f=fresh: d.ask(f, 40 * MIB)))
                calls.append(timed(lambda f=fresh: failing(f)(d)))
                calls.append(timed(lambda b=backup: reporting(b, archive)(d)))

        work(others[:4])  # warm
        calls.clear()
        work(others[4:8])
        undisturbed = list(calls)
        calls.clear()
        with (
            ThreadPoolExecutor(1) as pool,
            world.proxy.going_wrong(Fault("complete", str(slow.uuid), before=told)),
        ):
            waiting = pool.submit(timed, lambda: reporting(slow, archive)(own))
            world.proxy.wait_for("complete", str(slow.uuid))
            work(others[8:])
            assert not waiting.done()
            assert open_transactions() == 0
            time.sleep(seconds)
            told.set()
            lasted, status = waiting.result()
    assert status == 204
    assert {status for _, status in undisturbed + calls} == {200, 204}
    assert world.violations(slow, archive) == []
    print(
        f"\nother calls: {statistics.median(s for s, _ in undisturbed) * 1000:.0f} ms, while one "
        f"Complete took {lasted:.1f} s: {statistics.median(s for s, _ in calls) * 1000:.0f} ms",
        flush=True,
    )


def open_transactions():
    """How many of the panels' connections sit in a transaction, where the database tells."""
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND state LIKE 'idle in transaction%%'"
        )
        return cursor.fetchone()[0]


def test_slow_completion_does_not_block_other_calls(world, patient, node, server, disk, tiny):
    hold_up(world, patient, node, server, disk, tiny)


@pytest.mark.torture
def test_half_minute_completion_does_not_block_other_calls(
    world, patient, node, server, disk, tiny
):
    hold_up(world, patient, node, server, disk, tiny, seconds=30)


# Limits and locks


def test_concurrent_start_backup_respects_the_limit(local, server, rounds):
    server.backup_limit = 3
    server.save()
    together = threading.Barrier(8)

    def start(_):
        try:
            own = type(server).objects.get(pk=server.pk)
            together.wait()
            lifecycle.start_backup(own)
        except BackupLimitReached:
            return False
        finally:
            connection.close()
        return True

    for _ in range(rounds):
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(start, range(8))) == 3
        Backup.objects.filter(server=server).delete()


#: Tries at a restore beside deletions.
TRIES = 30


def rotate(backup):
    lifecycle.rotate_backups(backup.server)


def sweep_all(backup):
    list(lifecycle.sweep(workers=1))


@pytest.mark.parametrize(
    "others",
    [[lifecycle.delete_backup] * 3, [rotate] * 3, [lifecycle.delete_backup, sweep_all]],
    ids=["deletions", "rotations", "a deletion and a sweep"],
)
def test_archive_is_kept_during_its_restore(memory, transactional_db, others):
    """Each decides under the lock of the server's row: one of them sees the other."""
    ends = Counter()
    for _ in range(TRIES):
        server = ServerFactory()
        backup = completed_backup(server)
        completed_backup(server)
        Server.objects.update(backup_limit=1)
        together = threading.Barrier(len(others) + 1)

        def at_once(work, backup=backup, together=together):
            own = Backup.objects.select_related("server").get(pk=backup.pk)
            together.wait()
            try:
                work(own)
            except (BackupsRemoteError, DatabaseError) as error:
                return error
            finally:
                connection.close()
            return None

        with ThreadPoolExecutor(len(others) + 1) as pool:
            restoring = pool.submit(at_once, lifecycle.start_restore)
            for work in others:
                pool.submit(at_once, work)
        ends[type(restoring.result()).__name__] += 1
        if restoring.result() is None:
            assert Server.objects.get(pk=server.pk).is_restoring_from(backup)
            assert Backup.objects.get(pk=backup.pk).state is Backup.State.COMPLETED
            assert backup.object_key in memory.objects
        else:
            assert Server.objects.get(pk=server.pk).status is None
    print(f"\nrestores: {dict(ends)}", flush=True)


def test_deletion_waits_for_a_restore_that_begins(memory, transactional_db, monkeypatch):
    backup = completed_backup(ServerFactory())
    begin_restore = Server.begin_restore
    deletions = []

    def delete():
        try:
            lifecycle.delete_backup(Backup.objects.get(pk=backup.pk))
        except (BackupsRemoteError, DatabaseError) as error:
            return error
        finally:
            connection.close()
        return None

    with ThreadPoolExecutor(1) as pool:

        def begin_beside_a_deletion(*args, **options):
            deletions.append(pool.submit(delete))
            wait(deletions, timeout=1)
            return begin_restore(*args, **options)

        monkeypatch.setattr(Server, "begin_restore", begin_beside_a_deletion)
        lifecycle.start_restore(backup)

    assert deletions[0].result() is not None
    assert Backup.objects.get(pk=backup.pk).state is Backup.State.COMPLETED
    assert backup.object_key in memory.objects


def test_concurrently_locked_backup_is_not_deleted(world, local, server, tiny):
    backup = world.completed(server, local, tiny)
    seen_unlocked = Backup.objects.get(pk=backup.pk)
    assert lifecycle.lock_backup(Backup.objects.get(pk=backup.pk))

    with pytest.raises(BackupLocked):
        lifecycle.delete_backup(seen_unlocked)

    assert world.violations(backup, tiny) == []
    assert world.read_object(backup.object_key) is not None
