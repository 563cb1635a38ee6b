"""What a command prints never stops what it does."""

from __future__ import annotations

import io
import os
import sys
from functools import partial
from typing import IO, TYPE_CHECKING, Any, cast

from django.core.management.base import BaseCommand, CommandError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO


class WorkCommand(BaseCommand):
    """A command that does more than print.

    Its reader may go away (``| head``), its disk may be full, its standard output closed. What
    cannot be written is dropped, the work goes on to its end, and the exit status is 1.
    """

    def __init__(
        self, stdout: IO[str] | None = None, stderr: IO[str] | None = None, **options: Any
    ) -> None:
        out, err = DroppingStream(stdout or sys.stdout), DroppingStream(stderr or sys.stderr)
        super().__init__(cast("TextIO", out), cast("TextIO", err), **options)
        self._streams = [out, err]

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command.

        Raises:
            CommandError: the command failed, or something it said could not be written.

        """
        for name in ("stdout", "stderr"):
            if options.get(name):  # call_command() was given another one
                options[name] = DroppingStream(options[name])
                self._streams.append(options[name])
        result = super().execute(*args, **options)
        for stream in self._streams:
            stream.flush()
        if any(stream.is_lost for stream in self._streams):
            raise CommandError("The work is done, but not all of the output could be written.")
        return result


class DroppingStream(io.TextIOBase):
    """A text stream that drops what cannot be written to ``stream``, and all that follows."""

    def __init__(self, stream: IO[str] | None) -> None:
        super().__init__()
        # None stands for a standard stream that was closed before the process began.
        self._stream = stream
        self.is_lost = False

    def write(self, text: str) -> int:
        """Write, or drop."""
        if self._stream is None:
            self.is_lost = True
        elif not self.is_lost:
            self._try(partial(_write, self._stream, text))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        if self._stream is not None and not self.is_lost:
            self._try(self._stream.flush)

    def isatty(self) -> bool:
        """Whether the output is a terminal that still takes it."""
        return self._stream is not None and not self.is_lost and self._stream.isatty()

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        # No reader, no room; or it was closed.
        except (OSError, ValueError):  # safeguard: output-never-stops-work
            self.is_lost = True
            if self._stream in {sys.__stdout__, sys.__stderr__}:
                lead_nowhere(cast("IO[str]", self._stream))


def _write(stream: IO[str], text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError as error:
        escaped = text.encode(error.encoding, "backslashreplace")
        stream.write(escaped.decode(error.encoding))


def lead_nowhere(stream: IO[str]) -> None:
    """Send the rest of ``stream`` nowhere: Python flushes it at exit, and would complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)
