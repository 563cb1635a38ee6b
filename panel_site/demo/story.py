"""The steps of the demo, and their checks.

The panel's side calls ``lifecycle`` and reads rows, as a host project's code does. The node is a
stand-in daemon, with a real directory of server files. Import this module after Django is set up.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import requests
from botocore.exceptions import BotoCoreError, ClientError
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TextColumn

from backups_remote import lifecycle
from backups_remote.exceptions import DaemonNotBegun, StorageError
from backups_remote.models import Backup, BackupState, Node, Server
from backups_remote.storage import get_backend
from backups_remote.testing.daemon import Fault
from panel_site.demo.world import MIB, Inventory, Survey, compare, copy, damage, take_inventory

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from backups_remote.models import BackupEvent
    from backups_remote.testing.daemon import StandInDaemon
    from panel_site.demo.panel import Panel
    from panel_site.seaweedfs import Store

NODE: Final = "fra-1"
SERVER: Final = "Survival"
#: A server of the panel that the node does not know.
UNKNOWN_SERVER: Final = "Creative"
#: Seconds between two looks at a backup.
_POLL: Final = 0.1
_TIMEOUT: Final = 60


class StepFailedError(Exception):
    """A step of the demo failed; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the final table."""

    step: str
    outcome: str
    figures: str


@dataclass
class Story:
    """The processes and data of the demo, and the results so far."""

    console: Console
    panel: Panel
    store: Store
    daemon: StandInDaemon
    directory: Path
    found: Survey
    rows: list[Row] = field(default_factory=list)
    #: What happened to the first backup.
    history: list[BackupEvent] = field(default_factory=list)

    def run(self) -> None:
        """Run all steps.

        Raises:
            StepFailedError: a step failed.
            DiffersError: a file did not come back as it was.

        """
        node = Node.objects.get(name=NODE)
        node.url = self.daemon.url
        node.save()
        self.daemon.connect(self.panel.url, node.token_id, node.token)
        server = Server.objects.get(name=SERVER)

        files = self.daemon.add_server(server.uuid)
        copy(self.directory, files)
        before = take_inventory(files)
        size = decimal(self.found.size)
        self._tell("node", f"{_count(self.found.files, 'file')} copied to a server", size)

        backup = self._back_up(server)
        self._download(backup)
        self._tell("damage", damage(files), "")
        self._restore(server, backup, files, before)
        self._keep_on_node(server)
        self._refuse()
        self._fall_silent(server)
        self._look_back()
        self.history = lifecycle.history(backup)

    def _back_up(self, server: Server) -> Backup:
        started = time.monotonic()
        backup = lifecycle.back_up(server, name="Demo")
        milliseconds = (time.monotonic() - started) * 1000
        self._tell("backup", "the node's daemon has accepted", f"{milliseconds:.0f} ms")

        started = time.monotonic()
        self._watch(backup)
        seconds = time.monotonic() - started
        _expect_state(backup, Backup.State.COMPLETED, "After its report")
        sent = [call for call in self.daemon.calls if (call.to, call.method) == ("store", "PUT")]
        size = backup.size or 0
        figures = f"{decimal(size)}, {seconds:.1f} s, {decimal(int(size / seconds))}/s"
        self._tell("upload", f"{_count(len(sent), 'part')} packed and sent", figures)
        _expect(backup.is_verified, "The backup is not verified.")
        self._tell("report", "proven whole, completed", "")
        return backup

    def _watch(self, backup: Backup) -> None:
        """Show how many parts have arrived, until the daemon has nothing left to do."""
        columns = (TextColumn("Uploading"), BarColumn(), TextColumn("{task.fields[parts]}"))
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task("", total=None, parts="")
            while self._is_working():
                backup.refresh_from_db()
                if backup.state is not Backup.State.UPLOADING:
                    continue
                planned = -(-(backup.upload_size or 0) // (backup.part_size or 1))
                # Completed just now, or the store does not answer: the row will tell.
                with contextlib.suppress(StorageError):
                    backend = get_backend(backup.disk)
                    arrived = len(list(backend.list_parts(backup.object_key, backup.upload_id)))
                    said = f"{arrived} of {_count(planned, 'part')}"
                    progress.update(task, total=planned, completed=arrived, parts=said)

    def _download(self, backup: Backup) -> None:
        link = lifecycle.download_link(backup)
        _expect(link is not None, "There is no link to the archive.")
        digest, size = hashlib.sha1(usedforsecurity=False), 0
        started = time.monotonic()
        try:
            with requests.Session() as session:
                session.trust_env = False  # everything is on this machine
                answer = session.get(link or "", stream=True, timeout=_TIMEOUT)
                for chunk in answer.iter_content(MIB):
                    digest.update(chunk)
                    size += len(chunk)
        except requests.RequestException as error:
            # Its message has the signed URL.
            name = type(error).__name__
            raise StepFailedError(f"The archive could not be downloaded ({name}).") from None
        seconds = time.monotonic() - started
        _expect(size == backup.size, "The download has another size.")
        _expect(f"sha1:{digest.hexdigest()}" == backup.checksum, "The download has another SHA-1.")
        figures = f"{decimal(size)}, {seconds:.1f} s, {decimal(int(size / seconds))}/s"
        self._tell("download", "SHA-1 is the same", figures)

    def _restore(self, server: Server, backup: Backup, files: Path, before: Inventory) -> None:
        started = time.monotonic()
        lifecycle.restore(backup, truncate=True)
        self._wait()
        seconds = time.monotonic() - started
        server.refresh_from_db()
        _expect(server.status is None, "The server's status was not cleared.")
        compare(before, take_inventory(files))
        self._tell("restore", f"all is back: {_count(len(before), 'entry')}", f"{seconds:.1f} s")

    def _keep_on_node(self, server: Server) -> None:
        backup = lifecycle.back_up(server, name="On the node", disk="wings")
        self._wait()
        _expect_state(backup, Backup.State.COMPLETED, "On the node's own disk")
        archive = self.daemon.archive_path(server.uuid, backup.uuid)
        _expect(archive.exists(), "The node has no archive.")
        size = decimal(archive.stat().st_size)
        lifecycle.delete_backup(backup)
        _expect(not archive.exists(), "The deleted archive is still on the node.")
        self._tell("own disk", "kept on the node, then deleted", size)

    def _refuse(self) -> None:
        server = Server.objects.get(name=UNKNOWN_SERVER)
        with contextlib.suppress(DaemonNotBegun):
            lifecycle.back_up(server, name="Refused")
            raise StepFailedError("The node accepted a server that it does not have.")
        _expect_state(server.backups.latest("created_at"), Backup.State.FAILED, "When refused")
        self._tell("refusal", "an unknown server fails at once", "")

    def _fall_silent(self, server: Server) -> None:
        self.daemon.switch_on(Fault.RESTARTS)
        backup = lifecycle.back_up(server, name="Falls silent")
        self._wait()
        self.daemon.switch_off(Fault.RESTARTS)
        _expect_state(backup, Backup.State.PENDING, "After the node's restart")
        started = time.monotonic()
        said = self.panel.manage("expire_stale_uploads", "--older-than", "0s")
        seconds = time.monotonic() - started
        _expect(str(backup.uuid) in said, "The command did not name the silent backup.")
        _expect_state(backup, Backup.State.FAILED, "After expire_stale_uploads")
        self._tell("silence", "a restarted node's backup expired", f"{seconds:.1f} s")

    def _look_back(self) -> None:
        _expect(self._open_uploads() == 0, "The store still holds unfinished uploads.")
        unfinished = Backup.objects.unfinished().count()
        _expect(unfinished == 0, f"{unfinished} backups have not ended.")
        calls = [call.to for call in self.daemon.calls]
        figures = f"calls: {calls.count('panel')} panel, {calls.count('store')} store"
        self._tell("at the end", "nothing unfinished is left", figures)

    def _is_working(self) -> bool:
        """Whether the daemon has work; waits a moment for its end."""
        try:
            self.daemon.wait(_POLL)
        except TimeoutError:
            return True
        return False

    def _wait(self) -> None:
        while self._is_working():
            pass

    def _open_uploads(self) -> int:
        """The number of open uploads that the store lists."""
        try:
            with contextlib.closing(self.store.client()) as client:
                answer = client.list_multipart_uploads(Bucket=self.store.bucket)
        except (BotoCoreError, ClientError) as error:
            raise StepFailedError("The store does not list its uploads.") from error
        return len(answer.get("Uploads", ()))

    def _tell(self, step: str, outcome: str, figures: str) -> None:
        self.rows.append(Row(step, outcome, figures))
        if self.console.is_terminal:
            self.console.print(f"[green]✓[/] {step}: {outcome}")


def _count(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def _expect(holds: object, otherwise: str) -> None:
    if not holds:
        raise StepFailedError(otherwise)


def _expect_state(backup: Backup, state: BackupState, when: str) -> None:
    backup.refresh_from_db()
    _expect(backup.state is state, f"{when} the backup is {backup.state}, not {state}.")
