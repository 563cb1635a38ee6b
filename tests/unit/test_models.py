"""What the database remembers, and what it refuses to."""

import itertools
import uuid

import pytest
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from backups_remote import crypto
from backups_remote.exceptions import TokenUnreadable
from backups_remote.models import Backup, EventKind, Node, Server
from backups_remote.types import Report
from tests.support.factories import BackupFactory, NodeFactory, ServerFactory

pytestmark = [pytest.mark.databases, pytest.mark.django_db]

UPLOAD = {
    "upload_id": "upload",
    "object_key": "key",
    "upload_size": 10,
    "part_size": 5,
    "upload_mark": "mark",
}


def make(state, **fields):
    now = timezone.now()
    columns = {
        Backup.State.PENDING: {},
        Backup.State.UPLOADING: {**UPLOAD, "upload_started_at": now},
        Backup.State.REPORTED: {**UPLOAD, "upload_started_at": now, "reported_at": now},
        Backup.State.COMPLETED: {"completed_at": now, "is_successful": True},
        Backup.State.FAILED: {"completed_at": now},
        Backup.State.DELETING: {"completed_at": now, "deletion_started_at": now},
    }[state]
    return BackupFactory(**{**columns, **fields})


def test_node_generates_its_token():
    node = Node.objects.create(name="fra-1")
    assert len(node.token_id) == 16
    assert len(node.token) == 64
    assert node.bearer_token == f"{node.token_id}.{node.token}"
    assert (node.token_id + node.token).isalnum()
    assert Node.objects.get().bearer_token == node.bearer_token


def test_a_token_is_encrypted_at_rest():
    node = NodeFactory()
    stored = Node.objects.values().get()
    assert node.token not in str(stored)
    assert node.token not in repr(node)


def test_rotation_replaces_the_whole_bearer_token():
    node = NodeFactory()
    before = node.token_id, node.token
    assert node.rotate_token() == node.bearer_token
    node.refresh_from_db()
    assert node.token_id != before[0]
    assert node.token != before[1]


def test_token_is_readable_after_secret_key_rotation(settings):
    node = NodeFactory()
    token, old = node.token, settings.SECRET_KEY
    settings.SECRET_KEY = "another"
    with pytest.raises(TokenUnreadable):
        _ = node.token
    settings.SECRET_KEY_FALLBACKS = [old]
    assert node.token == token


def test_token_encryption_is_not_deterministic():
    assert crypto.encrypt("a") != crypto.encrypt("a")


def test_backup_defaults_to_node_of_server_and_default_disk(settings):
    settings.BACKUPS_REMOTE = {}
    server = ServerFactory()
    backup = Backup.objects.create(server=server)
    assert backup.node == server.node
    assert backup.disk == "wings"
    assert backup.ignored_files == []


def test_backup_keeps_its_node_when_server_moves():
    backup = BackupFactory()
    maker = backup.node
    backup.server.node = NodeFactory()
    backup.server.save()
    backup.refresh_from_db()
    backup.save()
    assert backup.node == maker


@pytest.mark.parametrize("state", Backup.State)
def test_state_is_the_same_in_python_and_sql(state):
    backup = make(state)
    assert backup.state is state
    for other in Backup.State:
        expected = [backup] if other is state else []
        assert list(getattr(Backup.objects, other.name.lower())()) == expected


def test_every_combination_of_columns_is_in_exactly_one_state():
    now = timezone.now()
    for upload, reported, ended, successful, deleting in itertools.product([0, 1], repeat=5):
        fields = {**UPLOAD, "upload_started_at": now} if upload else {}
        if reported:
            fields["reported_at"] = now
        if ended:
            fields["completed_at"] = now
        if deleting:
            fields["deletion_started_at"] = now
        try:
            with transaction.atomic():
                backup = BackupFactory(is_successful=bool(successful), **fields)
        except IntegrityError:
            continue
        states = [s for s in Backup.State if Backup.objects.in_state(s).filter(pk=backup.pk)]
        assert states == [backup.state]


@pytest.mark.parametrize(
    "fields",
    [
        {"is_successful": True},
        {"upload_id": "an upload without its key"},
        {**UPLOAD, "upload_started_at": None},
        {"part_size": 0},
        {"deletion_started_at": timezone.now()},
        {
            "deletion_started_at": timezone.now(),
            "completed_at": timezone.now(),
            "is_successful": True,
        },
        {"completed_at": timezone.now(), "reported_etags": ["a"]},
    ],
)
def test_constraints_refuse_invalid_rows(fields):
    with pytest.raises(IntegrityError), transaction.atomic():
        BackupFactory(**fields)


@pytest.mark.parametrize("model", [Node, Server])
def test_node_or_server_with_backups_cannot_be_deleted(model):
    backup = BackupFactory()
    owner = backup.node if model is Node else backup.server
    with pytest.raises(ProtectedError):
        owner.delete()


# Every transition, from every state: only the ones listed may move.
REPORT = Report(successful=True, checksum="sha1:x", size=10)
S = Backup.State
TRANSITIONS = {
    "start_upload": (
        lambda b: b.start_upload(upload_id="new", mark="m", key="k", size=1, part_size=1),
        {S.PENDING: S.UPLOADING, S.UPLOADING: S.UPLOADING},
    ),
    "record_success": (
        lambda b: b.record_success(checksum="c", size=1, etags=["e"], claimed_until=timezone.now()),
        {S.UPLOADING: S.REPORTED},
    ),
    "claim": (lambda b: b.claim(timezone.now()), {S.REPORTED: S.REPORTED}),
    "release": (lambda b: b.release(), {S.REPORTED: S.REPORTED}),
    "take_back_report": (lambda b: b.take_back_report(), {S.REPORTED: S.UPLOADING}),
    "complete_on_node": (
        lambda b: b.complete_on_node(REPORT),
        {S.PENDING: S.COMPLETED, S.UPLOADING: S.COMPLETED, S.FAILED: S.COMPLETED},
    ),
    "fail": (lambda b: b.fail("why"), {S.PENDING: S.FAILED, S.UPLOADING: S.FAILED}),
    "fail_reported": (lambda b: b.fail_reported("why"), {S.REPORTED: S.FAILED}),
    "begin_deletion": (
        lambda b: b.begin_deletion(),
        {S.COMPLETED: S.DELETING, S.FAILED: S.DELETING},
    ),
}


@pytest.mark.parametrize("name", TRANSITIONS)
@pytest.mark.parametrize("state", Backup.State)
def test_transition_requires_an_allowed_state(name, state):
    move, allowed = TRANSITIONS[name]
    backup = make(state)
    before = Backup.objects.values().get()
    assert move(backup) is (state in allowed)
    after = Backup.objects.get()
    assert after.state is allowed.get(state, state)
    assert backup.state is after.state
    if state not in allowed:
        assert Backup.objects.values().get() == before


def test_a_transition_from_an_outdated_row_changes_nothing():
    backup = make(S.UPLOADING)
    outdated = Backup.objects.get()
    assert backup.start_upload(upload_id="newer", mark="m", key="k", size=1, part_size=1)
    assert not outdated.start_upload(upload_id="late", mark="m", key="k", size=1, part_size=1)
    assert not outdated.fail("why")
    assert not outdated.record_success(checksum="c", size=1, etags=[], claimed_until=timezone.now())
    assert Backup.objects.get().upload_id == "newer"


def test_fail_releases_lock_and_clears_report():
    backup = make(S.UPLOADING, is_locked=True, checksum="c", size=5)
    assert backup.fail("why")
    row = Backup.objects.get()
    assert (row.is_locked, row.checksum, row.size) == (False, "", 0)


@pytest.mark.parametrize("state", Backup.State)
def test_failed_backup_cannot_be_locked(state):
    backup = make(state)
    assert backup.set_locked(locked=True) is (state not in {S.FAILED, S.DELETING})


def test_a_locked_backup_is_not_deleted():
    assert not make(S.COMPLETED, is_locked=True).begin_deletion()


@pytest.mark.parametrize("status", [None, "suspended", "installing", "restoring_backup"])
def test_only_a_restoring_status_is_cleared(status):
    server = ServerFactory(status=status)
    backup = BackupFactory(server=server)
    ended = Server.end_restore(server.pk, backup, EventKind.RESTORE_COMPLETED)
    assert ended is (status == "restoring_backup")
    server.refresh_from_db()
    assert server.status == (None if status == "restoring_backup" else status)


def test_uuid_is_a_uuid_instance():
    assert isinstance(BackupFactory().uuid, uuid.UUID)
