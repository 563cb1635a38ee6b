"""Creating pending backups."""

from __future__ import annotations

import pytest

from backups_remote import lifecycle
from backups_remote.models import Backup
from tests.support.factories import ServerFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]


def test_ignored_files_must_be_a_list_of_strings():
    """As an iterable it would be seven patterns of a letter each."""
    server = ServerFactory()
    for wrong in ("logs/*", [1]):
        with pytest.raises(TypeError, match="ignored_files"):
            lifecycle.start_backup(server, ignored_files=wrong)
    assert not Backup.objects.exists()
    assert lifecycle.start_backup(server, ignored_files=["logs/*"]).ignored_files == ["logs/*"]
