"""Runs the stand-in as a program of its own: ``python -m backups_remote.testing.daemon``.

It reads the lines that ``manage.py create_node`` prints, as a real daemon reads its ``config.yml``,
and runs until it is interrupted.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Final
from uuid import UUID

from backups_remote.testing.daemon.makes import MAKES
from backups_remote.testing.daemon.stand_in import StandInDaemon

_ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM})
_NEEDED: Final = ("token_id", "token", "remote")


def main() -> None:
    """Run a stand-in daemon."""
    parser = argparse.ArgumentParser(prog="python -m backups_remote.testing.daemon")
    parser.add_argument("config", type=Path, help="A file with what create_node printed.")
    parser.add_argument("--root", type=Path, required=True, help="Where its files are kept.")
    parser.add_argument("--port", type=int, default=8080, help="Its port on 127.0.0.1.")
    parser.add_argument("--make", choices=MAKES, default="pterodactyl", help="What daemon it is.")
    parser.add_argument(
        "--server", type=UUID, action="append", default=[], help="A server's UUID; repeatable."
    )
    chosen = parser.parse_args()
    # In the threads that are started below, too: one place waits for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        config = read_config(chosen.config)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    daemon = StandInDaemon(chosen.root, chosen.make)
    try:
        daemon.start(chosen.port)
    except OSError as error:
        parser.error(f"--port: {chosen.port} cannot be used: {error.strerror}.")
    with daemon:
        daemon.connect(config["remote"], config["token_id"], config["token"])
        _say(f"listening at {daemon.url}")
        for server in chosen.server:
            _say(f"files of {server}: {daemon.add_server(server)}")
        signal.sigwait(_ENDING)


def read_config(path: Path) -> dict[str, str]:
    """The values of a daemon's ``config.yml``.

    Raises:
        ValueError: it lacks one that is needed.
        OSError: it cannot be read.

    """
    pairs = (line.split(": ", 1) for line in path.read_text(encoding="utf-8").splitlines())
    config = {pair[0]: pair[1].strip() for pair in pairs if len(pair) > 1}
    for name in _NEEDED:
        if not config.get(name):
            raise ValueError(f"{path}: it has no line '{name}: …'.")
    return config


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
