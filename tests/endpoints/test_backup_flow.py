"""The main job over real HTTP against a real store."""

import hashlib
import os

import pytest
import requests

from backups_remote import lifecycle
from backups_remote.models import Backup

MIB = 1024**2

pytestmark = pytest.mark.django_db(transaction=True)


def test_backup_is_uploaded_reported_and_downloaded(daemon, backup, s3, store, open_uploads):
    archive = os.urandom(11 * MIB)

    assert daemon.back_up(backup, archive).status_code == 204

    backup.refresh_from_db()
    assert backup.state is Backup.State.COMPLETED
    assert backup.checksum == f"sha1:{hashlib.sha1(archive).hexdigest()}"
    assert backup.size == len(archive)
    assert open_uploads() == []
    link = lifecycle.download_link(backup)
    answer = requests.get(link, timeout=30)
    assert answer.content == archive
    assert answer.headers["Content-Type"] == "application/x-gzip"
