"""The progress lines of long commands."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from django.core.management.base import OutputWrapper

#: Seconds between two updates of the line: frequent enough to follow, too rare to cost anything.
_INTERVAL: Final = 0.1
_ERASE: Final = "\r\x1b[K"


class _Line:
    """A line that is drawn again and again, if ``stream`` is a terminal; otherwise nothing."""

    def __init__(self, stream: OutputWrapper) -> None:
        self._stream = stream
        self._shown_at = 0.0
        self._shows = stream.isatty()

    def clear(self) -> None:
        """Erase the line, before a line of output."""
        if self._shows and self._shown_at:
            self._stream.write(_ERASE, ending="")
            self._stream.flush()
            self._shown_at = 0.0

    def _draw(self, text: str) -> None:
        """Draw ``text``, unless the line was drawn just before."""
        now = time.monotonic()
        if self._shows and now - self._shown_at >= _INTERVAL:
            self._shown_at = now
            self._stream.write(f"{_ERASE}{text}", ending="")
            self._stream.flush()


class ProgressLine(_Line):
    """``done of total``.

    If ``total`` is 0, which stands for unknown, or more is done, the total is left out.
    """

    def __init__(self, stream: OutputWrapper, total: int) -> None:
        super().__init__(stream)
        self._total = total

    def show(self, done: int) -> None:
        """Draw the line, unless it was drawn just before."""
        text = f"{done:,}"
        if done <= self._total and self._total:
            text += f" of {self._total:,} ({done / self._total:.0%})"
        self._draw(text)


class ElapsedLine(_Line):
    """How long something takes that says nothing of its progress: ``restoring for 0:02:10``."""

    def __init__(self, stream: OutputWrapper, doing: str) -> None:
        super().__init__(stream)
        self._doing = doing
        self._began_at = time.monotonic()

    def show(self) -> None:
        """Draw the line, unless it was drawn just before."""
        elapsed = dt.timedelta(seconds=int(time.monotonic() - self._began_at))
        self._draw(f"{self._doing} {elapsed}")
