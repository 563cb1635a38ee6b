"""A day of an operator, in the browser: with a daemon, its files and a store behind the panel."""

from __future__ import annotations

import hashlib
import os
import uuid

import pytest
from playwright.sync_api import expect

from backups_remote.models import Backup
from backups_remote.testing.daemon import StandInDaemon
from tests.admin.browser import MARKS, see_list, theme
from tests.support.factories import NodeFactory, ServerFactory
from tests.support.http import change_disk_options
from tests.support.proxy import Fault, Proxy

pytestmark = MARKS

MIB = 1024**2
State = Backup.State


@pytest.fixture
def slow_store(store, disk, settings):
    """What stands between the node and the store, and can hold parts back."""
    with Proxy(store.endpoint) as between:
        change_disk_options(settings, endpoint_url=between.url)
        yield between


@pytest.fixture
def stand_in(slow_store, calls_daemons, live_server, tmp_path):
    with StandInDaemon(tmp_path / "node", "pelican", pace=0.005) as daemon:
        yield daemon
        slow_store.clear()
        daemon.wait()


@pytest.fixture
def server(stand_in, live_server):
    node = NodeFactory(name="fra-1", url=stand_in.url, heard_at=None)
    stand_in.connect(live_server.url, node.token_id, node.token)
    return ServerFactory(node=node, name="Survival SMP", uuid=uuid.uuid4(), backup_limit=9)


@pytest.fixture
def files(stand_in, server):
    files = stand_in.add_server(server.uuid)
    (files / "level.dat").write_bytes(os.urandom(11 * MIB))
    (files / "motd.txt").write_text("hello")
    return files


def press(page, verb):
    page.locator(f"[data-verb={verb}]").click()


def start(page, server, name):
    """Begin a backup from the server's page; the browser is then on the backup's page."""
    page.goto(f"/admin/backups_remote/server/{server.pk}/change/")
    press(page, "back-up")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Back up now").click()
    expect(page.get_by_text(f"The node is making the backup {name}.")).to_be_visible()


def state_of(page):
    """The state that the page shows."""
    return page.locator(".backup-state").first


@pytest.mark.parametrize(
    "page",
    [("light", 1280), pytest.param(("dark", 1280), marks=pytest.mark.themes)],
    indirect=True,
    ids=str,
)
def test_operators_day(page, server, files, stand_in, slow_store):
    # Start, and watch: the second part does not get through.
    slow_store.inject(Fault("part", nth=2, before=10))
    start(page, server, "Before the update")
    progress = page.locator(".backup-progress")
    expect(progress).to_contain_text("1 of 3 parts, 5.0 MB of 11.", timeout=20_000)
    expect(progress.locator("progress")).to_have_attribute("value", str(5 * MIB))

    # Cancel.
    press(page, "expire")
    expect(page.get_by_text("1 backup will be ended now")).to_be_visible()
    page.get_by_role("button", name="Expire now").click()
    expect(page.get_by_text("1 backup: 1 failed.")).to_be_visible()
    expect(state_of(page)).to_contain_text("Failed")
    slow_store.clear()
    stand_in.wait()

    # Start again, and see the page turn by itself.
    start(page, server, "Before the update, again")
    expect(state_of(page)).to_contain_text("Completed", timeout=20_000)
    stand_in.wait()

    # Lock.
    press(page, "lock")
    expect(page.get_by_text("1 backup was locked.")).to_be_visible()
    expect(page.locator("[data-verb=unlock]")).to_be_visible()

    # Something goes wrong on the server; restore.
    whole = (files / "level.dat").read_bytes()
    (files / "level.dat").write_bytes(b"broken")
    (files / "virus.jar").write_bytes(b"?")
    press(page, "restore")
    page.get_by_label("Delete all files of the server first").check()
    page.get_by_role("button", name="Restore", exact=True).click()
    expect(page.get_by_text("is being restored onto Survival SMP.")).to_be_visible()
    stand_in.wait()
    assert (files / "level.dat").read_bytes() == whole
    assert not (files / "virus.jar").exists()
    timeline = page.locator(".backup-timeline")
    expect(timeline).to_contain_text("Restore completed", timeout=20_000)
    expect(timeline).to_contain_text("Locked")
    expect(timeline).to_contain_text("operator")

    # Download.
    with page.expect_download() as download:
        press(page, "download")
    backup = Backup.objects.get(name="Before the update, again")
    archive = download.value.path().read_bytes()
    assert backup.checksum == f"sha1:{hashlib.sha1(archive).hexdigest()}"
    assert download.value.suggested_filename == f"backup-{backup.uuid}.tar.gz"

    # Why did the first one fail? The list says so, and its page when, and who ended it.
    see_list(page)
    theme.filter(page, "state", "Failed")
    row = page.locator("#result_list tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("1 of 3 parts had arrived")
    row.get_by_role("link", name="Before the update").click()
    expect(page.locator(".backup-timeline")).to_contain_text("1 of 3 parts had arrived")
    expect(page.locator(".backup-timeline")).to_contain_text("operator")
    failed = Backup.objects.get(name="Before the update")
    assert failed.state is State.FAILED
