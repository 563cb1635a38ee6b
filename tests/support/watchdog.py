"""Ends the whole run when its store has stopped working, instead of test after test."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from panel_site.seaweedfs import NotWorkingError

#: Seconds between two looks at the store, and how long each of its answers is waited for.
EVERY = 2
READ_TIMEOUT = 5
#: So many looks in a row must fail: a busy machine makes a store slow for a moment.
FAILURES = 5
#: Seconds in which the interrupted run may end by itself.
GRACE = 15


@contextlib.contextmanager
def watched(store, config):
    """Watch the store until the block ends. ``config`` is pytest's."""
    ended = threading.Event()
    watching = threading.Thread(target=_watch, args=(store, config, ended), daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()


def _watch(store, config, ended):
    failures = 0
    with contextlib.closing(store.client(read_timeout=READ_TIMEOUT)) as client:
        while not ended.wait(EVERY):
            try:
                store.try_out(client)
            except NotWorkingError as error:
                failures += 1
                if failures == FAILURES or not store.is_running:
                    _end_run(store, config, ended, error)
                    return
            else:
                failures = 0


def _end_run(store, config, ended, error):
    what = "does not work any more" if store.is_running else "has ended"
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(
            f"\nThe store {what}: {error}\n"
            f"The run is ended. The end of the store's log:\n{store.end_of_log()}",
            file=sys.stderr,
            flush=True,
        )
    _interrupt(config)
    # Whoever waits for its answer need not wait any longer.
    store.kill()
    if not ended.wait(GRACE):
        os._exit(pytest.ExitCode.INTERRUPTED)


def _interrupt(config):
    worker = getattr(config, "workerinput", None)
    if worker is None:
        # Not this thread: the other one may be waiting for the store.
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return
    # The workers' parent ends them all. A second interrupt would keep it from doing so.
    first = Path(tempfile.gettempdir()) / f"interrupted-{worker['testrunuid']}"
    with contextlib.suppress(FileExistsError):
        first.touch(exist_ok=False)
        os.kill(os.getppid(), signal.SIGINT)
