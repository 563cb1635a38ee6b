"""How often, and how long, a daemon repeats a call that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from backups_remote.testing.daemon.work import Work

#: Seconds before the first repeat of a call; each later one waits half as long again.
_FIRST_WAIT: Final = 0.5
_GROWTH: Final = 1.5
#: Seconds after which no call is repeated any more, the time of the tries included.
_LONGEST: Final = 30.0


class Backoff:
    """Waits before the repeats of a call: nine tries fit if each fails at once."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._wait = _FIRST_WAIT
        self._left = _LONGEST

    def wait(self, spent: float) -> bool:
        """Wait after a try that took ``spent`` seconds; False if no time is left for another.

        Raises:
            Forgotten: the daemon was restarted meanwhile.

        """
        self._left -= spent + self._wait
        if self._left < 0:
            return False
        self._work.sleep(self._wait)
        self._wait *= _GROWTH
        return True
