"""Expiry of stale uploads on a real store: in bulk, and with network latency."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.delay import delayed
from benchmarks.figures import Figure, Section
from benchmarks.panel import ROOT, environment, manage, populate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from panel_site.seaweedfs import Store

FEW, MANY = 1_000, 10_000
LATENCY = 0.05
SLOWLY, QUICKLY = 100, 1_600


def run(store: Store, scratch: Path, progress: Callable[[str], None]) -> Section:
    """Throughput, growth, memory, and the gain of several workers with network latency."""
    section = Section(f"Expiring {MANY:,} stale uploads on SeaweedFS")
    stage = _Stage(store, scratch)
    few = stage.expire(FEW, progress)
    many = stage.expire(MANY, progress)
    section.figures += [
        Figure(
            f"Time an upload, of {MANY:,} beside {FEW:,}",
            (many.seconds / MANY) / (few.seconds / FEW),
            1.2,
            f"{MANY / many.seconds:,.0f} a second",
            f"{FEW / few.seconds:,.0f} a second",
        ),
        Figure(
            f"Peak memory, of {MANY:,} beside {FEW:,}",
            many.peak / few.peak,
            1.2,
            f"{many.peak / 1e6:.0f} MB",
            f"{few.peak / 1e6:.0f} MB",
        ),
    ]
    where = urlsplit(store.endpoint)
    with delayed(where.hostname, where.port, LATENCY) as endpoint:
        slow_line = {"AWS_S3_ENDPOINT_URL": endpoint}
        one = stage.expire(SLOWLY, progress, "--workers", "1", **slow_line)
        side = stage.expire(QUICKLY, progress, **slow_line)
    section.figures.append(
        Figure(
            f"Throughput with {LATENCY * 1000:.0f} ms latency, beside one after another",
            (QUICKLY / side.seconds) / (SLOWLY / one.seconds),
            10,
            f"{QUICKLY / side.seconds:,.0f} a second",
            f"{SLOWLY / one.seconds:,.1f} a second",
            at_least=True,
        )
    )
    return section


class _Run:
    def __init__(self, seconds: float, peak: int) -> None:
        self.seconds = seconds
        self.peak = peak


class _Stage:
    def __init__(self, store: Store, scratch: Path) -> None:
        self.store = store
        self.database = f"sqlite:///{scratch / 'sweeping.sqlite3'}"
        self.scratch = scratch
        self.client = store.client(max_pool_connections=16)
        manage("migrate", env=environment(self.database, store.environment))

    def expire(self, count: int, progress, *options: str, **more: str) -> _Run:
        """Create ``count`` stale uploads, rows included, and run the command as cron does."""
        env = environment(self.database, {**self.store.environment, **more})
        self._make(count, env, progress)
        command = [sys.executable, "manage.py", "expire_stale_uploads", "--older-than", "0s"]
        printed = self.scratch / "expired.txt"
        with printed.open("wb") as output:
            start = time.perf_counter()
            process = subprocess.Popen([*command, *options], cwd=ROOT, env=env, stdout=output)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
        last = printed.read_text(encoding="utf-8").splitlines()[-1]
        if status or f"{count} failed" not in last:
            raise RuntimeError(last)
        progress(f"{count:,} uploads expired in {seconds:.1f} s")
        return _Run(seconds, usage.ru_maxrss * 1024)

    def _make(self, count: int, env: dict[str, str], progress) -> None:
        keys = [f"{uuid.uuid4()}/{uuid.uuid4()}.tar.gz" for _ in range(count)]

        def begin(key: str) -> str:
            return self.client.create_multipart_upload(Bucket=self.store.bucket, Key=key)[
                "UploadId"
            ]

        with ThreadPoolExecutor(16) as pool:
            ids = list(pool.map(begin, keys))
        uploads = self.scratch / "uploads.txt"
        uploads.write_text("\n".join(map(" ".join, zip(keys, ids, strict=True))), encoding="utf-8")
        populate(env, uploads=str(uploads))
        progress(f"{count:,} uploads begun")
