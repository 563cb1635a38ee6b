"""What the sweep repairs, and what it must not touch."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.models import Backup
from backups_remote.types import SweepAction
from tests.reliability.world import PART_SIZE
from tests.support.proxy import Fault

HOUR = timezone.timedelta(hours=1)
NOW = timezone.timedelta(0)
WRITES = {"create", "part", "complete", "abort", "delete"}


@pytest.fixture
def sweeping(local):
    """One run on the test's disk; what it did, as (action, subject)."""

    def run(older_than=NOW, **options):
        outcomes = lifecycle.sweep(older_than=older_than, disk=local, workers=4, **options)
        return [(outcome.action, outcome.subject) for outcome in outcomes]

    return run


@pytest.fixture
def location(world, local):
    return f"{world.locations[local]}/"


def state_of(backup):
    backup.refresh_from_db()
    return backup.state


# Reports that were recorded


@pytest.mark.parametrize("finished", [False, True])
def test_sweep_completes_reported_backup_without_its_node(
    world, server, local, tiny, sweeping, finished
):
    backup = world.reported(server, local, tiny, claimed=False, finished=finished)

    assert sweeping(HOUR) == [(SweepAction.COMPLETED, str(backup.uuid))]

    assert world.violations(backup, tiny) == []
    assert state_of(backup) is Backup.State.COMPLETED
    assert not backup.is_recovered


def hold(backup, seconds=150):
    """Another panel is at work on it, and renews its claim."""
    until = timezone.now() + timezone.timedelta(seconds=seconds)
    Backup.objects.filter(pk=backup.pk).update(claimed_until=until)


@pytest.mark.parametrize("older_than", [HOUR, NOW])
def test_sweep_leaves_report_with_valid_claim(world, server, local, tiny, sweeping, older_than):
    backup = world.reported(server, local, tiny)
    hold(backup)

    assert sweeping(older_than) == []
    assert state_of(backup) is Backup.State.REPORTED
    assert world.proxy.count(str(backup.uuid))["complete"] == 0

    world.complete_in_store(backup)
    assert sweeping(older_than) == [(SweepAction.COMPLETED, str(backup.uuid))]
    assert world.proxy.count(str(backup.uuid))["complete"] == 0
    assert world.violations(backup, tiny) == []


def test_sweep_waits_for_claim_of_dead_panel(world, server, local, tiny, sweeping):
    backup = world.reported(server, local, tiny, claimed=True)

    assert sweeping(HOUR) == [(SweepAction.COMPLETED, str(backup.uuid))]
    assert world.violations(backup, tiny) == []


def test_upload_in_quiet_period_is_neither_completed_nor_aborted(
    world, server, local, tiny, sweeping
):
    """Its completion timed out: the store may still be at work."""
    backup = world.reported(server, local, tiny, claimed=False)
    Backup.objects.filter(pk=backup.pk).update(quiet_until=timezone.now() + HOUR)

    assert sweeping() == []
    assert lifecycle.expire(Backup.objects.filter(pk=backup.pk)) == []
    counted = world.proxy.count(str(backup.uuid))
    assert (counted["complete"], counted["abort"]) == (0, 0)
    assert state_of(backup) is Backup.State.REPORTED

    # The object may be looked up at any time.
    world.complete_in_store(backup)
    assert sweeping() == [(SweepAction.COMPLETED, str(backup.uuid))]
    assert world.violations(backup, tiny) == []


@pytest.mark.parametrize("claimed", [False, True])
def test_reported_backup_without_upload_fails_unless_claimed(
    world, server, local, tiny, sweeping, s3_abort, claimed
):
    backup = world.reported(server, local, tiny, claimed=False)
    s3_abort(backup)

    if claimed:
        hold(backup)
        assert sweeping() == []
        assert state_of(backup) is Backup.State.REPORTED
        hold(backup, seconds=0)
    assert sweeping() == [(SweepAction.FAILED, str(backup.uuid))]
    assert world.violations(backup, tiny) == []


@pytest.mark.parametrize("appears_after", [HOUR, 49 * HOUR])
def test_object_of_failed_reported_backup_is_found_for_days(
    world, server, local, tiny, sweeping, appears_after
):
    """The store had taken the upload in hand, and was slow about it."""
    backup = world.reported(server, local, tiny, claimed=False)
    unfinished = Fault("complete", str(backup.uuid), forward=False, answer=(404, "NoSuchUpload"))
    with world.proxy.going_wrong(unfinished):
        assert sweeping() == [(SweepAction.FAILED, str(backup.uuid))]
    for passed in (0 * HOUR, appears_after):
        Backup.objects.filter(pk=backup.pk).update(completed_at=timezone.now() - passed)
        assert sweeping() == []
        assert state_of(backup) is Backup.State.FAILED
        assert world.proxy.count(str(backup.uuid))["abort"] == 0

    world.complete_in_store(backup)
    assert sweeping() == [(SweepAction.COMPLETED, str(backup.uuid))]
    assert state_of(backup) is Backup.State.COMPLETED


def test_upload_of_failed_reported_backup_is_cleared_after_days(
    world, server, local, tiny, sweeping, s3_abort
):
    backup = world.reported(server, local, tiny, claimed=False)
    s3_abort(backup)
    assert sweeping() == [(SweepAction.FAILED, str(backup.uuid))]
    Backup.objects.filter(pk=backup.pk).update(completed_at=timezone.now() - 73 * HOUR)
    assert sweeping() == [(SweepAction.UPLOAD_ABORTED, str(backup.uuid))]
    assert sweeping() == []


def test_recent_report_without_upload_is_kept(world, server, local, tiny, sweeping, s3_abort):
    """The store may know better tomorrow."""
    backup = world.reported(server, local, tiny, claimed=False)
    s3_abort(backup)

    assert sweeping(HOUR) == [(SweepAction.ERROR, str(backup.uuid))]
    assert state_of(backup) is Backup.State.REPORTED


@pytest.fixture
def s3_abort(world):
    """Abort in the store behind the panel's back."""

    def abort(backup):
        world.s3.abort_multipart_upload(
            Bucket=world.store.bucket, Key=backup.object_key, UploadId=backup.upload_id
        )

    return abort


# Uploads that fell silent


def test_complete_upload_is_recovered(world, server, local, archive, sweeping):
    backup = world.uploading(server, local, archive)

    assert sweeping() == [(SweepAction.RECOVERED, str(backup.uuid))]

    assert world.violations(backup, archive) == []
    assert state_of(backup) is Backup.State.COMPLETED
    assert (backup.is_recovered, backup.checksum, backup.size) == (True, "", len(archive))


def test_finished_object_is_found_and_backup_recovered(world, server, local, tiny, sweeping):
    backup = world.uploading(server, local, tiny)
    world.complete_in_store(backup)

    # Even where whole uploads are not wanted: this one is a finished archive.
    assert sweeping(recover=False) == [(SweepAction.RECOVERED, str(backup.uuid))]

    assert world.violations(backup, tiny) == []


@pytest.mark.parametrize("by", ["setting", "argument"])
def test_recovery_can_be_turned_off(world, server, local, tiny, sweeping, settings, by):
    backup = world.uploading(server, local, tiny)
    if by == "setting":
        settings.BACKUPS_REMOTE = {**settings.BACKUPS_REMOTE, "RECOVER_UPLOADS": False}

    done = sweeping(recover=None if by == "setting" else False)

    assert done == [(SweepAction.FAILED, str(backup.uuid))]
    assert state_of(backup) is Backup.State.FAILED
    assert world.violations(backup, tiny) == []


def test_upload_with_missing_part_is_not_recovered(
    world, server, local, archive, sweeping, location
):
    """Parts 2 and 3 instead of 1 and 2: as many, and as many bytes."""
    backup = world.uploading(server, local, archive, parts=0)
    world.put_parts(backup, [(2, archive[:PART_SIZE]), (3, archive[PART_SIZE:])])

    assert sweeping() == [(SweepAction.FAILED, str(backup.uuid))]
    assert world.violations(backup, archive) == []
    assert world.proxy.count(str(backup.uuid))["complete"] == 0


def test_upload_with_unplanned_parts_is_not_recovered(world, server, local, archive, sweeping):
    """They add up, and their numbers are right: the store would refuse the first one's length."""
    backup = world.uploading(server, local, archive, parts=0)
    world.put_parts(backup, [(1, archive[:1000]), (2, archive[1000:])])

    assert sweeping() == [(SweepAction.FAILED, str(backup.uuid))]
    assert world.violations(backup, archive) == []
    assert world.proxy.count(str(backup.uuid))["complete"] == 0


@pytest.mark.parametrize("off", [-1, 1])
def test_upload_of_other_size_is_not_recovered(world, server, local, tiny, sweeping, off):
    backup = world.uploading(server, local, tiny, size=len(tiny) + off)

    assert sweeping() == [(SweepAction.FAILED, str(backup.uuid))]
    assert world.violations(backup, tiny) == []


def test_a_part_that_has_just_arrived_is_a_sign_of_life(world, server, local, tiny, sweeping):
    backup = world.uploading(server, local, tiny, size=len(tiny) + 1)
    long_ago = timezone.now() - 10 * HOUR
    Backup.objects.filter(pk=backup.pk).update(created_at=long_ago, upload_started_at=long_ago)

    assert sweeping(HOUR) == []
    assert state_of(backup) is Backup.State.UPLOADING
    assert len(world.uploads(backup.object_key)) == 1


def test_unclear_answer_keeps_the_upload(world, server, local, tiny, sweeping):
    backup = world.uploading(server, local, tiny)

    for answer in [(500, "InternalError"), (403, "AccessDenied"), "empty", "cut"]:
        fault = Fault("list_parts", str(backup.uuid), times=2, answer=answer)
        with world.proxy.going_wrong(fault):
            assert sweeping() == [(SweepAction.ERROR, str(backup.uuid))], answer
        assert state_of(backup) is Backup.State.UPLOADING

    assert sweeping() == [(SweepAction.RECOVERED, str(backup.uuid))]
    assert world.violations(backup, tiny) == []


# What was left behind


def test_failed_abort_is_repeated_by_the_sweep(world, server, local, tiny, sweeping):
    backup = world.failed_with_open_upload(server, local, tiny)

    with world.proxy.going_wrong(
        Fault("abort", str(backup.uuid), times=2, forward=False, answer=(500, "InternalError"))
    ):
        assert sweeping() == [(SweepAction.ERROR, str(backup.uuid))]
    assert state_of(backup) is Backup.State.FAILED
    assert backup.upload_id

    assert sweeping() == [(SweepAction.UPLOAD_ABORTED, str(backup.uuid))]
    assert world.violations(backup, tiny) == []
    assert sweeping() == []


def test_begun_deletion_is_finished_by_the_sweep(world, server, local, tiny, sweeping):
    backup = world.deleting(server, local, tiny)

    assert sweeping() == [(SweepAction.DELETED, str(backup.uuid))]

    assert not Backup.objects.filter(pk=backup.pk).exists()
    assert world.read_object(backup.object_key) is None


# Orphans


def test_uploads_under_our_keys_that_no_row_owns_are_aborted(
    world, server, local, tiny, sweeping, location
):
    owner = world.uploading(server, local, tiny, size=len(tiny) + 1)
    of_nobody = f"{location}{uuid.uuid4()}/{uuid.uuid4()}.tar.gz"
    world.begin(of_nobody)
    # A second one under the key of a backup that owns another.
    world.begin(owner.object_key)
    Backup.objects.filter(pk=owner.pk).update(upload_started_at=timezone.now() + HOUR)

    assert sweeping() == [(SweepAction.ORPHAN_ABORTED, of_nobody)]
    # A node that asks for another size at this moment may be about to note it on the row.
    assert len(world.uploads(owner.object_key)) == 2

    owner.refresh_from_db()
    assert owner.fail("why")
    sweeping()
    assert world.uploads(location) == []


def test_a_foreign_upload_is_never_touched(world, local, sweeping, location):
    server, backup = uuid.uuid4(), uuid.uuid4()
    foreign = [
        f"{location}notes.txt",
        f"{location}{server}/{backup}.tar",
        f"{location}{server}/{backup}.tar.gz.part",
        f"{location}{server}/x{backup}.tar.gz",
        f"{location}{server}/sub/{backup}.tar.gz",
        f"{location}{backup}.tar.gz",
        f"{location}deeper/{server}/{backup}.tar.gz",
        f"{location.rstrip('/')}x/{server}/{backup}.tar.gz",
        f"elsewhere-{location}{server}/{backup}.tar.gz",
    ]
    begun = {(key, world.begin(key)) for key in foreign}

    assert sweeping() == []

    left = [upload for key in foreign for upload in world.uploads(key)]
    assert begun <= set(left)
    for key, upload_id in begun:
        world.s3.abort_multipart_upload(Bucket=world.store.bucket, Key=key, UploadId=upload_id)


@pytest.mark.parametrize("older_than", [HOUR, None])
def test_recent_upload_is_not_an_orphan(world, local, sweeping, location, older_than):
    world.begin(f"{location}{uuid.uuid4()}/{uuid.uuid4()}.tar.gz")

    assert sweeping(older_than) == []
    assert len(world.uploads(location)) == 1


def test_upload_of_lost_create_answer_is_swept(
    world, server, local, tiny, sweeping, location, live_server, node
):
    from tests.support.daemon import Daemon

    backup = world.pending(server, local)
    with Daemon(live_server.url, node.bearer_token) as daemon:
        with world.proxy.going_wrong(Fault("create", location, times=2, answer="drop")):
            assert daemon.ask(backup, len(tiny)).status_code == 503
        lost = len(world.uploads(location))
        assert lost >= 1
        assert daemon.back_up(backup, tiny).status_code == 204

    assert sweeping() == [(SweepAction.ORPHAN_ABORTED, backup.object_key or _key(backup))] * lost
    assert world.uploads(location) == []
    assert world.violations(backup, tiny) == []


def _key(backup):
    backup.refresh_from_db()
    return backup.object_key


# The run as a whole


def population(world, server, disk, tiny):
    """One of each kind."""
    finished = world.uploading(server, disk, tiny)
    world.complete_in_store(finished)
    orphan = f"{world.locations[disk]}/{uuid.uuid4()}/{uuid.uuid4()}.tar.gz"
    world.begin(orphan)
    return [
        world.reported(server, disk, tiny),
        world.reported(server, disk, tiny, claimed=False),
        world.uploading(server, disk, tiny),
        finished,
        world.uploading(server, disk, tiny, size=len(tiny) + 1),
        world.pending(server, disk),
        world.failed_with_open_upload(server, disk, tiny),
        world.deleting(server, disk, tiny),
    ]


def test_dry_run_reports_every_outcome_and_changes_nothing(
    world, server, local, tiny, sweeping, location
):
    population(world, server, local, tiny)

    def everything():
        rows = list(Backup.objects.order_by("pk").values())
        return rows, sorted(world.uploads(location)), world.objects(location)

    before, log = everything(), world.proxy.count(location)

    said = sweeping(dry_run=True)

    assert everything() == before
    called = world.proxy.count(location) - log
    assert not WRITES & set(called), called
    assert sorted(said) == sorted(sweeping())


@pytest.mark.parametrize("operation", ["complete", "list_parts", "abort", "head"])
def test_store_failure_of_one_backup_does_not_stop_the_sweep(
    world, server, local, tiny, sweeping, location, operation
):
    backups = population(world, server, local, tiny)
    hit = {"complete": 1, "list_parts": 2, "abort": 6, "head": 3}[operation]
    sick = backups[hit]
    # Its Complete and the look at its object both, so that nothing is proven.
    named = {operation, "head"} if operation == "complete" else {operation}
    faults = [
        Fault(name, str(sick.uuid), times=9, forward=False, answer=(500, "InternalError"))
        for name in named
    ]

    with world.proxy.going_wrong(*faults):
        done = sweeping()

    assert [subject for action, subject in done if action is SweepAction.ERROR] == [str(sick.uuid)]
    for backup in backups:
        if backup is not sick:
            assert world.violations(backup, tiny) == []
    sweeping()
    assert world.violations(sick, tiny) == []
    assert world.uploads(location) == []


def test_failed_listing_does_not_stop_the_rows(world, server, local, tiny, sweeping, location):
    backups = population(world, server, local, tiny)

    with world.proxy.going_wrong(
        Fault("list_uploads", location, times=2, answer=(503, "SlowDown"))
    ):
        done = sweeping()

    assert (SweepAction.ERROR, local) in done
    assert [world.violations(backup, tiny) for backup in backups] == [[]] * len(backups)
    assert len(sweeping()) == 1
    assert world.uploads(location) == []


def test_concurrent_sweeps_agree(world, server, disk, tiny, command, commander):
    backups = [b for _ in range(3) for b in population(world, server, disk, tiny)]
    arguments = ["expire_stale_uploads", "--older-than", "0s", "--disk", disk]

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda run: run(*arguments), [command, commander().run]))

    for done in ended:
        assert "Traceback" not in done.out
        assert done.code in {0, 1}, done.out
    last = command(*arguments)
    assert last.code == 0, last.out
    assert [world.violations(backup, tiny) for backup in backups] == [[]] * len(backups)
    kinds = [backup.uuid for backup in backups if backup.size or backup.upload_id]
    whole = Backup.objects.filter(uuid__in=kinds, is_successful=True).count()
    assert whole == 3 * 4
    assert world.uploads(f"{world.locations[disk]}/") == []
