"""The disk of a new backup: the server's, its node's, or the default."""

import pytest
from django.core.exceptions import ValidationError

from backups_remote import lifecycle
from backups_remote.exceptions import DiskNotConfigured
from backups_remote.models import Backup, Node, Server
from tests.support.factories import BackupFactory, NodeFactory, ServerFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]


@pytest.mark.parametrize(
    ("of_server", "of_node", "used"),
    [("", "", "memory"), ("", "wings", "wings"), ("bare", "wings", "bare"), ("bare", "", "bare")],
)
@pytest.mark.parametrize("create", [lifecycle.start_backup, lambda s: BackupFactory(server=s)])
def test_backup_goes_to_the_nearest_disk_that_is_named(of_server, of_node, used, create):
    server = ServerFactory(disk=of_server, node=NodeFactory(disk=of_node))
    assert create(server).disk == used


def test_disk_that_is_asked_for_comes_first():
    server = ServerFactory(disk="bare")
    assert lifecycle.start_backup(server, disk="wings").disk == "wings"


def test_disks_are_read_from_the_rows_as_they_are_now():
    server = ServerFactory()
    assert server.node.disk == ""
    Node.objects.update(disk="wings")
    assert lifecycle.start_backup(server).disk == "wings"
    Server.objects.update(disk="bare")
    assert lifecycle.start_backup(server).disk == "bare"


def test_disk_that_is_gone_refuses_new_backups():
    server = ServerFactory(disk="gone")
    with pytest.raises(DiskNotConfigured, match="gone"):
        lifecycle.start_backup(server)
    assert not Backup.objects.exists()


@pytest.mark.parametrize("factory", [NodeFactory, ServerFactory])
def test_unknown_disk_is_refused_with_its_field_named(factory):
    row = factory()
    row.disk = "gone"
    with pytest.raises(ValidationError) as refused:
        row.full_clean()
    assert set(refused.value.message_dict) == {"disk"}
    assert "memory" in str(refused.value)
    row.disk = "bare"
    row.full_clean()


@pytest.mark.parametrize("factory", [NodeFactory, ServerFactory])
def test_sweep_looks_for_orphans_on_a_disk_that_a_row_names(memory, factory):
    memory("bare").create_upload("key", "mark")
    memory.calls.clear()
    list(lifecycle.sweep())
    before = memory.calls["open_uploads"]
    factory(disk="bare")
    list(lifecycle.sweep())
    assert memory.calls["open_uploads"] == before * 2 + 1
