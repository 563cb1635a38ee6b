"""Runs SeaweedFS, an embedded S3 server, for the demo, the tests and the benchmarks."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from panel_site.ports import HIGHER, held_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3.client import S3Client

    from panel_site.ports import Ports

#: Where SeaweedFS makes sockets, whatever its options and TMPDIR say.
SOCKETS: Final = Path("/tmp")  # noqa: S108
_START_TIMEOUT: Final = 60.0
_ATTEMPTS: Final = 3
#: What SeaweedFS says in its log when it finds a port taken and uses another one, which no lock of
#: ours is about.
_TAKEN: Final = "not available"
_KEYS: Final = ("panel", "panel-secret")
_IDENTITIES: Final = {
    "identities": [
        {
            "name": "panel",
            "credentials": [{"accessKey": _KEYS[0], "secretKey": _KEYS[1]}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    ]
}
_PORTS: Final = ("s3.port", "master.port", "volume.port", "filer.port", "admin.port")


class NotWorkingError(RuntimeError):
    """The store does not take an object, or does not give it back."""


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
        """A plain boto client, which waits seconds for an answer and asks once.

        ``config`` is passed to botocore's Config.
        """
        config = {
            "connect_timeout": 5,
            "read_timeout": 20,
            "retries": {"total_max_attempts": 1},
            **config,
        }
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, **config),
        )

    def try_out(self, client: S3Client) -> None:
        """Write a small object, read it back and delete it.

        Raises:
            NotWorkingError: with the client's error as its cause, where there is one.

        """
        # Of its own: several may try out the same store.
        key = f"probes/{uuid.uuid4()}"
        body = key.encode()
        try:
            client.put_object(Bucket=self.bucket, Key=key, Body=body)
            answer = client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            client.delete_object(Bucket=self.bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            raise NotWorkingError(str(error)) from error
        if answer != body:
            raise NotWorkingError("The store gave back another object than it was given.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningStore(Store):
    """A SeaweedFS that this process started."""

    process: subprocess.Popen[bytes] = field(repr=False)
    log: Path

    @property
    def address(self) -> Store:
        """The store without its process."""
        return Store(self.endpoint, self.bucket, self.access_key, self.secret_key, self.region)

    @property
    def is_running(self) -> bool:
        """Whether its process has not ended."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def end_of_log(self, length: int | None = 2000) -> str:
        """The last ``length`` characters of its log, or all of it."""
        log = self.log.read_text(encoding="utf-8", errors="replace")
        return log if length is None else log[-length:]


@contextlib.contextmanager
def running_store(bucket: str = "backups", within: Path | None = None) -> Iterator[RunningStore]:
    """Run SeaweedFS in a directory and on ports of its own until the block ends.

    That directory is ``within`` another one, or the system's for temporary files.

    Raises:
        RuntimeError: it does not work; the message has the end of its log.

    """
    with contextlib.ExitStack() as running:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                store = running.enter_context(_started(bucket, within))
                break
            except NotWorkingError:
                # A program that knows no locks may have taken a port in the meantime.
                if attempt == _ATTEMPTS:
                    raise
        yield store


@contextlib.contextmanager
def _started(bucket: str, within: Path | None) -> Iterator[RunningStore]:
    with held_ports(len(_PORTS)) as ports, contextlib.ExitStack() as afterwards:
        directory = Path(tempfile.mkdtemp(prefix="seaweedfs-", dir=within))
        afterwards.callback(shutil.rmtree, directory, ignore_errors=True)
        # Whose names are those of ports that nobody else has until this block ends.
        afterwards.callback(_remove_sockets, ports)
        log = directory / "weed.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                _command(bucket, directory, ports),
                cwd=directory,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                pass_fds=(ports.lock,),
            )
        store = RunningStore(
            f"http://127.0.0.1:{ports.numbers[0]}", bucket, *_KEYS, process=process, log=log
        )
        # Its data is discarded: there is nothing to wait for.
        afterwards.callback(store.kill)
        _wait_for(store)
        yield store


def _command(bucket: str, directory: Path, ports: Ports) -> list[str]:
    config = directory / "s3.json"
    config.write_text(json.dumps(_IDENTITIES), encoding="utf-8")
    return [
        str(Path(sys.executable).with_name("weed")),
        f"-logdir={directory}",
        "mini",
        f"-dir={directory}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-s3.config={config}",
        # For every port P, SeaweedFS also uses P + 10,000.
        *(f"-{name}={port}" for name, port in zip(_PORTS, ports.numbers, strict=True)),
        # Relative to its working directory: the path of a socket is limited to 107 bytes.
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-bucket={bucket}",
    ]


def _remove_sockets(ports: Ports) -> None:
    """Remove the sockets that are named after these ports.

    After any port of the block: SeaweedFS moves on to the next one where one is taken.
    """
    for port in ports.block:
        for path in SOCKETS.glob(f"seaweedfs-*-{port + HIGHER}.sock"):
            path.unlink(missing_ok=True)


def _wait_for(store: RunningStore) -> None:
    give_up = time.monotonic() + _START_TIMEOUT
    with contextlib.closing(store.client(read_timeout=5)) as client:
        while time.monotonic() < give_up and store.is_running:
            # It answers before its access rules are loaded, before its bucket exists, and before
            # its disk takes anything.
            with contextlib.suppress(NotWorkingError):
                store.try_out(client)
                if _TAKEN in store.end_of_log(None):
                    break
                return
            time.sleep(0.1)
    raise NotWorkingError(f"SeaweedFS does not work. The end of its log:\n{store.end_of_log()}")
