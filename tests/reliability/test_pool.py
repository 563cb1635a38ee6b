"""A slow completion holds no connection of a database pool."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from tests.reliability.panel import Panel
from tests.reliability.world import parts_of
from tests.support.daemon import Daemon, success
from tests.support.proxy import Fault

pytestmark = pytest.mark.databases

POOL = 4


@pytest.fixture
def pooled(shared_world, world):
    """A panel whose threads share four connections."""
    if connection.vendor != "postgresql":
        pytest.skip("Django has a connection pool for PostgreSQL alone")
    site = dataclasses.replace(shared_world.site(), pool=POOL)
    with Panel(site, shared_world.scratch, workers=1, threads=16) as panel:
        yield panel


def test_slow_completions_do_not_hold_pool_connections(world, pooled, node, server, disk, tiny):
    slow = [world.uploading(server, disk, tiny) for _ in range(POOL)]
    told = threading.Event()
    faults = [Fault("complete", str(backup.uuid), before=told) for backup in slow]

    def report(backup):
        body = success(tiny, parts_of(backup))
        with Daemon(pooled.url, node.bearer_token) as daemon:
            return daemon.call("POST", f"{backup.uuid}", json=body).status_code

    with world.proxy.going_wrong(*faults), ThreadPoolExecutor(POOL) as threads:
        reports = [threads.submit(report, backup) for backup in slow]
        for backup in slow:
            world.proxy.wait_for("complete", str(backup.uuid))
        # Each of them waits for the store now, and none of the pool's connections is left if they
        # keep theirs: this call would get none.
        with Daemon(pooled.url, node.bearer_token) as daemon:
            answer = daemon.ask(world.pending(server, disk), len(tiny))
        assert answer.status_code == 200, answer.text
        assert not any(done.done() for done in reports)
        told.set()
        assert [done.result() for done in reports] == [204] * POOL

    assert [world.violations(backup, tiny) for backup in slow] == [[]] * POOL
