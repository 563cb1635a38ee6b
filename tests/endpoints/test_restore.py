"""POST /api/remote/backups/{uuid}/restore: a restore is over."""

from __future__ import annotations

import json
import uuid

import pytest
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.models import RESTORING, Backup, Server
from tests.support.daemon import PELICAN, PTERODACTYL
from tests.support.factories import BackupFactory, NodeFactory, ServerFactory
from tests.support.http import details, errors, nothing_changes

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def backup(server):
    return BackupFactory(server=server, disk="wings")


def become(server, status):
    server.status = status
    server.save()


@pytest.mark.parametrize("successful", [True, False])
def test_restore_report_clears_the_status(daemon, backup, server, restore_ends, successful):
    become(server, RESTORING)
    answer = daemon.report_restore(backup, successful)
    assert (answer.status_code, answer.content) == (204, b"")
    server.refresh_from_db()
    assert server.status is None
    assert restore_ends == [(backup.uuid, successful)]


@pytest.mark.parametrize(
    "status",
    [None, "", "suspended", "installing", "restoring", " restoring_backup"],
)
def test_other_server_status_is_kept(daemon, backup, server, restore_ends, status):
    become(server, status)
    for successful in (True, False):
        assert daemon.report_restore(backup, successful).status_code == 204
    server.refresh_from_db()
    assert server.status == status
    assert restore_ends == []


def test_repeated_restore_report_sends_one_signal(daemon, backup, server, restore_ends):
    become(server, RESTORING)
    assert [daemon.report_restore(backup).status_code for _ in range(3)] == [204, 204, 204]
    assert len(restore_ends) == 1


def test_late_report_ends_no_restore_of_another_backup(daemon, backup, server, restore_ends):
    other = BackupFactory(
        server=server, disk="wings", completed_at=timezone.now(), is_successful=True
    )
    assert lifecycle.start_restore(other) is None
    assert daemon.report_restore(backup).status_code == 204
    server.refresh_from_db()
    assert (server.status, server.restoring_backup) == (RESTORING, other)
    assert restore_ends == []
    assert daemon.report_restore(other).status_code == 204
    server.refresh_from_db()
    assert (server.status, restore_ends) == (None, [(other.uuid, True)])


@pytest.mark.parametrize("state", ["pending", "completed", "failed"])
def test_restore_report_is_accepted_in_any_backup_state(daemon, backup, server, state):
    """The daemon has the archive's bytes already: the panel's view of it comes too late."""
    if state == "completed":
        assert daemon.report(backup, b"archive", None).status_code == 204
    if state == "failed":
        assert daemon.report_failure(backup).status_code == 204
    before = Backup.objects.filter(pk=backup.pk).values().get()
    become(server, RESTORING)
    assert daemon.report_restore(backup).status_code == 204
    server.refresh_from_db()
    assert server.status is None
    assert Backup.objects.filter(pk=backup.pk).values().get() == before


NOT_BODIES = [
    b"",
    b" ",
    b"{}",
    b"[]",
    b"[true]",
    b"true",
    b"null",
    b'"successful"',
    b"{",
    b'{"successful":tru',
    b'{"successful":true',
    b'{"successful":}',
    b'{"successful":true}}',
    b'{"successful":NaN}',
    b'{"successful":null}',
    b'{"successful":1}',
    b'{"successful":0}',
    b'{"successful":1.0}',
    b'{"successful":"true"}',
    b'{"successful":"false"}',
    b'{"successful":""}',
    b'{"successful":[]}',
    b'{"successful":[true]}',
    b'{"successful":{}}',
    b'{"Successful":true}',
    b'{"successful\\u0000":true}',
    b"successful=true",
    b"successful=false",
    b"\xff\xfe{",
    b'{"successful":"\xff"}',
    b"\x00",
    b"[" * 100_000,
    b'{"a":' * 100_000,
]
#: What might be read in another way under another content type.
NOT_FORMS = [
    b"",
    b" ",
    b"{}",
    b"successful",
    b"successful=true",
    b"successful=false",
    b'--x\r\nContent-Disposition: form-data; name="successful"\r\n\r\nfalse\r\n--x--\r\n',
    b"\x00",
]
CONTENT_TYPES = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain",
    None,
]


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_a_body_without_a_boolean_is_refused(daemon, backup, server, restore_ends, content_type):
    become(server, RESTORING)
    taken = {}
    with nothing_changes(backup):
        for body in NOT_BODIES if content_type == "application/json" else NOT_FORMS:
            answer = daemon.call(
                "POST",
                f"{backup.uuid}/restore",
                data=body,
                headers={"Content-Type": content_type},
            )
            if answer.status_code != 400 or not errors(answer, 400):
                taken[body[:40]] = answer.text
        assert taken == {}
    assert restore_ends == []


def test_the_field_is_named(daemon, backup):
    for body in ({}, {"successful": None}, {"successful": "yes"}):
        answer = daemon.call("POST", f"{backup.uuid}/restore", json=body)
        assert details(answer, 400).startswith("successful: ")


def test_body_is_validated_before_the_lookup(daemon):
    unknown = f"{uuid.uuid4()}/restore"
    assert errors(daemon.call("POST", unknown, json={}), 400)
    assert errors(daemon.call("POST", unknown, json={"successful": True}), 404)


def test_report_names_the_server(daemon, backup, server, restore_ends):
    """It may be absent or null; a report about another server changes nothing."""
    elsewhere = ServerFactory(node=server.node)
    for named in (str(server.uuid), str(server.uuid).upper(), None):
        become(server, RESTORING)
        for other in (str(elsewhere.uuid), str(uuid.uuid4())):
            with nothing_changes(backup):
                assert daemon.report_restore(backup, server_uuid=other).status_code == 204
        assert daemon.report_restore(backup, server_uuid=named).status_code == 204
        server.refresh_from_db()
        assert server.status is None
    unknown = Backup(uuid=uuid.uuid4())
    assert errors(daemon.report_restore(unknown, server_uuid=str(server.uuid)), 404)


def test_restore_onto_a_server_of_another_node_is_not_found(daemon, backup, server):
    """The backup's own server left the node: the node has no say in it."""
    here = ServerFactory(node=server.node)
    become(server, RESTORING)
    Server.objects.filter(pk=server.pk).update(node=NodeFactory())
    with nothing_changes(backup):
        for named in (server, here):
            answer = daemon.report_restore(backup, server_uuid=str(named.uuid))
            assert errors(answer, 404)


@pytest.mark.parametrize(
    "named",
    [5, 2**127, True, "", "x", [], {}, "0" * 32, f"urn:uuid:{uuid.UUID(int=1)}", "\x00" * 36],
)
def test_server_that_is_no_uuid_is_refused(daemon, backup, server, named):
    become(server, RESTORING)
    with nothing_changes(backup):
        answer = daemon.report_restore(backup, server_uuid=named)
        assert details(answer, 400).startswith("server_uuid: ")


def test_unknown_keys_are_ignored(daemon, backup, server):
    become(server, RESTORING)
    body = {"server_uuid": str(server.uuid), "successful": True, "more": [{"deep": None}]}
    assert daemon.call("POST", f"{backup.uuid}/restore", json=body).status_code == 204
    server.refresh_from_db()
    assert server.status is None


def test_body_is_read_as_json_under_any_content_type(daemon, backup, server):
    for accept in (PTERODACTYL, PELICAN, "text/html", None):
        for content_type in CONTENT_TYPES:
            become(server, RESTORING)
            answer = daemon.call(
                "POST",
                f"{backup.uuid}/restore",
                data=json.dumps({"successful": True}),
                headers={"Accept": accept, "Content-Type": content_type},
            )
            assert answer.status_code == 204, (accept, content_type, answer.text)
            server.refresh_from_db()
            assert server.status is None
