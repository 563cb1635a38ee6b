"""The proxy and the panels that the reliability tests use."""

import json
import signal
import subprocess
import sys
import time

import pytest
import requests

from backups_remote.models import Backup
from tests.reliability.panel import ROOT
from tests.reliability.world import parts_of
from tests.support.proxy import Fault


def test_backup_through_proxy_and_panel_is_unchanged(world, wings, server, disk, archive, sweep):
    backup = world.pending(server, disk)

    assert wings.back_up(backup, archive) == 204

    assert world.violations(backup, archive) == []
    counted = world.proxy.count(str(backup.uuid))
    assert counted["create"] == 1
    assert counted["part"] == 2
    assert counted["complete"] == 1
    assert sweep(disk).startswith("0 expired")


@pytest.mark.parametrize("whole_panel", [False, True])
def test_killed_panel_stops_answering_and_restarts(
    world, panel, wings, server, disk, tiny, whole_panel
):
    backup = world.uploading(server, disk, tiny)
    where = {"X-Crash-At": "4:after:all" if whole_panel else "4:after"}

    assert (
        wings.attempt(
            lambda d: d.call("POST", f"{backup.uuid}", headers=where, json={**_said(tiny, backup)})
        )
        is None
    )

    backup.refresh_from_db()
    assert backup.state is Backup.State.REPORTED
    assert world.proxy.count(str(backup.uuid))["complete"] == 0
    if whole_panel:
        panel.restart()
    # The claim of the dead panel holds a repeat up until it runs out; the command need not wait.
    assert wings.attempt(lambda d: d.ask(backup, len(tiny))) == 409


def test_fault_affects_only_matching_calls(world, wings, server, disk, tiny):
    hit, spared = world.pending(server, disk), world.pending(server, disk)

    with world.proxy.going_wrong(Fault("create", str(hit.uuid), times=9, answer=(500, "X"))) as f:
        assert wings.attempt(lambda d: d.ask(hit, len(tiny))) == 503
        assert wings.attempt(lambda d: d.ask(spared, len(tiny))) == 200

    assert f.hits >= 1
    assert wings.attempt(lambda d: d.ask(hit, len(tiny))) == 200


_RUN_A_PANEL = """
import json, signal, sys
from tests.reliability.panel import Panel, Site

site, directory = json.loads(sys.argv[1])
with Panel(Site(**site), directory, workers=1) as panel:
    print(panel.url, flush=True)
    signal.pause()
"""


def answers(url):
    try:
        return requests.get(f"{url}/api/remote/backups/x", timeout=10).status_code == 401
    except requests.RequestException:
        return False


@pytest.mark.once
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_panel_ends_with_its_parent(world, tmp_path, how):
    told = json.dumps([vars(world.site()), str(tmp_path)])
    running = subprocess.Popen(
        [sys.executable, "-c", _RUN_A_PANEL, told], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    url = running.stdout.readline().strip()
    running.stdout.close()
    assert answers(url)

    running.send_signal(how)
    assert running.wait(10) == -how

    give_up = time.monotonic() + 10
    while answers(url) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert not answers(url)


def _said(archive, backup):
    from tests.support.daemon import success

    return success(archive, parts_of(backup))
