"""Runs SeaweedFS, an embedded S3 server, for the demo, the tests and the benchmarks."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3.client import S3Client

_START_TIMEOUT: Final = 60.0
_ATTEMPTS: Final = 3
#: The object that is written once to see whether the store takes any.
_READY: Final = "ready"
#: For every port P, SeaweedFS also uses P + 10000.
_GRPC_OFFSET: Final = 10_000
_PORTS: Final = ("s3.port", "master.port", "volume.port", "filer.port", "admin.port")


@dataclass(frozen=True, slots=True)
class Store:
    """A running S3 server with one bucket."""

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"

    @property
    def storage_options(self) -> dict[str, str]:
        """OPTIONS of a STORAGES alias for django-storages' S3Storage."""
        return {
            "bucket_name": self.bucket,
            "endpoint_url": self.endpoint,
            "region_name": self.region,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "addressing_style": "path",
        }

    @property
    def environment(self) -> dict[str, str]:
        """The same, as environment variables of panel_site."""
        return {
            "AWS_STORAGE_BUCKET_NAME": self.bucket,
            "AWS_S3_ENDPOINT_URL": self.endpoint,
            "AWS_S3_REGION_NAME": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_S3_ADDRESSING_STYLE": "path",
        }

    def client(self, **config: Any) -> S3Client:
        """A plain boto client. ``config`` is passed to botocore's Config."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, **config),
        )


@contextlib.contextmanager
def running_store(bucket: str = "backups", within: Path | None = None) -> Iterator[Store]:
    """Run SeaweedFS on free ports in a directory of its own until the block ends.

    That directory is ``within`` another one, or the system's for temporary files.

    Raises:
        RuntimeError: it does not answer; the message has the end of its log.

    """
    with contextlib.ExitStack() as running:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                store = running.enter_context(_started(bucket, within))
                break
            except RuntimeError:
                # Another program may have taken a port in the meantime.
                if attempt == _ATTEMPTS:
                    raise
        yield store


@contextlib.contextmanager
def _started(bucket: str, within: Path | None) -> Iterator[Store]:
    directory = Path(tempfile.mkdtemp(prefix="seaweedfs-", dir=within))
    ports = _free_ports(len(_PORTS))
    store = Store(f"http://127.0.0.1:{ports[0]}", bucket, "panel", "panel-secret")
    config = directory / "s3.json"
    config.write_text(json.dumps(_identities(store)), encoding="utf-8")
    log = directory / "weed.log"
    command = [
        str(Path(sys.executable).with_name("weed")),
        f"-logdir={directory}",
        "mini",
        f"-dir={directory}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-s3.config={config}",
        *(f"-{name}={port}" for name, port in zip(_PORTS, ports, strict=True)),
        # Relative to its working directory: the path of a socket is limited to 107 bytes.
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-bucket={bucket}",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        _wait_for(store, process, log)
        yield store
    finally:
        # Its data is discarded: there is nothing to wait for.
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)
        # It creates these whatever its options.
        for port in ports:
            for socket_file in Path("/tmp").glob(f"seaweedfs-*-{port + _GRPC_OFFSET}.sock"):  # noqa: S108
                socket_file.unlink(missing_ok=True)


def _identities(store: Store) -> dict[str, object]:
    credentials = {"accessKey": store.access_key, "secretKey": store.secret_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "panel", "credentials": [credentials], "actions": actions}]}


def _wait_for(store: Store, process: subprocess.Popen[bytes], log: Path) -> None:
    client = store.client(retries={"total_max_attempts": 1})
    give_up = time.monotonic() + _START_TIMEOUT
    with contextlib.closing(client):
        while time.monotonic() < give_up and process.poll() is None:
            # It answers before its access rules are loaded, and before its bucket exists.
            # And before its disk takes anything: if one of its ports was taken in the meantime, it
            # never does.
            with contextlib.suppress(BotoCoreError, ClientError):
                client.head_bucket(Bucket=store.bucket)
                client.put_object(Bucket=store.bucket, Key=_READY, Body=b"ready")
                client.delete_object(Bucket=store.bucket, Key=_READY)
                return
            time.sleep(0.1)
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    message = f"SeaweedFS does not answer. The end of its log:\n{tail}"
    raise RuntimeError(message)


def _free_ports(count: int) -> list[int]:
    """Free ports P such that P + 10000 is free as well.

    Both are below those that the system gives to outgoing connections, from 32,768 on.
    """
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            with contextlib.suppress(OSError, OverflowError):
                low = held.enter_context(socket.socket())
                low.bind(("127.0.0.1", 0))
                port = low.getsockname()[1] % 12_000 + 10_000
                for wanted in (port, port + _GRPC_OFFSET):
                    taken = held.enter_context(socket.socket())
                    taken.bind(("127.0.0.1", wanted))
                found.append(port)
    return found
