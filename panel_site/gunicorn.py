"""gunicorn as a child process, on a port of 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from panel_site.ports import held_ports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

ROOT: Final = Path(__file__).resolve().parent.parent
_START_TIMEOUT: Final = 60.0
_STOP_TIMEOUT: Final = 15.0


class NotStartedError(Exception):
    """gunicorn does not listen; the end of its log is in the message."""


@dataclass
class Gunicorn:
    """A WSGI application under gunicorn; a context manager that starts and stops it."""

    application: str
    log: Path
    env: Mapping[str, str] | None = None
    workers: int = 1
    threads: int = 4
    options: Sequence[str] = ()
    directory: Path = ROOT
    python: str | Path = sys.executable
    #: What runs the command line of gunicorn; the command itself if empty.
    wrapper: Sequence[str] = ()
    #: The same for every start within the block; 0 before.
    port: int = field(default=0, init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, init=False)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        (self.port,) = self._held.enter_context(held_ports(1)).numbers
        try:
            self.start()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self._held.close()

    def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            NotStartedError: it has ended, or does not listen in time.

        """
        command = [
            *self.wrapper,
            *(str(self.python), "-m", "gunicorn", self.application),
            *("--bind", f"127.0.0.1:{self.port}", "--worker-class", "gthread"),
            *("--workers", str(self.workers), "--threads", str(self.threads)),
            *("--timeout", "180", "--no-control-socket", *self.options),
        ]
        with self.log.open("ab") as log:
            before = log.tell()
            # A pipe to standard input tells a wrapper when this process has ended.
            self.process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=self.env,
                stdin=subprocess.PIPE if self.wrapper else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=bool(self.wrapper),
            )
        give_up = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < give_up and self.is_running:
            if "Listening at: " in self.said()[before:]:
                return
            time.sleep(0.02)
        self.kill()
        raise NotStartedError(
            f"gunicorn does not listen. The end of its log:\n{self.said()[-3000:]}"
        )

    @property
    def is_running(self) -> bool:
        """Whether its process has not ended."""
        return self.process is not None and self.process.poll() is None

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """Let it finish its requests, for a while."""
        if self.process is None:
            return
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=_STOP_TIMEOUT)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, with a wrapper to the whole process group: nothing is tidied up."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self.wrapper:
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(timeout=_STOP_TIMEOUT)
        self.process = None
