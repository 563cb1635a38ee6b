"""A backup's life by a real daemon's calls over HTTP, on the store under test."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import uuid

import pytest
import requests

from backups_remote import lifecycle
from backups_remote.models import Backup
from backups_remote.storage import get_backend

MIB = 1024**2
NOW = dt.timedelta(0)

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def archive():
    """Two whole parts and a bit."""
    return os.urandom(10 * MIB + 5)


@pytest.fixture
def wanted(server, disk):
    return lifecycle.start_backup(server, name="Nightly", ignored_files=["*.log"])


def fetched(link):
    answer = requests.get(link, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] in {"application/x-gzip", "application/gzip"}
    return answer.content


def sweep(**options):
    """What one run of the cron line did, by subject."""
    return {outcome.subject: outcome.action for outcome in lifecycle.sweep(**options)}


def test_a_backup_is_made_restored_and_deleted(daemon, server, wanted, archive):
    backend = get_backend(wanted.disk)
    assert daemon.back_up(wanted, archive).status_code == 204
    wanted.refresh_from_db()
    assert wanted.state is Backup.State.COMPLETED
    assert (wanted.size, wanted.checksum) == (
        len(archive),
        f"sha1:{hashlib.sha1(archive).hexdigest()}",
    )
    assert backend.open_uploads_of(wanted.object_key) == []
    assert fetched(lifecycle.download_link(wanted)) == archive

    assert fetched(lifecycle.start_restore(wanted)) == archive
    assert daemon.report_restore(wanted).status_code == 204
    server.refresh_from_db()
    assert server.status is None

    wanted.refresh_from_db()
    key, version_id = wanted.object_key, wanted.version_id
    lifecycle.delete_backup(wanted)
    assert backend.stat(key, version_id=version_id) is None
    assert not Backup.objects.exists()


def test_a_failed_backup_leaves_nothing(daemon, wanted, archive):
    ticket = daemon.ask(wanted, len(archive)).json()
    daemon.put(ticket["parts"][0], archive[: ticket["part_size"]])
    wanted.refresh_from_db()
    key = wanted.object_key
    assert daemon.report_failure(wanted).status_code == 204
    wanted.refresh_from_db()
    assert wanted.state is Backup.State.FAILED
    sweep(older_than=NOW)
    assert get_backend(wanted.disk).open_uploads_of(key) == []
    assert get_backend(wanted.disk).stat(key) is None


def test_urls_asked_for_again_are_of_the_same_upload(daemon, wanted, archive):
    first = daemon.ask(wanted, len(archive)).json()
    part_size = first["part_size"]
    parts = daemon.upload(first["parts"][:1], archive[:part_size], part_size)
    again = daemon.ask(wanted, len(archive)).json()
    rest = daemon.upload(again["parts"][1:], archive[part_size:], part_size)
    parts += [{**part, "part_number": part["part_number"] + 1} for part in rest]
    assert daemon.report(wanted, archive, parts).status_code == 204
    assert fetched(lifecycle.download_link(Backup.objects.get())) == archive


def test_unreported_complete_upload_is_recovered(daemon, wanted, archive):
    ticket = daemon.ask(wanted, len(archive)).json()
    daemon.upload(ticket["parts"], archive, ticket["part_size"])
    assert sweep(older_than=NOW) == {str(wanted.uuid): "recovered"}
    wanted.refresh_from_db()
    assert wanted.is_recovered
    assert fetched(lifecycle.download_link(wanted)) == archive


def test_only_orphans_are_swept(daemon, wanted, archive, location):
    backend = get_backend(wanted.disk)
    orphan = backend.object_key(uuid.uuid4(), uuid.uuid4())
    foreign = f"{location}/media/film.mkv"
    backend.create_upload(orphan, "mark")
    kept = backend.create_upload(foreign, "mark")
    assert daemon.back_up(wanted, archive).status_code == 204
    assert sweep(older_than=NOW) == {orphan: "orphan aborted"}
    assert backend.open_uploads_of(orphan) == []
    assert [upload.upload_id for upload in backend.open_uploads_of(foreign)] == [kept]
    assert fetched(lifecycle.download_link(Backup.objects.get())) == archive
