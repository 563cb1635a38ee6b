"""A line on the terminal that says how far a long command has come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from django.core.management.base import OutputWrapper

#: Seconds between two looks of the line: often enough to live, too seldom to cost.
_PACE: Final = 0.1
_ERASE: Final = "\r\x1b[K"


class ProgressLine:
    """``done of total`` on ``stream``, as long as that is a terminal; nothing at all elsewhere.

    What is done can turn out to be more than ``total``, which is then left out.
    """

    def __init__(self, stream: OutputWrapper, total: int) -> None:
        self._stream = stream
        self._total = total
        self._shown_at = 0.0
        self._shows = stream.isatty()

    def show(self, done: int) -> None:
        """Draw the line, if it is time to."""
        now = time.monotonic()
        if self._shows and now - self._shown_at >= _PACE:
            self._shown_at = now
            self._stream.write(f"{_ERASE}{done:,}", ending="")
            if done <= self._total:
                self._stream.write(f" of {self._total:,} ({done / self._total:.0%})", ending="")
            self._stream.flush()

    def clear(self) -> None:
        """Make room for a line of output."""
        if self._shows and self._shown_at:
            self._stream.write(_ERASE, ending="")
            self._stream.flush()
            self._shown_at = 0.0
