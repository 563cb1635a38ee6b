"""The world that the reliability tests share, and a panel in it."""

from __future__ import annotations

import contextlib
import datetime as dt
import os

import pytest

from backups_remote.lifecycle import lease
from tests.conftest import S3_BACKEND
from tests.reliability.panel import Commander, Panel
from tests.reliability.world import PART_SIZE, PersistentNode, World
from tests.support.factories import NodeFactory, ServerFactory
from tests.support.proxy import Proxy
from tests.support.tally import TOTALS

#: How long a repeat waits for the first report, in seconds: many here wait for a dead panel's.
PATIENCE = 0.3
#: A claim's lease and its renewals, in seconds: many here wait for a dead panel's to end.
LEASE = {"LEASE": 1, "RENEW_EVERY": 0.3}


def pytest_terminal_summary(terminalreporter):
    if TOTALS.cases or TOTALS.sequences or TOTALS.lost:
        terminalreporter.section("reliability")
        terminalreporter.write_line(TOTALS.summary)


@pytest.fixture(scope="session")
def direct_s3(store):
    """A client that asks the store itself, past the proxy."""
    client = store.client(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=32,
    )
    yield client
    client.close()


@pytest.fixture(scope="session")
def shared_world(store, direct_s3, tmp_path_factory, django_db_setup):
    with Proxy(store.endpoint) as proxy:
        yield World(store, proxy, direct_s3, tmp_path_factory.mktemp("reliability"))


@pytest.fixture(autouse=True)
def short_leases(monkeypatch):
    """In the tests' own process too."""
    monkeypatch.setattr(lease, "LEASE", dt.timedelta(seconds=LEASE["LEASE"]))
    monkeypatch.setattr(lease, "RENEW_EVERY", LEASE["RENEW_EVERY"])


@pytest.fixture
def world(shared_world, transactional_db):
    """The world, with nothing going wrong in it."""
    shared_world.proxy.clear()
    yield shared_world
    shared_world.proxy.clear()


@pytest.fixture(scope="session")
def shared_panel(shared_world, django_db_blocker):
    # Only the database's name is asked for.
    with django_db_blocker.unblock():
        site = shared_world.site(timeouts={"PATIENCE": PATIENCE, **LEASE})
    # Many: one that was killed is replaced only after a while.
    with Panel(site, shared_world.scratch, workers=6) as panel:
        yield panel


@pytest.fixture
def panel(world, shared_panel):
    """A running panel; tests may kill it."""
    if shared_panel.process is None:
        shared_panel.start()
    return shared_panel


@pytest.fixture(scope="session")
def shared_commander(shared_world, django_db_blocker):
    with django_db_blocker.unblock():
        site = shared_world.site(timeouts=LEASE)
    with Commander(site, shared_world.scratch) as commanding:
        yield commanding


@pytest.fixture
def command(world, shared_commander):
    """Runs one command after the other, each in a process of its own."""
    return shared_commander.run


@pytest.fixture
def sweep(command):
    """The one run of the command that must set everything right, whatever happened before."""

    def sweep_once(disk):
        done = command("expire_stale_uploads", "--older-than", "0s", "--disk", disk)
        assert done.code == 0, done.out
        return done.out

    return sweep_once


@pytest.fixture
def commander(world):
    """Makes more that run commands, for several at once."""
    with contextlib.ExitStack() as running:
        yield lambda: running.enter_context(Commander(world.site(timeouts=LEASE), world.scratch))


@pytest.fixture
def disk(world):
    """A disk for the test alone. (Not the one of tests on a panel within pytest's process.)"""
    return world.new_disk()


@pytest.fixture
def local(world, settings, disk):
    """The test's own process is a panel too: every disk of the world, ``disk`` the default one."""
    settings.STORAGES = {
        **settings.STORAGES,
        **{
            alias: {"BACKEND": S3_BACKEND, "OPTIONS": {**world.storage, "location": location}}
            for alias, location in world.locations.items()
        },
    }
    settings.BACKUPS_REMOTE = {"DEFAULT_DISK": disk, "MAX_PART_SIZE": PART_SIZE}
    return disk


@pytest.fixture
def node(world):
    return NodeFactory()


@pytest.fixture
def server(node):
    return ServerFactory(node=node)


@pytest.fixture
def wings(panel, node):
    """The node's daemon, which tries again."""
    return PersistentNode(panel.url, node.bearer_token)


@pytest.fixture(scope="session")
def archive():
    """Two parts: 5 MiB and a bit."""
    return os.urandom(PART_SIZE + 70_000)


@pytest.fixture(scope="session")
def tiny():
    """One part."""
    return os.urandom(40_000)
