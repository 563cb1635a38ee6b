"""An installation of the first version is migrated, with work under way, and goes on."""

import datetime as dt
import hashlib
import secrets
import uuid
from types import SimpleNamespace

import pytest
import requests
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from backups_remote import crypto, lifecycle
from backups_remote.exceptions import AlreadyCompleted, BackupConflict, BackupLocked
from backups_remote.models import RESTORING, Backup, Node, Server
from backups_remote.storage import get_backend
from tests.support.daemon import Daemon, success

pytestmark = [pytest.mark.databases, pytest.mark.django_db(transaction=True)]

FIRST = ("backups_remote", "0001_initial")
BEFORE_STREAMS = ("backups_remote", "0003_completion_sent")
ARCHIVE = b"an archive from before"
PART_SIZE = 5 * 1024**2
AT_ONCE = dt.timedelta(0)
State = Backup.State


@pytest.fixture
def first():
    """The first version's models, on the first version's tables; the latest again at the end."""
    call_command("migrate", *FIRST, verbosity=0)
    apps = MigrationExecutor(connection).loader.project_state([FIRST]).apps
    yield SimpleNamespace(
        **{name: apps.get_model("backups_remote", name) for name in ("Node", "Server", "Backup")}
    )
    upgrade()


def upgrade():
    call_command("migrate", "backups_remote", verbosity=0)


class Old:
    """What the first version left behind: its rows, and what is in the store for them."""

    def __init__(self, models, disk):
        self.models, self.disk = models, disk
        self.backend = get_backend(disk)
        self.token = secrets.token_urlsafe(32)
        self.node = models.Node.objects.create(
            name="fra-1",
            token_id=crypto.new_token_id(),
            encrypted_token=crypto.encrypt(self.token),
        )

    @property
    def bearer(self):
        return f"{self.node.token_id}.{self.token}"

    def server(self, **fields):
        return self.models.Server.objects.create(name="Survival", node=self.node, **fields)

    def row(self, server, **fields):
        return self.models.Backup.objects.create(
            **{"server": server, "node": self.node, "disk": self.disk, **fields}
        ).uuid

    def upload(self, server, *, parts=True):
        """An upload that is open in the store, as a row's columns."""
        mark, backup = secrets.token_hex(16), uuid.uuid4()
        key = self.backend.object_key(server.uuid, backup)
        upload_id = self.backend.create_upload(key, mark)
        if parts:
            [url] = self.backend.presign_parts(key, upload_id, 1, dt.timedelta(hours=1))
            requests.put(url, data=ARCHIVE, timeout=60).raise_for_status()
        return {
            "uuid": backup,
            "object_key": key,
            "upload_id": upload_id,
            "upload_mark": mark,
            "upload_size": len(ARCHIVE),
            "part_size": PART_SIZE,
            "upload_started_at": timezone.now(),
        }

    def report(self, upload):
        listed = self.backend.list_parts(upload["object_key"], upload["upload_id"])
        return {
            **upload,
            "reported_at": timezone.now(),
            "reported_etags": [part.etag for part in listed],
            "checksum": f"sha1:{hashlib.sha1(ARCHIVE).hexdigest()}",
            "size": len(ARCHIVE),
        }

    def complete_in_store(self, upload):
        reported = self.report(upload)
        self.backend.complete_upload(
            upload["object_key"], upload["upload_id"], reported["reported_etags"]
        )
        return reported

    def whole(self, server):
        found = self.complete_in_store(self.upload(server))
        now = timezone.now()
        return {**found, "reported_etags": None, "completed_at": now, "is_successful": True}


@pytest.fixture
def old(first, disk):
    return Old(first, disk)


def get(uuid):
    return Backup.objects.get(uuid=uuid)


def state(uuid):
    return get(uuid).state


def swept(**options):
    """What a sweep did: (action, subject)."""
    return sorted((outcome.action.value, outcome.subject) for outcome in lifecycle.sweep(**options))


def object_of(old, upload):
    return old.backend.stat(upload["object_key"])


def test_work_under_way_in_the_first_version_is_finished(old, live_server, open_uploads):
    now = timezone.now()
    past, future = now - dt.timedelta(minutes=1), now + dt.timedelta(minutes=9)
    a_server = old.server(backup_limit=20)
    pending = old.row(a_server)
    sending = old.row(a_server, **old.upload(a_server))
    on_node = old.row(a_server, disk="wings")
    recoverable = old.row(a_server, **old.upload(a_server))
    silent = old.row(a_server, is_locked=True, **old.upload(a_server, parts=False))
    dead_holder = old.row(a_server, claimed_until=past, **old.report(old.upload(a_server)))
    nobodys = old.row(a_server, is_locked=True, **old.report(old.upload(a_server)))
    done_unnoticed = old.row(
        a_server, claimed_until=future, **old.complete_in_store(old.upload(a_server))
    )
    left = old.row(a_server, completed_at=now, **old.upload(a_server))
    failed = old.row(a_server, completed_at=now)
    whole, locked, going = (old.whole(a_server) for _ in range(3))
    completed = old.row(a_server, **whole)
    kept = old.row(a_server, is_locked=True, **locked)
    deleting = old.row(a_server, **{**going, "is_successful": False, "deletion_started_at": now})
    everything = set(old.models.Backup.objects.values_list("uuid", "is_locked", "created_at"))

    upgrade()

    assert set(Backup.objects.values_list("uuid", "is_locked", "created_at")) == everything
    for row in Backup.objects.all():
        assert (row.object_etag, row.claimed_by, row.refusal, row.was_locked) == ("",) * 3 + (
            False,
        )
        assert (row.quiet_until, row.refused_at) == (None, None)
    assert Node.objects.get().bearer_token == old.bearer
    expected = {
        State.PENDING: {pending, on_node},
        State.UPLOADING: {sending, recoverable, silent},
        State.REPORTED: {dead_holder, nobodys, done_unnoticed},
        State.COMPLETED: {completed, kept},
        State.FAILED: {left, failed},
        State.DELETING: {deleting},
    }
    for each, uuids in expected.items():
        assert {row.uuid for row in Backup.objects.in_state(each)} == uuids
        assert {state(uuid) for uuid in uuids} == {each}

    with Daemon(live_server.url, old.bearer) as daemon:
        assert daemon.back_up(get(pending), ARCHIVE).status_code == 204
        part = old.backend.list_parts(get(sending).object_key, get(sending).upload_id)[0]
        parts = [{"etag": part.etag, "part_number": 1}]
        assert daemon.report(get(sending), ARCHIVE, parts).status_code == 204
        assert daemon.call("POST", str(on_node), json=success(ARCHIVE, [])).status_code == 204
    assert all(get(uuid).is_verified for uuid in (pending, sending, on_node))

    assert swept(older_than=AT_ONCE) == sorted(
        [
            ("completed", str(dead_holder)),
            ("completed", str(nobodys)),
            ("completed", str(done_unnoticed)),
            ("recovered", str(recoverable)),
            ("failed", str(silent)),
            ("upload aborted", str(left)),
            ("deleted", str(deleting)),
        ]
    )
    assert swept(older_than=AT_ONCE) == []
    assert open_uploads() == []
    assert {row.uuid for row in Backup.objects.verified()} == {
        *(pending, sending, on_node, dead_holder, nobodys, done_unnoticed, completed, kept)
    }
    assert state(recoverable) is State.COMPLETED
    assert state(left) is state(failed) is state(silent) is State.FAILED
    assert (get(silent).is_locked, get(silent).was_locked) == (False, True)
    assert get(nobodys).is_locked
    assert object_of(old, going) is None

    for each in (completed, kept, recoverable, pending, sending, dead_holder):
        backup = get(each)
        assert requests.get(lifecycle.start_restore(backup), timeout=60).content == ARCHIVE
        with pytest.raises((BackupConflict, BackupLocked)):
            lifecycle.delete_backup(backup)
        lifecycle.record_restore(backup, successful=True)

    with pytest.raises(BackupLocked):
        lifecycle.delete_backup(get(kept))
    for backup in Backup.objects.filter(is_locked=True):
        assert lifecycle.unlock_backup(backup)
    for backup in Backup.objects.all():
        assert lifecycle.delete_backup(backup) is None
    assert not Backup.objects.exists()
    assert object_of(old, whole) is object_of(old, locked) is None


def test_restore_of_first_version_protects_archives_until_reported(old, live_server):
    restoring = old.server(status=RESTORING)
    idle = old.server(status="suspended")
    now = timezone.now()
    whole, going = old.whole(restoring), old.whole(restoring)
    completed = old.row(restoring, **whole)
    old.row(restoring, **{**going, "is_successful": False, "deletion_started_at": now})

    upgrade()

    server = Server.objects.get(pk=restoring.pk)
    assert server.is_restoring_from(get(completed))
    assert swept() == []
    with pytest.raises(BackupConflict, match="being restored"):
        lifecycle.delete_backup(get(completed))
    assert object_of(old, going) is not None
    with Daemon(live_server.url, old.bearer) as daemon:
        assert daemon.report_restore(get(completed)).status_code == 204
    server.refresh_from_db()
    assert (server.status, server.restoring_backup, server.restore_started_at) == (None,) * 3
    assert [action for action, _ in swept()] == ["deleted"]
    lifecycle.delete_backup(get(completed))
    assert object_of(old, going) is object_of(old, whole) is None
    assert Server.objects.get(pk=idle.pk).status == "suspended"


def test_unreported_restore_of_first_version_ends(old):
    restoring = old.server(status=RESTORING)
    upgrade()
    assert swept() == []
    long_ago = timezone.now() - dt.timedelta(hours=25)
    assert Server.objects.filter(restore_started_at__gt=long_ago).update(
        restore_started_at=long_ago
    )
    assert swept() == [("restore ended", str(restoring.uuid))]


def test_first_version_can_write_during_the_upgrade(old, live_server):
    """Its statements do not name the new columns."""
    upgrade()

    server = old.server()
    pending = old.row(server)
    sending = old.row(server, **old.upload(server))
    completed = old.row(server, **old.whole(server))
    row = old.models.Backup.objects.get(uuid=sending)
    row.name = "Renamed by the old one"
    row.save()
    old.models.Server.objects.filter(pk=server.pk).update(status=RESTORING)

    assert Server.objects.get().is_restoring_from(get(completed))
    with Daemon(live_server.url, old.bearer) as daemon:
        assert daemon.back_up(get(pending), ARCHIVE).status_code == 204
        assert daemon.report_restore(get(completed)).status_code == 204
    assert swept(older_than=AT_ONCE) == [("recovered", str(sending))]
    assert get(sending).name == "Renamed by the old one"
    for each in (pending, sending, completed):
        assert lifecycle.delete_backup(get(each)) is None


def test_events_begin_with_the_upgrade(old):
    now = timezone.now()
    failed = old.row(old.server(), completed_at=now)
    upgrade()
    backup = get(failed)
    assert (lifecycle.history(failed), backup.failure) == ([], "")
    lifecycle.delete_backup(backup)
    assert [event.kind for event in lifecycle.history(failed)] == ["deletion_started", "deleted"]


def test_failed_and_completed_backups_from_before_the_flags_stay_so(old):
    """Nothing says why it failed, or that its server's project rotates."""
    server = old.server(backup_limit=1)
    failed = old.row(server, completed_at=timezone.now())
    whole = [old.row(server, **old.whole(server)) for _ in range(2)]
    upgrade()
    with pytest.raises(AlreadyCompleted):
        lifecycle.request_upload(get(failed), 10)
    assert swept(older_than=AT_ONCE) == []
    assert {state(uuid) for uuid in whole} == {State.COMPLETED}


def test_reverse_migration_keeps_the_rows(old):
    server = old.server()
    completed = old.row(server, **old.whole(server))
    before = list(old.models.Backup.objects.values())
    upgrade()
    lifecycle.start_restore(get(completed))
    call_command("migrate", *FIRST, verbosity=0)
    assert list(old.models.Backup.objects.values()) == before
    assert old.models.Server.objects.get().status == RESTORING


def test_reverse_migration_ends_streamed_uploads(server, disk, open_uploads):
    """The version before knows no upload without a size: it never takes one for whole."""
    backup = lifecycle.start_backup(server)
    lifecycle.request_parts(backup, 1)
    try:
        call_command("migrate", *BEFORE_STREAMS, verbosity=0)
    finally:
        upgrade()
    backup = get(backup.uuid)
    assert (backup.state, backup.upload_size) == (State.UPLOADING, 0)
    assert swept(older_than=AT_ONCE) == [("failed", str(backup.uuid))]
    assert open_uploads() == []
