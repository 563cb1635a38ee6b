"""Faults between node, panel and the store under test, and what they must not cost."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import time

import pytest
import requests

from backups_remote import lifecycle
from backups_remote.exceptions import BackupsRemoteError, RestoreRefused
from backups_remote.models import Backup
from backups_remote.storage import get_backend
from tests.support.http import CLOSED, change_disk_options
from tests.support.proxy import Fault

MIB = 1024**2
NOW = dt.timedelta(0)
#: The tries that a daemon makes.
TRIES = 9

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def archive():
    return os.urandom(5 * MIB + 7)


@pytest.fixture
def wanted(server, disk):
    return lifecycle.start_backup(server, name="Nightly")


@pytest.fixture
def parts(proxy, daemon, wanted, archive):
    """Everything is uploaded, nothing reported."""
    ticket = daemon.ask(wanted, len(archive)).json()
    uploaded = daemon.upload(ticket["parts"], archive, ticket["part_size"])
    wanted.refresh_from_db()
    return uploaded


def settled(daemon, backup, archive, parts):
    """A daemon's report, repeated on a 5xx as daemons do; the statuses that it heard."""
    heard = []
    for _ in range(TRIES):
        heard.append(daemon.report(backup, archive, parts).status_code)
        if heard[-1] < 500:
            break
        time.sleep(0.2)
    return heard


def assert_whole(backup, archive):
    backup.refresh_from_db()
    assert backup.state is Backup.State.COMPLETED
    answer = requests.get(lifecycle.download_link(backup), timeout=60)
    assert answer.content == archive
    assert get_backend(backup.disk).open_uploads_of(backup.object_key) == []


@pytest.mark.parametrize("forward", [True, False], ids=["done", "never arrived"])
@pytest.mark.parametrize(
    "answer", ["drop", "reset", "empty", (500, "InternalError"), (404, "NoSuchUpload")], ids=str
)
def test_lost_answer_to_complete_loses_nothing(
    proxy, daemon, wanted, archive, parts, answer, forward
):
    with proxy.going_wrong(Fault("complete", forward=forward, answer=answer)) as fault:
        heard = settled(daemon, wanted, archive, parts)
    assert fault.hits == 1
    assert heard[-1] == 204, heard
    assert_whole(wanted, archive)


def test_a_report_that_is_repeated_changes_nothing(daemon, wanted, archive, parts):
    assert settled(daemon, wanted, archive, parts) == [204]
    assert_whole(wanted, archive)
    assert daemon.report(wanted, archive, parts).status_code == 400
    assert daemon.report_failure(wanted).status_code == 400
    assert_whole(wanted, archive)


def test_failure_report_with_missing_upload_fails_the_backup(daemon, wanted, archive, parts):
    backend = get_backend(wanted.disk)
    backend.abort_upload(wanted.object_key, wanted.upload_id)
    assert daemon.report_failure(wanted).status_code == 204
    wanted.refresh_from_db()
    assert wanted.state is Backup.State.FAILED
    assert "error" not in [outcome.action for outcome in lifecycle.sweep(older_than=NOW)]


def test_success_report_with_missing_upload_is_refused(daemon, wanted, archive, parts):
    backend = get_backend(wanted.disk)
    backend.abort_upload(wanted.object_key, wanted.upload_id)
    heard = settled(daemon, wanted, archive, parts)
    assert 204 not in heard
    list(lifecycle.sweep(older_than=NOW))
    wanted.refresh_from_db()
    assert wanted.state is Backup.State.FAILED


def test_stopped_store_delays_completion(proxy, settings, daemon, wanted, archive, parts):
    change_disk_options(settings, endpoint_url=CLOSED)
    assert daemon.report(wanted, archive, parts).status_code == 503
    assert "error" in [outcome.action for outcome in lifecycle.sweep(older_than=NOW)]
    wanted.refresh_from_db()
    assert wanted.completed_at is None
    change_disk_options(settings, endpoint_url=proxy.url)
    assert settled(daemon, wanted, archive, parts)[-1] == 204
    assert_whole(wanted, archive)


def test_request_is_repeated_after_store_was_stopped(proxy, settings, daemon, wanted, archive):
    change_disk_options(settings, endpoint_url=CLOSED)
    assert daemon.ask(wanted, len(archive)).status_code == 503
    change_disk_options(settings, endpoint_url=proxy.url)
    assert daemon.back_up(wanted, archive).status_code == 204
    assert_whole(wanted, archive)


def test_deletion_with_lost_answer_is_finished(proxy, daemon, wanted, archive, parts):
    assert settled(daemon, wanted, archive, parts) == [204]
    wanted.refresh_from_db()
    with (
        proxy.going_wrong(Fault("delete", answer="drop", times=9)),
        contextlib.suppress(BackupsRemoteError),
    ):
        lifecycle.delete_backup(wanted)
    list(lifecycle.sweep(older_than=NOW))
    assert not Backup.objects.exists()
    assert get_backend(wanted.disk).stat(wanted.object_key) is None


def test_archive_damaged_by_late_part_is_not_restored(daemon, wanted, archive):
    """Swift takes the part. Every other store must refuse it, and the restore goes on."""
    ticket = daemon.ask(wanted, len(archive)).json()
    parts = daemon.upload(ticket["parts"], archive, ticket["part_size"])
    assert daemon.report(wanted, archive, parts).status_code == 204
    requests.put(ticket["parts"][0], data=b"late", timeout=30)
    wanted.refresh_from_db()
    try:
        link = lifecycle.start_restore(wanted)
    except RestoreRefused:
        return
    assert requests.get(link, timeout=30).content == archive
