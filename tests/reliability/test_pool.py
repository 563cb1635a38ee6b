"""A slow completion holds no connection of a database pool."""

from __future__ import annotations

import dataclasses
import time
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
    faults = [Fault("complete", str(backup.uuid), before=8) for backup in slow]

    def call(verb):
        with Daemon(pooled.url, node.bearer_token) as daemon:
            started = time.monotonic()
            answer = verb(daemon)
            return answer.status_code, time.monotonic() - started

    def report(backup):
        body = success(tiny, parts_of(backup))
        return call(lambda daemon: daemon.call("POST", f"{backup.uuid}", json=body))

    with world.proxy.going_wrong(*faults), ThreadPoolExecutor(POOL) as threads:
        reports = [threads.submit(report, backup) for backup in slow]
        for backup in slow:
            world.proxy.wait_for("complete", str(backup.uuid))
        time.sleep(0.5)
        fresh = world.pending(server, disk)
        status, seconds = call(lambda daemon: daemon.ask(fresh, len(tiny)))
        assert not any(done.done() for done in reports)
        assert [done.result()[0] for done in reports] == [204] * POOL

    assert (status, seconds < 2) == (200, True), seconds
    assert [world.violations(backup, tiny) for backup in slow] == [[]] * POOL
