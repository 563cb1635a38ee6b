"""Runs a command as long as standard input is open, which it is while its parent lives.

``python -m tests.reliability.leash <command> …``, in a process group of its own: all of it goes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def main(command):
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=lambda: os._exit(running.wait() % 256), daemon=True).start()
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
