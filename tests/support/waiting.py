"""Waiting for a condition, however slow the machine is."""

from __future__ import annotations

import time

#: Seconds after which a condition counts as never met.
PATIENCE = 60


def wait_until(condition, what="the condition"):
    """Look until ``condition()`` is true; what it answered."""
    give_up = time.monotonic() + PATIENCE
    while not (met := condition()):
        assert time.monotonic() < give_up, f"{what} was not met within {PATIENCE} s"
        time.sleep(0.01)
    return met
