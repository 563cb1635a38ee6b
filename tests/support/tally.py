"""Counts what was tried, and says how far it is."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

#: Seconds between two lines of progress.
_PACE = 10


@dataclass
class Totals:
    """Everything that a run of pytest tried: a case is a backup to which one thing happened."""

    cases: int = 0
    sequences: int = 0
    lost: int = 0
    #: Archives that were gone while they were being restored.
    restored: int = 0
    #: Verified backups that gave way to unverified ones.
    displaced: int = 0
    #: Backups whose events do not explain their state.
    unexplained: int = 0
    #: How often the three were looked at.
    looks: Counter = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)
    _told: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def summary(self):
        return (
            f"{self.cases} cases tried, {self.sequences} sequences tried, lost: {self.lost}; "
            f"archives under restore lost: {self.restored} ({self.looks['restored']} looks), "
            f"verified displaced by unverified: {self.displaced} ({self.looks['displaced']} looks), "
            f"states unexplained by events: {self.unexplained} ({self.looks['unexplained']} looks)"
        )

    def add(self, *, cases=0, sequences=0, lost=0):
        with self._lock:
            self.cases += cases
            self.sequences += sequences
            self.lost += lost
            now = time.monotonic()
            if now - self._told >= _PACE:
                self._told = now
                print(f"  {self.summary} ({now - self.began:.0f} s)", flush=True)

    @contextlib.contextmanager
    def counting(self, what):
        """One look at "restored", "displaced" or "unexplained"; a failure in the block counts."""
        with self._lock:
            self.looks[what] += 1
        try:
            yield
        except AssertionError:
            with self._lock:
                setattr(self, what, getattr(self, what) + 1)
            raise

    @contextlib.contextmanager
    def losing(self):
        """Whatever fails in the block was lost."""
        try:
            yield
        except BaseException:
            self.add(lost=1)
            raise


TOTALS = Totals()
