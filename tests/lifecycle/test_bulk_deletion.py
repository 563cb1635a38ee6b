"""Rows do not go without their archives, however the host project deletes them."""

from __future__ import annotations

import pytest
from django.template import Context, Template
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.exceptions import BackupConflict
from backups_remote.models import Backup
from backups_remote.testing import MemoryBackend
from tests.support.factories import BackupFactory, ServerFactory
from tests.support.memory import (
    completed_backup,
    failure_report,
    reported,
    uploaded,
    uploading_backup,
)

pytestmark = [pytest.mark.databases, pytest.mark.django_db, pytest.mark.usefixtures("memory")]


def deleting(server):
    backup = completed_backup(server)
    assert backup.begin_deletion()
    return backup


def left_behind(server):
    """Failed, and its upload is still there."""
    backup = uploaded(server)
    assert backup.fail("silence")
    return backup


OWNERS = {
    "uploading": uploading_backup,
    "reported": reported,
    "completed": completed_backup,
    "on the node": lambda server: completed_backup(server, disk="wings"),
    "deleting": deleting,
    "left behind": left_behind,
}
WAYS = {
    "bulk": lambda server, backup: server.backups.all().delete(),
    "one": lambda server, backup: backup.delete(),
    "old": lambda server, backup: Backup.objects.filter(created_at__lte=timezone.now()).delete(),
    "written": lambda server, backup: Backup.objects.using("default").filter(pk=backup.pk).delete(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", OWNERS)
def test_row_that_owns_an_archive_is_not_deleted(kind, way):
    server = ServerFactory()
    backup = OWNERS[kind](server)
    BackupFactory(server=server)
    with pytest.raises(BackupConflict, match=f"{backup.uuid} owns an archive or an upload"):
        WAYS[way](server, backup)
    assert server.backups.count() == 2


def failed(server):
    backup = uploaded(server)
    lifecycle.record_report(backup, failure_report())
    return backup


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [failed, lambda server: BackupFactory(server=server)])
def test_row_that_owns_nothing_is_deleted(make, way):
    server = ServerFactory()
    backup = make(server)
    WAYS[way](server, backup)
    assert not Backup.objects.exists()
    assert not MemoryBackend.uploads


def test_error_names_a_few_of_many():
    server = ServerFactory()
    for _ in range(5):
        completed_backup(server)
    with pytest.raises(BackupConflict) as refused:
        server.backups.all().delete()
    named = [str(uuid) for uuid in server.backups.values_list("uuid", flat=True)]
    assert sum(uuid in str(refused.value) for uuid in named) == 3
    assert "and others" in str(refused.value)
    assert "lifecycle.delete_backup()" in str(refused.value)


def test_templates_delete_nothing():
    """As with Django's own: ``{{ backups.delete }}`` calls nothing."""
    backup = BackupFactory()
    page = Template("{{ rows.delete }}{{ row.delete }}")
    page.render(Context({"rows": Backup.objects.all(), "row": backup}))
    assert Backup.objects.count() == 1
    assert not hasattr(Backup.objects, "delete")
