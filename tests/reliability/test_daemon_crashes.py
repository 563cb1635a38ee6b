"""The commands that call a node's daemon are killed at every step; the daemon goes on."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from django.utils import timezone

from backups_remote.models import RESTORING, Backup, BackupEvent, EventKind, Server
from backups_remote.testing.daemon import StandInDaemon
from tests.reliability.cases import FAILED, WHOLE, Stage, Tally
from tests.reliability.conftest import LEASE
from tests.reliability.panel import Commander

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

DAEMON = "backups_remote.daemon.WingsDaemon"
CONTENT = b"level"
MOMENTS = ("before", "after")


@pytest.fixture
def stand_in(panel, node, server, tmp_path):
    """The node's daemon, with one server and one file."""
    with StandInDaemon(tmp_path, pace=0.05) as daemon:
        daemon.connect(panel.url, node.token_id, node.token)
        node.url = daemon.url
        node.save()
        (daemon.add_server(server.uuid) / "level.dat").write_bytes(CONTENT)
        yield daemon


@pytest.fixture
def run(world, stand_in):
    """Runs commands of a panel that calls daemons."""
    with Commander(world.site(timeouts=LEASE, DAEMON=DAEMON), world.scratch) as commander:
        yield commander.run


@pytest.fixture
def stage(world, panel, server, node, disk):
    return Stage(world, panel, server, disk, b"", node.bearer_token)


def kills(run, *command):
    """(title, where to die, whether the daemon had been called by then) for each step."""
    counted = run(*command, crash_at="count")
    assert counted.code == 0, counted.out
    [called] = [n for n, step in enumerate(counted.steps, 1) if step.startswith("daemon.")]
    for number, step in enumerate(counted.steps, start=1):
        for moment in MOMENTS:
            was_called = number > called or (number == called and moment == "after")
            yield f"killed {moment} {number} ({step})", f"{number}:{moment}", was_called


def sweep(run, tally, title, disk):
    done = run("expire_stale_uploads", "--older-than", "0s", "--disk", disk)
    if done.code != 0:
        tally.note(title, done.out)


def judge(stage, tally, title, backup, allowed):
    """As the matrix does; the archive is whatever the daemon has packed."""
    found = stage.world.s3.list_objects_v2(
        Bucket=stage.world.store.bucket, Prefix=stage.world.key_of(backup)
    )
    stage.archive = b""
    if found["KeyCount"]:
        stage.archive = stage.world.s3.get_object(
            Bucket=stage.world.store.bucket, Key=stage.world.key_of(backup)
        )["Body"].read()
    tally.judge(stage, title, backup, allowed)


@pytest.mark.torture
def test_crash_of_the_backup_command_loses_nothing(stage, run, stand_in, server):
    tally = Tally("crashes of the command backup")
    command = ("backup", str(server.uuid), "--disk", stage.disk)
    for title, where, was_called in list(kills(run, *command)):
        stand_in.wait()
        seen = set(Backup.objects.values_list("pk", flat=True))
        done = run(*command, crash_at=where)
        if done.code != -9:
            tally.note(title, f"no process died: {done.code} {done.out}")
        stand_in.wait()
        sweep(run, tally, title, stage.disk)
        backup = Backup.objects.exclude(pk__in=seen).first()
        if backup is None:
            tally.tried += 1
            if was_called:
                tally.note(title, "the daemon was called, and there is no row")
            events = BackupEvent.objects.filter(server_uuid=server.uuid, kind=EventKind.CREATED)
            if events.count() != len(seen):
                tally.note(title, "a backup that was not created has an event")
            continue
        judge(stage, tally, title, backup, WHOLE if was_called else FAILED)
    tally.close()


@pytest.mark.torture
def test_crash_of_the_restore_command_loses_nothing(stage, run, stand_in, server):
    tally = Tally("crashes of the command restore")
    made = run("backup", str(server.uuid), "--disk", stage.disk, "--wait")
    assert made.code == 0, made.out
    backup = Backup.objects.get()
    file = stand_in.add_server(server.uuid) / "level.dat"
    command = ("restore", str(backup.uuid), "--truncate")
    for title, where, was_called in list(kills(run, *command)):
        stand_in.wait()
        file.write_bytes(b"damaged")
        done = run(*command, crash_at=where)
        if done.code != -9:
            tally.note(title, f"no process died: {done.code} {done.out}")
        stand_in.wait()
        if file.read_bytes() != (CONTENT if was_called else b"damaged"):
            tally.note(title, f"the server's file is {file.read_bytes()!r}")
        status = Server.objects.get().status
        if was_called and status is not None:
            tally.note(title, f"the daemon has reported, and the server is {status}")
        if status == RESTORING:
            # No daemon knows of it: it holds the archive until the time limit, and no longer.
            began = timezone.now() - dt.timedelta(hours=25)
            Server.objects.update(restore_started_at=began)
        sweep(run, tally, title, stage.disk)
        if Server.objects.get().status is not None:
            tally.note(title, "the restore has not ended")
        judge(stage, tally, title, backup, WHOLE)
    tally.close()


@pytest.mark.torture
def test_crash_of_a_deletion_on_the_node_loses_nothing(stage, run, stand_in, server):
    """The sweep has the daemon delete what lies on the node's own disk."""
    tally = Tally("crashes of a deletion on the node")
    command = ("expire_stale_uploads", "--older-than", "0s", "--disk", "wings", "--workers", "1")

    def deleting():
        made = run("backup", str(server.uuid), "--disk", "wings", "--wait")
        assert made.code == 0, made.out
        backup = Backup.objects.latest("pk")
        assert backup.begin_deletion()
        return backup, stand_in.archive_path(server.uuid, backup.uuid)

    # Rows that others left are dealt with: the steps are those of this backup.
    sweep(run, tally, "nothing", "wings")
    deleting()
    for title, where, was_called in list(kills(run, *command)):
        backup, archive = deleting()
        done = run(*command, crash_at=where)
        if done.code != -9:
            tally.note(title, f"no process died: {done.code} {done.out}")
        if archive.exists() is was_called:
            tally.note(title, f"the archive is there: {archive.exists()}")
        if archive.exists() and not Backup.objects.filter(pk=backup.pk).exists():
            tally.note(title, "the row is gone before its archive")
        sweep(run, tally, title, "wings")
        if archive.exists():
            tally.note(title, "the archive is left")
        tally.judge(replace(stage, disk="wings"), title, backup, {"deleted"})
    tally.close()
