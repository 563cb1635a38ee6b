"""Work in the background, which a restart forgets."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds that a call takes at most until a job can end: a part of an upload is one.
_LONGEST_CALL: Final = 60.0


class Forgotten(Exception):
    """The daemon was restarted, or closed: this work ends here, and is not reported."""


class Work:
    """One job's clock. ``pace`` is the length of a second in real seconds."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._forgotten = threading.Event()

    def sleep(self, seconds: float) -> None:
        """Wait for so many of the daemon's seconds.

        Raises:
            Forgotten: the daemon was restarted meanwhile.

        """
        if self._forgotten.wait(seconds * self._pace):
            raise Forgotten

    def check(self) -> None:
        """Go on only while the work is not forgotten.

        Raises:
            Forgotten: it is.

        """
        if self._forgotten.is_set():
            raise Forgotten

    def forget(self) -> None:
        """Have it end at its next step."""
        self._forgotten.set()


class Workforce:
    """The jobs that were accepted and have not ended."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._changed = threading.Condition()
        self._working: set[Work] = set()

    def accept(self) -> Work:
        """Note a new job, which ``run`` or ``start`` carries out. ``wait`` waits for it."""
        work = Work(self._pace)
        with self._changed:
            self._working.add(work)
        return work

    def run(self, work: Work, job: Callable[[Work], None]) -> None:
        """Carry out an accepted job."""
        try:
            job(work)
        except Forgotten:
            pass
        finally:
            self.drop(work)

    def start(self, work: Work, job: Callable[[Work], None]) -> None:
        """Carry it out in the background."""
        threading.Thread(target=self.run, args=(work, job), daemon=True).start()

    def drop(self, work: Work) -> None:
        """Note that a job has ended, or was never begun."""
        with self._changed:
            self._working.discard(work)
            self._changed.notify_all()

    def wait(self, timeout: float, *, besides: Work | None = None) -> None:
        """Wait until no job is left, ``besides`` left aside.

        Raises:
            TimeoutError: one is left after ``timeout`` seconds.

        """
        give_up = time.monotonic() + timeout
        with self._changed:
            while self._working - {besides}:
                if not self._changed.wait(give_up - time.monotonic()):
                    raise TimeoutError(f"The daemon is still at work after {timeout} s.")

    def forget_all(self, *, besides: Work | None = None) -> None:
        """Have every job end at its next step, and wait until they have."""
        with self._changed:
            for work in self._working - {besides}:
                work.forget()
        self.wait(_LONGEST_CALL, besides=besides)
