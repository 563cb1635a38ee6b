"""Handles Ctrl-C, SIGTERM and a closed terminal, so that no process is left behind."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """The run was asked to end. Not an Exception: no handler may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Interrupts:
    """Raises ``Stopped`` for the first signal, at a safe moment, and ignores later signals."""

    def __init__(self) -> None:
        self._held = False
        self._pending = 0

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Let signals end the block. After it they are ignored, so that clean-up completes.

        Nest it inside the contexts that need clean-up.
        """
        for number in _SIGNALS:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            _ignore()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Defer signals to the end of the block, in which a process is started."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._pending:
                raise Stopped(self._pending)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        _ignore()
        if not self._held:
            raise Stopped(number)
        self._pending = number


def _ignore() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
