"""A host project that saves instances it read a while ago undoes nothing."""

from __future__ import annotations

import pytest
from django.core import serializers
from django.db import DatabaseError, IntegrityError, transaction
from django.forms import modelform_factory
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import BackupConflict, StatusChanged
from backups_remote.models import RESTORING, Backup, Node, Server
from tests.support.factories import BackupFactory, NodeFactory, ServerFactory
from tests.support.memory import completed_backup, success, uploaded
from tests.support.rows import remove

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

State = Backup.State


def save(stale):
    stale.save()


def save_the_name(stale):
    stale.save(update_fields=["name"])


def save_a_form(stale):
    """With every field of the model that a form may have."""
    form = modelform_factory(type(stale), fields="__all__")(instance=stale)
    filled = modelform_factory(type(stale), fields="__all__")(form.initial, instance=stale)
    assert filled.is_valid(), filled.errors
    filled.save()


def update_or_create(stale):
    type(stale).objects.update_or_create(pk=stale.pk, defaults={"name": stale.name})


SAVES = [save, save_the_name, save_a_form, update_or_create]


@pytest.mark.parametrize("write", SAVES)
def test_stale_backup_undoes_no_upload_and_no_report(write):
    backup = uploaded()
    Backup.objects.update(ignored_files=["logs/*"])
    # What start_backup gave, before the node asked for URLs.
    stale = Backup.objects.get()
    for field, value in {"upload_id": "", "object_key": "", "upload_started_at": None}.items():
        setattr(stale, field, value)
    stale.name = "renamed"
    write(stale)
    assert Backup.objects.get().state is State.UPLOADING
    lifecycle.record_report(backup, success(backup))
    write(stale)
    row = Backup.objects.get()
    assert (row.state, row.name) == (State.COMPLETED, "renamed")
    assert row.object_key
    assert row.is_verified


@pytest.mark.parametrize("write", SAVES)
def test_stale_server_ends_no_restore(write):
    backup = completed_backup()
    stale = Server.objects.get()
    lifecycle.start_restore(backup)
    stale.name = "renamed"
    write(stale)
    row = Server.objects.get()
    assert (row.status, row.restoring_backup, row.name) == (RESTORING, backup, "renamed")
    assert row.restore_started_at is not None
    with pytest.raises(BackupConflict):
        lifecycle.delete_backup(backup)


@pytest.mark.parametrize("write", SAVES)
def test_stale_server_restores_for_ever_no_more(write):
    backup = completed_backup()
    lifecycle.start_restore(backup)
    stale = Server.objects.get()
    lifecycle.record_restore(backup, successful=True)
    stale.name = "renamed"
    write(stale)
    row = Server.objects.get()
    assert (row.status, row.restoring_backup, row.name) == (None, None, "renamed")
    assert lifecycle.delete_backup(backup) is None


@pytest.mark.parametrize("write", SAVES)
def test_stale_node_brings_no_token_back(write):
    node = NodeFactory()
    stale = Node.objects.get()
    token = node.rotate_token()
    lifecycle.node_restarted(node)
    restarted_at = Node.objects.get().restarted_at
    stale.name = "renamed"
    write(stale)
    row = Node.objects.get()
    assert (row.bearer_token, row.restarted_at, row.name) == (token, restarted_at, "renamed")
    assert restarted_at is not None


def test_status_that_is_set_replaces_the_one_that_was_read():
    server = ServerFactory()
    server.status = "suspended"
    server.save()
    assert Server.objects.get().status == "suspended"
    server.status = None
    server.save(update_fields=["status"])
    assert Server.objects.get().status is None


def test_status_that_was_left_out_once_is_saved_later():
    server = ServerFactory()
    server.status = "suspended"
    server.save(update_fields=["name"])
    assert Server.objects.get().status is None
    server.save()
    assert Server.objects.get().status == "suspended"


@pytest.mark.parametrize("fields", [None, ["status"], ["name", "status"]])
def test_status_that_is_set_ends_no_restore_that_began_since(fields):
    backup = completed_backup()
    stale = Server.objects.get()
    lifecycle.start_restore(backup)
    stale.status, stale.name = "suspended", "renamed"
    with pytest.raises(StatusChanged):
        stale.save(update_fields=fields)
    row = Server.objects.get()
    assert (row.status, row.restoring_backup) == (RESTORING, backup)
    assert row.name != "renamed"
    stale.refresh_from_db()
    stale.status = "suspended"
    stale.save()
    assert Server.objects.get().status == "suspended"


GUARDED = [(model, name) for model in (Backup, Node, Server) for name in model.GUARDED]


@pytest.mark.parametrize(
    ("model", "name"), GUARDED, ids=[f"{model.__name__}.{name}" for model, name in GUARDED]
)
def test_guarded_column_is_refused_by_name(model, name):
    completed_backup()
    row = model.objects.get()
    field = model._meta.get_field(name)
    for written in {field.name, field.attname}:
        with pytest.raises(ValueError, match=f"^{name}: save\\(\\) does not change it .* does\\.$"):
            row.save(update_fields=["name", written])
        with pytest.raises(ValueError, match=f"^{name}: "):
            model.objects.update_or_create(pk=row.pk, defaults={written: None})


def test_guarded_columns_are_columns():
    for model in (Backup, Node, Server):
        columns = {field.name for field in model._meta.concrete_fields}
        assert set(model.GUARDED) < columns


def test_instance_with_the_key_of_a_row_does_not_overwrite_it():
    """Django would try an UPDATE first, of every column."""
    backup = completed_backup()
    copy = Backup(pk=backup.pk, uuid=backup.uuid, server=backup.server, disk="memory")
    with pytest.raises(IntegrityError):
        copy.save()


def test_copy_is_a_new_row():
    server = ServerFactory(name="one")
    server.pk, server.uuid, server.name = None, "6a3b8a5e-6a0e-4b0b-8a1e-0c8a4f3d7a11", "other"
    server._state.adding = True
    server.save()
    assert {row.name for row in Server.objects.all()} == {"one", "other"}


def test_columns_that_were_not_loaded_are_not_saved():
    ServerFactory(name="one", backup_limit=3)
    server = Server.objects.only("name").get()
    server.name = "other"
    server.save()
    row = Server.objects.get()
    assert (row.name, row.backup_limit, row.status) == ("other", 3, None)


def test_dumped_rows_are_loaded_whole():
    """``loaddata`` writes every column, of rows that exist as well."""
    backup = completed_backup()
    rows = [*Node.objects.all(), *Server.objects.all(), *Backup.objects.all()]
    dump = serializers.serialize("json", rows)
    Backup.objects.update(object_key="another", updated_at=timezone.now())
    for row in serializers.deserialize("json", dump):
        row.save()
    assert Backup.objects.get().object_key == backup.object_key


def test_row_that_is_gone_is_not_written_again():
    backup = BackupFactory()
    remove(Backup.objects.all())
    with pytest.raises(DatabaseError, match="did not affect any rows"), transaction.atomic():
        backup.save()
    assert not Backup.objects.exists()
