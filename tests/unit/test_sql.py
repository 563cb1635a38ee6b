"""The kept SQL of the hot path says what Django's own way says, on whichever Django this is."""

from __future__ import annotations

import datetime as dt
import json
import uuid

import pytest
from django.db import connection, models
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from backups_remote.lifecycle import lookup
from backups_remote.models import Backup, BackupState
from backups_remote.models.transitions.uploads import _IF_UPLOADING
from backups_remote.sql import Guard, update_if
from tests.support.factories import BackupFactory

pytestmark = [pytest.mark.databases, pytest.mark.django_db]
MOMENT = dt.datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=dt.UTC)


@pytest.fixture
def full():
    """A row with a value of its own in every column."""
    backup = BackupFactory(
        disk="s3",
        name="nightly",
        ignored_files=["logs/*"],
        checksum="sha1:abc",
        size=2**40,
        upload_id="upload",
        upload_size=2**40,
        part_size=2**27,
        upload_mark="mark",
        upload_started_at=MOMENT,
        object_key="key",
        object_etag="etag",
        version_id="version",
        reported_at=MOMENT,
        claimed_until=MOMENT,
        claimed_by="holder",
        quiet_until=MOMENT,
        refused_at=MOMENT,
        refusal="why",
        failure="why too",
        deletion_refusal="why at last",
        is_recovered=True,
        is_locked=True,
        was_locked=True,
        created_at=MOMENT,
        reported_etags=["one", "two"],
    )
    assert all(getattr(backup, field.attname) != "" for field in Backup._meta.concrete_fields)
    return backup


def loaded(instance):
    return {name: value for name, value in vars(instance).items() if name != "_state"}


@pytest.mark.parametrize("name", ["_made_by", "_restorable_on"])
def test_lookup_returns_what_its_queryset_returns(full, name):
    kept = getattr(lookup, name)
    expected = kept._build(full.node_id, full.uuid).get()
    for _ in range(2):
        found = kept.first(full.node_id, full.uuid)
        assert loaded(found) == loaded(expected)
        assert found.get_deferred_fields() == expected.get_deferred_fields()
        assert (found._state.adding, found._state.db) == (False, expected._state.db)
        assert {n: type(v) for n, v in loaded(found).items()} == {
            n: type(v) for n, v in loaded(expected).items()
        }
    assert found.reported_etags == ["one", "two"]


@pytest.mark.parametrize("name", ["_made_by", "_restorable_on"])
def test_a_lookup_runs_the_sql_of_its_queryset(full, name):
    kept = getattr(lookup, name)
    with CaptureQueriesContext(connection) as queries:
        kept.first(full.node_id, full.uuid)
        list(kept._build(full.node_id, full.uuid).order_by())
    ours, djangos = (query["sql"] for query in queries)
    assert ours == djangos


@pytest.mark.parametrize("name", ["_made_by", "_restorable_on"])
def test_lookup_keeps_its_parameters_apart(full, name):
    kept = getattr(lookup, name)
    other = BackupFactory()
    assert kept.first(other.node_id, other.uuid).pk == other.pk
    assert kept.first(full.node_id, full.uuid).pk == full.pk
    assert kept.first(full.node_id, other.uuid) is None
    assert kept.first(full.node_id, uuid.uuid4()) is None


@pytest.mark.parametrize("field", [f for f in Backup._meta.concrete_fields if not f.primary_key])
def test_a_guarded_update_writes_what_save_writes(full, field):
    """Every column, as the ORM reads it back."""
    if isinstance(field, models.ForeignKey):
        value = getattr(full, field.attname)
    else:
        value = {
            models.UUIDField: uuid.uuid4(),
            models.JSONField: ["three"],
            models.DateTimeField: MOMENT + dt.timedelta(days=1),
            models.BooleanField: False,
        }.get(type(field), 7 if "Integer" in type(field).__name__ else "7")
    if field.name in {"completed_at", "deletion_started_at"}:
        Backup.objects.update(reported_etags=None, completed_at=MOMENT)
    anything = Guard(models.Q())
    assert update_if(full, anything, same={}, changes={field.name: value})
    assert getattr(Backup.objects.get(pk=full.pk), field.attname) == value


@pytest.mark.parametrize("state", BackupState)
def test_a_guarded_update_leaves_other_states_alone(state):
    fields = {
        BackupState.PENDING: {},
        BackupState.REPORTED: {"reported_at": MOMENT},
        BackupState.COMPLETED: {"completed_at": MOMENT, "is_successful": True},
        BackupState.FAILED: {"completed_at": MOMENT},
        BackupState.DELETING: {"completed_at": MOMENT, "deletion_started_at": MOMENT},
    }.get(state, {})
    if state is not BackupState.PENDING:
        fields |= {
            "upload_id": "upload",
            "object_key": "key",
            "upload_size": 1,
            "part_size": 1,
            "upload_started_at": MOMENT,
        }
    backup = BackupFactory(**fields)
    assert backup.state is state
    moved = update_if(backup, _IF_UPLOADING, same={}, changes={"updated_at": timezone.now()})
    assert moved is (state is BackupState.UPLOADING)


def test_the_same_fields_are_compared_null_included(full):
    anything = Guard(models.Q())
    changes = {"name": "changed"}
    assert not update_if(full, anything, same={"claimed_until": None}, changes=changes)
    assert not update_if(full, anything, same={"upload_id": "another"}, changes=changes)
    same = {"claimed_until": MOMENT, "upload_id": "upload", "completed_at": None}
    assert update_if(full, anything, same=same, changes=changes)


def test_lookup_with_hidden_filters_is_noticed(full):
    """What ``Lookup`` asks of its queryset: the parameters are its fields' values, in order."""
    for name in ("_made_by", "_restorable_on"):
        kept = getattr(lookup, name)
        _, params = kept._build(full.node_id, full.uuid).order_by().query.sql_with_params()
        expected = [
            field.get_db_prep_value(value, connection)
            for field, value in zip(kept._fields, (full.node_id, full.uuid), strict=True)
        ]
        assert json.dumps(list(params), default=str) == json.dumps(expected, default=str)
