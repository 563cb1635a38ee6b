"""What Django mails of an error, the variables of every frame, holds no link to an archive."""

from __future__ import annotations

import uuid

import pytest
from django.db import connection
from django.views.debug import ExceptionReporter

from backups_remote import lifecycle
from backups_remote.daemon import WingsDaemon
from backups_remote.models import Server
from tests.admin.pages import page_of
from tests.support.memory import EventfulBackend, completed_backup
from tests.support.scripted import Answer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_links", "calls_daemons")]

SIGNATURE = uuid.uuid4().hex


class FaultError(Exception):
    """A fault of the panel's own, after the link was made."""


@pytest.fixture
def signed_links(memory, monkeypatch):
    """Links have a signature, as those to a real store have."""
    monkeypatch.setattr(
        EventfulBackend,
        "download_url",
        lambda _, key, **__: f"https://s3.example.com/{key}?X-Amz-Signature={SIGNATURE}",
    )
    monkeypatch.setattr(
        WingsDaemon,
        "download_url",
        lambda _, backup, **__: f"https://n.example.com/download/backup?token={SIGNATURE}",
    )


@pytest.fixture
def server(server_with_daemon):
    return server_with_daemon


@pytest.fixture
def events_fail():
    """No event can be written."""

    def fail(execute, sql, params, many, context):
        if sql.startswith("INSERT INTO") and "backups_remote_backupevent" in sql:
            raise FaultError
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail):
        yield


def report_of(caught):
    """The report, without the frame of the test."""
    exc_info = (caught.type, caught.value, caught.tb.tb_next)
    return ExceptionReporter(None, *exc_info).get_traceback_html()


@pytest.mark.parametrize(
    ("call", "disk"),
    [
        (lifecycle.start_restore, "memory"),
        (lifecycle.restore, "memory"),
        (lifecycle.download_link, "memory"),
        (lifecycle.download_link_for_user, "memory"),
        (lifecycle.download_link_for_user, "wings"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_link_is_in_no_report(server, call, disk, request):
    backup = completed_backup(server, disk=disk)
    request.getfixturevalue("events_fail")
    with pytest.raises(FaultError) as caught:
        call(backup)
    report = report_of(caught)
    assert call.__name__ in report
    assert SIGNATURE not in report


def test_link_is_in_no_report_of_a_restore_that_was_begun(server, scripted_daemon, monkeypatch):
    backup = completed_backup(server)
    scripted_daemon.answer = Answer(202)

    def fail(*args):
        raise FaultError

    monkeypatch.setattr(Server, "end_restore_call", fail)
    with pytest.raises(FaultError) as caught:
        lifecycle.restore(backup)
    report = report_of(caught)
    assert "restore_backup" in report
    assert SIGNATURE not in report


def test_link_is_in_no_report_of_the_admin(server, admin_client, monkeypatch):
    backup = completed_backup(server)

    def fail(*args):
        raise FaultError

    monkeypatch.setattr("backups_remote.admin.feedback.log", fail)
    with pytest.raises(FaultError) as caught:
        admin_client.post(page_of(backup).replace("change/", "download/"))
    report = report_of(caught)
    assert "download_view" in report
    assert SIGNATURE not in report
