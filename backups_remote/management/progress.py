"""A progress line for long commands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from django.core.management.base import OutputWrapper

#: Seconds between two updates of the line: frequent enough to follow, too rare to cost anything.
_INTERVAL: Final = 0.1
_ERASE: Final = "\r\x1b[K"


class ProgressLine:
    """``done of total`` on ``stream`` if that is a terminal; otherwise nothing.

    If ``total`` is 0, which stands for unknown, or more is done, the total is left out.
    """

    def __init__(self, stream: OutputWrapper, total: int) -> None:
        self._stream = stream
        self._total = total
        self._shown_at = 0.0
        self._shows = stream.isatty()

    def show(self, done: int) -> None:
        """Draw the line, unless it was drawn just before."""
        now = time.monotonic()
        if self._shows and now - self._shown_at >= _INTERVAL:
            self._shown_at = now
            self._stream.write(f"{_ERASE}{done:,}", ending="")
            if done <= self._total and self._total:
                self._stream.write(f" of {self._total:,} ({done / self._total:.0%})", ending="")
            self._stream.flush()

    def clear(self) -> None:
        """Erase the line, before a line of output."""
        if self._shows and self._shown_at:
            self._stream.write(_ERASE, ending="")
            self._stream.flush()
            self._shown_at = 0.0
