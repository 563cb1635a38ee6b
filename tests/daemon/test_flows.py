"""Backups and restores from the panel's own verbs, made by a daemon with real files."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
import requests

from backups_remote import lifecycle
from backups_remote.daemon import WingsDaemon
from backups_remote.exceptions import (
    BackupConflict,
    DaemonError,
    DaemonNotReached,
    DaemonRefused,
    DaemonUnclear,
)
from backups_remote.models import Backup, Server
from backups_remote.testing.daemon import MAKES, Fault
from tests.support.http import change_disk_options
from tests.support.proxy import Fault as StoreFault
from tests.support.proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024**2
S = Backup.State

pytestmark = pytest.mark.once


class ImpatientDaemon(WingsDaemon):
    read_timeout = 0.1


def content_of(root):
    """Every file's content, and every link's target, by name."""
    return {
        path.relative_to(root).as_posix(): path.readlink()
        if path.is_symlink()
        else path.read_bytes()
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def state():
    return Backup.objects.get().state


def completed(server, stand_in, **options):
    backup = lifecycle.back_up(server, **options)
    stand_in.wait()
    backup.refresh_from_db()
    assert backup.state is S.COMPLETED
    return backup


def restore(backup, stand_in, *, truncate):
    lifecycle.restore(backup, truncate=truncate)
    stand_in.wait()
    assert Server.objects.get().status is None


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("disk_name", ["s3", "wings"])
@pytest.mark.parametrize("truncate", [False, True])
def test_backup_brings_files_back(server, files, stand_in, disk_name, truncate, restore_ends):
    before = content_of(files)
    backup = completed(server, stand_in, disk=disk_name)
    assert Backup.objects.get().is_verified

    (files / "server.properties").write_text("overwritten")
    (files / "world/level.dat").unlink()
    (files / "world").rmdir()
    (files / "new.txt").write_text("new")
    restore(backup, stand_in, truncate=truncate)
    assert restore_ends == [(backup.uuid, True)]
    expected = before if truncate else {**before, "new.txt": b"new"}
    assert content_of(files) == expected
    assert os.access(files / "start.sh", os.X_OK)


def test_backup_of_several_parts_is_the_archive_that_was_packed(server, files, stand_in):
    content = os.urandom(11 * MIB)
    (files / "world/r.0.0.mca").write_bytes(content)
    backup = completed(server, stand_in, ignored_files=["*.properties"])
    assert [c.status for c in stand_in.calls if (c.to, c.method) == ("store", "PUT")] == [200] * 3
    for path in files.rglob("*.*"):
        path.unlink()
    restore(backup, stand_in, truncate=True)
    assert (files / "world/r.0.0.mca").read_bytes() == content
    assert not (files / "server.properties").exists()


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("is_early", [False, True], ids=["", "calls back early"])
def test_archive_on_the_node_is_downloaded_and_deleted(server, files, stand_in, is_early):
    backup = completed(server, stand_in, disk="wings")
    link = lifecycle.download_link_for_user(backup)
    archive = stand_in.archive_path(server.uuid, backup.uuid)
    assert requests.get(link, timeout=30).content == archive.read_bytes()
    assert requests.get(link, timeout=30).status_code == 404  # used
    later = lifecycle.download_link_for_user(backup)
    if is_early:
        stand_in.switch_on(Fault.CALLS_BACK_EARLY)
    lifecycle.delete_backup(backup)
    stand_in.wait()
    assert not archive.exists()
    assert not Backup.objects.exists()
    assert requests.get(later, timeout=30).status_code == 404


def test_log_of_calls_has_no_secrets(server, files, stand_in):
    backup = completed(server, stand_in)
    restore(backup, stand_in, truncate=False)
    said = repr(stand_in.calls) + repr(stand_in)
    assert "download_url" in said
    for secret in (server.node.token, "Signature", "X-Amz"):
        assert secret not in said


def test_example_in_the_documentation_works(live_server, calling, tmp_path):
    page = (ROOT / "docs/python-api.md").read_text(encoding="utf-8")
    code = page.partition("### A stand-in for a node")[2].split("```python\n")[1].split("```")[0]
    names = {}
    exec(code, names)
    names["test_a_world_comes_back"](live_server, tmp_path)


# Faults


def test_node_that_is_down_has_not_begun(server, files, stand_in):
    url = stand_in.url
    stand_in.switch_on(Fault.DOWN)
    with pytest.raises(DaemonNotReached):
        lifecycle.back_up(server)
    assert state() is S.FAILED
    stand_in.switch_off(Fault.DOWN)
    assert stand_in.url == url
    Backup.objects.all().delete()
    backup = completed(server, stand_in)

    stand_in.switch_on(Fault.DOWN)
    with pytest.raises(DaemonNotReached):
        lifecycle.restore(backup)
    assert Server.objects.get().status is None


def test_daemon_that_answers_500_has_not_begun(server, files, stand_in):
    stand_in.switch_on(Fault.ANSWERS_500)
    with pytest.raises(DaemonRefused):
        lifecycle.back_up(server)
    assert state() is S.FAILED
    assert [call.to for call in stand_in.calls] == ["daemon"]


def test_proxy_that_answers_502_leaves_it_open(server, files, stand_in):
    stand_in.switch_on(Fault.ANSWERS_502)
    with pytest.raises(DaemonUnclear):
        lifecycle.back_up(server)
    assert state() is S.PENDING


def slow(settings, stand_in):
    settings.BACKUPS_REMOTE["DAEMON"] = f"{__name__}.{ImpatientDaemon.__name__}"
    stand_in.switch_on(Fault.SLOW)


@pytest.mark.parametrize("fault", [Fault.RESETS, Fault.SLOW])
def test_lost_answer_leaves_the_outcome_to_the_report(server, files, stand_in, settings, fault):
    if fault is Fault.SLOW:
        slow(settings, stand_in)
    else:
        stand_in.switch_on(fault)
    with pytest.raises(DaemonUnclear):
        lifecycle.back_up(server)
    stand_in.wait()
    assert state() is S.COMPLETED
    backup = Backup.objects.get()
    (files / "world/level.dat").unlink()
    with pytest.raises(DaemonUnclear):
        lifecycle.restore(backup)
    stand_in.wait()
    assert Server.objects.get().status is None
    assert (files / "world/level.dat").read_bytes() == b"level"


def test_daemon_that_calls_back_early_is_heard(server, files, stand_in, restore_ends):
    stand_in.switch_on(Fault.CALLS_BACK_EARLY)
    lifecycle.back_up(server)
    backup = Backup.objects.get()
    assert backup.state is S.COMPLETED
    lifecycle.restore(backup)
    assert restore_ends == [(backup.uuid, True)]
    order = [(call.to, call.method) for call in stand_in.calls]
    assert order[-1] == ("daemon", "POST")  # answered last


def test_restarted_daemon_never_reports(server, files, stand_in):
    stand_in.switch_on(Fault.RESTARTS)
    lifecycle.back_up(server)
    stand_in.wait()
    assert state() is S.PENDING
    assert [call.to for call in stand_in.calls] == ["daemon"]


UNHEARD = {Fault.ANSWERS_500: DaemonRefused, Fault.ANSWERS_502: DaemonUnclear}


@pytest.mark.parametrize("fault", UNHEARD)
def test_restore_that_is_not_accepted(server, files, stand_in, fault):
    """Idle where nothing has begun; held where the daemon may be at work."""
    backup = completed(server, stand_in)
    stand_in.switch_on(fault)
    with pytest.raises(UNHEARD[fault]):
        lifecycle.restore(backup)
    is_open = fault is Fault.ANSWERS_502
    assert Server.objects.get().is_restoring is is_open
    if is_open:
        with pytest.raises(BackupConflict):
            lifecycle.delete_backup(backup)


@pytest.mark.parametrize("make", ["pterodactyl", "calagopus"])
@pytest.mark.parametrize("fault", [*UNHEARD, Fault.CANNOT_DELETE, Fault.RESETS, Fault.RESTARTS])
def test_deletion_is_finished_once_the_node_is_well(server, files, stand_in, make, fault):
    backup = completed(server, stand_in, disk="wings")
    archive = stand_in.archive_path(server.uuid, backup.uuid)
    stand_in.switch_on(fault)
    with contextlib.suppress(DaemonError):
        lifecycle.delete_backup(backup)
    stand_in.wait()
    # While the archive lies there its row does, and is no success.
    assert archive.exists() is Backup.objects.filter(deletion_started_at__isnull=False).exists()
    stand_in.switch_off(fault)
    list(lifecycle.sweep())
    stand_in.wait()
    assert not archive.exists()
    assert not Backup.objects.exists()


@pytest.mark.parametrize("resets_servers", [True])
def test_restarted_daemon_ends_what_it_has_forgotten(
    server, files, stand_in, restore_ends, resets_servers
):
    """It says so at its start, to the panel's real endpoint."""
    backup = completed(server, stand_in)
    stand_in.switch_on(Fault.RESTARTS)
    later = lifecycle.back_up(server)
    stand_in.wait()
    stand_in.switch_off(Fault.RESTARTS)
    # Not by a call: with the fault the restart may come before its answer, and the restore is
    # then shown again.
    lifecycle.start_restore(backup)
    stand_in.restart()
    assert ("panel", "POST", "/api/remote/servers/reset", 204) in [
        (call.to, call.method, call.path, call.status) for call in stand_in.calls
    ]
    assert Server.objects.get().status is None
    assert restore_ends == [(backup.uuid, False)]
    assert lifecycle.history(backup)[-1].detail == "the node's daemon restarted"
    list(lifecycle.sweep())
    later.refresh_from_db()
    assert later.state is S.FAILED
    assert "daemon restarted" in later.failure

    restore(backup, stand_in, truncate=False)
    assert restore_ends[-1] == (backup.uuid, True)


@pytest.fixture
def proxy(store, settings, disk):
    """The store, behind a proxy that goes wrong."""
    with Proxy(store.endpoint) as proxy:
        change_disk_options(settings, endpoint_url=proxy.url)
        yield proxy


@pytest.mark.parametrize(
    ("make", "outcome", "parts"),
    [("pterodactyl", S.FAILED, 1), ("pelican", S.FAILED, 1), ("calagopus", S.COMPLETED, 2)],
)
@pytest.mark.parametrize("answer", [(503, "SlowDown"), "reset"], ids=["5xx", "lost"])
def test_part_cannot_be_repeated_once_its_body_is_consumed(
    proxy, server, files, stand_in, make, outcome, parts, answer
):
    assert (Fault.CONSUMES_BODY in MAKES[make].faults) is (parts == 1)
    proxy.inject(StoreFault("part", forward=False, answer=answer))
    backup = lifecycle.back_up(server)
    stand_in.wait()
    assert state() is outcome
    assert proxy.count(str(backup.uuid))["part"] == parts


def test_private_store_empties_a_server_and_is_refused(server, files, stand_in, proxy, settings):
    backup = completed(server, stand_in)
    stand_in.switch_on(Fault.REFUSES_PRIVATE_ADDRESSES)
    with pytest.raises(DaemonRefused, match="not allowed"):
        lifecycle.restore(backup, truncate=True)
    assert (files / "server.properties").exists()

    change_disk_options(settings, endpoint_url=proxy.url.replace("127.0.0.1", "localhost"))
    with pytest.raises(DaemonRefused, match="not allowed"):
        lifecycle.restore(backup, truncate=True)
    assert list(files.iterdir()) == []
    assert Server.objects.get().status is None

    stand_in.restore_host_allowlist.add("localhost")
    restore(backup, stand_in, truncate=True)
    assert (files / "server.properties").exists()


@pytest.mark.parametrize("make", ["pterodactyl", "calagopus"])
def test_archive_gone_from_the_store_restores_nothing(server, files, stand_in, proxy, make):
    backup = completed(server, stand_in)
    proxy.inject(StoreFault("get", nth=2, answer=(404, "NoSuchKey")))
    if make == "calagopus":
        lifecycle.restore(backup)
        stand_in.wait()
    else:
        with pytest.raises(DaemonRefused, match="answered 400"):
            lifecycle.restore(backup)
    assert Server.objects.get().status is None


def test_every_fault_is_tried():
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [fault.name for fault in Fault if f"Fault.{fault.name}" not in tests] == []
