"""A stand-in daemon that is a node of the panel under test."""

from __future__ import annotations

import uuid

import pytest

from backups_remote.testing.daemon import StandInDaemon
from tests.support.factories import NodeFactory, ServerFactory

#: Real seconds for each second that a daemon waits.
PACE = 0.005


@pytest.fixture
def calling(disk, calls_daemons):
    """The real store, and a panel that calls its nodes."""


@pytest.fixture
def make():
    return "pterodactyl"


@pytest.fixture
def resets_servers():
    return False


@pytest.fixture
def stand_in(live_server, calling, tmp_path, make, resets_servers):
    """The daemon of the node of ``server``."""
    with StandInDaemon(tmp_path / "node", make, pace=PACE, resets_servers=resets_servers) as daemon:
        yield daemon
        daemon.wait()


@pytest.fixture
def server(stand_in, live_server):
    node = NodeFactory(url=stand_in.url)
    stand_in.connect(live_server.url, node.token_id, node.token)
    return ServerFactory(node=node, uuid=uuid.uuid4())


@pytest.fixture
def files(stand_in, server):
    """The directory of the server's files, with some in it."""
    files = stand_in.add_server(server.uuid)
    (files / "world").mkdir()
    (files / "world/level.dat").write_bytes(b"level")
    (files / "server.properties").write_text("level-name=world\n")
    (files / "start.sh").write_text("#!/bin/sh\n")
    (files / "start.sh").chmod(0o755)
    (files / "current.properties").symlink_to("server.properties")
    return files
