"""Counts what was tried, and says how far it is."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field

#: Seconds between two lines of progress.
_PACE = 10


@dataclass
class Totals:
    """Everything that a run of pytest tried: a case is a backup to which one thing happened."""

    cases: int = 0
    sequences: int = 0
    lost: int = 0
    began: float = field(default_factory=time.monotonic)
    _told: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def summary(self):
        return f"{self.cases} cases tried, {self.sequences} sequences tried, lost: {self.lost}"

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
    def losing(self):
        """Whatever fails in the block was lost."""
        try:
            yield
        except BaseException:
            self.add(lost=1)
            raise


TOTALS = Totals()
