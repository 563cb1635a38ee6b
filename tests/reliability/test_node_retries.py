"""A panel dies during a report and restarts soon: the node's retries complete the backup.

The nodes here retry at the daemons' own times. Pterodactyl's and Pelican's: exponential backoff from
half a second by 1.5 with a jitter of a half, nine tries at most and none begun after 30 seconds, a
call lasts 30 seconds at most and is not repeated after that. Calagopus': the same, but that a
call lasts 15 seconds and is repeated.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

import pytest
import requests

from backups_remote.models import Backup
from tests.reliability.panel import Panel
from tests.reliability.world import parts_of
from tests.support.daemon import Daemon, success
from tests.support.proxy import Fault
from tests.support.waiting import wait_until

#: Seconds that the panel is away.
AWAY = 3


@dataclass
class Wings:
    """A daemon that reports a finished backup."""

    name: str
    call_lasts: float
    repeats_after_timeout: bool
    #: (seconds since the first try, status or what went wrong)
    heard: list = field(default_factory=list)

    def report(self, url, node, backup, archive):
        """Report as long as the daemon does; whether it was told 204."""
        body = success(archive, parts_of(backup))
        began = time.monotonic()
        pause = 0.5
        for _ in range(9):
            answer = self._try(url, node, backup, body)
            passed = time.monotonic() - began
            self.heard.append((round(passed, 1), answer))
            if answer == 204:
                return True
            final = isinstance(answer, int) and answer < 500
            if final or (answer == "timeout" and not self.repeats_after_timeout):
                return False
            wait = pause * random.uniform(0.5, 1.5)
            if passed + wait > 30:
                return False
            time.sleep(wait)
            pause *= 1.5
        return False

    def _try(self, url, node, backup, body):
        with Daemon(url, node.bearer_token) as daemon:
            try:
                answer = daemon.session.post(
                    f"{url}/api/remote/backups/{backup.uuid}",
                    json=body,
                    headers=daemon.headers,
                    timeout=self.call_lasts,
                )
            except requests.Timeout:
                return "timeout"
            except requests.RequestException:
                return "broken"
            return answer.status_code


DAEMONS = {
    "pterodactyl": lambda: Wings("pterodactyl", 30, repeats_after_timeout=False),
    "calagopus": lambda: Wings("calagopus", 15, repeats_after_timeout=True),
}
#: What becomes of the Complete over which the panel dies.
COMPLETES = {
    "while the store completes": {"before": 1.0},
    "just before": {"before": 1.0, "forward": False, "answer": "drop"},
}


@pytest.fixture
def mortal(shared_world, world):
    """A panel with the package's own times, which may be killed."""
    with Panel(shared_world.site(), shared_world.scratch, workers=2) as panel:
        yield panel


# The daemons' times are what it is about, so a machine that is much too slow fails it.
@pytest.mark.torture
@pytest.mark.parametrize(
    ("daemon", "when"),
    [
        ("pterodactyl", "while the store completes"),
        ("pterodactyl", "just before"),
        ("calagopus", "while the store completes"),
        ("calagopus", "just before"),
    ],
)
def test_node_retries_complete_backup_after_panel_crash(
    world, mortal, node, server, disk, tiny, daemon, when
):
    backup = world.uploading(server, disk, tiny)
    wings = DAEMONS[daemon]()
    through = []
    reporting = threading.Thread(
        target=lambda: through.append(wings.report(mortal.url, node, backup, tiny))
    )

    with world.proxy.going_wrong(Fault("complete", str(backup.uuid), **COMPLETES[when])):
        reporting.start()
        world.proxy.wait_for("complete", str(backup.uuid))
        mortal.kill()
        time.sleep(AWAY)
        mortal.start()
        reporting.join(timeout=60)

    print(f"\n{daemon}, {when}: {wings.heard}", flush=True)
    assert through == [True], wings.heard
    assert world.violations(backup, tiny) == []
    assert Backup.objects.get(pk=backup.pk).is_verified


def test_repeated_report_completes_with_object_despite_claim(
    world, mortal, node, server, disk, tiny
):
    """The first panel is frozen over its call: its claim stands, and the object is there."""
    backup = world.uploading(server, disk, tiny)
    told = threading.Event()
    slow = Fault("complete", str(backup.uuid), after=told)
    first, second = (DAEMONS["pterodactyl"]() for _ in range(2))
    with world.proxy.going_wrong(slow):
        reporting = threading.Thread(target=lambda: first.report(mortal.url, node, backup, tiny))
        reporting.start()
        world.proxy.wait_for("complete", str(backup.uuid))
        wait_until(lambda: world.read_object(world.key_of(backup)) is not None)
        assert second.report(mortal.url, node, backup, tiny), second.heard
        # At once, and not because the first call has ended.
        assert len(second.heard) == 1
        assert reporting.is_alive()
        told.set()
        reporting.join(timeout=60)
    assert first.heard[-1][1] == 204
    assert world.violations(backup, tiny) == []
    assert Backup.objects.get(pk=backup.pk).is_verified
