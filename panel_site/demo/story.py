"""What the demo does and checks, step by step.

Two roles: the node speaks HTTP alone; the panel's own side calls ``lifecycle`` and looks at rows,
as the host project's code does. Import it once Django is set up.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from backups_remote import lifecycle
from backups_remote.exceptions import RestoreRefused
from backups_remote.models import RESTORING, Backup, BackupState, Server
from backups_remote.models import Node as NodeRow
from panel_site.demo.node import Node
from panel_site.demo.world import MIB, Archive, Survey, compare, pack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console

    from panel_site.demo.panel import Panel
    from panel_site.seaweedfs import Store

NODE: Final = "fra-1"
SERVER: Final = "Survival"
#: What a node that fails half-way announces, in bytes: two parts, of which it uploads one.
_HALF: Final = 10 * MIB


class StepFailedError(Exception):
    """A step of the demo did not hold; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table at the end."""

    step: str
    outcome: str
    figures: str


@dataclass
class Story:
    """The stage, and what has happened on it so far."""

    console: Console
    panel: Panel
    store: Store
    directory: Path
    found: Survey
    work: Path
    rows: list[Row] = field(default_factory=list)

    def run(self) -> None:
        """Do and check it all.

        Raises:
            StepFailedError: something did not hold.

        """
        row = NodeRow.objects.get(name=NODE)
        server = Server.objects.get(name=SERVER)
        with contextlib.closing(Node(self.panel.url, row.bearer_token)) as node:
            archive = self._pack()
            backup = self._back_up(node, server, archive)
            self._download(node, backup, archive)
            self._restore(node, server, backup)
            self._fail(node, server)
            self._expire(node, server)
            self._look_back(node)

    def _pack(self) -> Archive:
        with self._progress("Packing", self.found.size) as advance:
            started = time.monotonic()
            archive = pack(self.directory, self.work / "backup.tar.gz", advance)
            seconds = time.monotonic() - started
        figures = f"{decimal(self.found.size)} → {decimal(archive.size)}, {seconds:.1f} s"
        self._tell("pack", f"{_count(self.found.files, 'file')} in one .tar.gz", figures)
        return archive

    def _back_up(self, node: Node, server: Server, archive: Archive) -> Backup:
        backup = lifecycle.start_backup(server, name="Demo")
        started = time.monotonic()
        ticket = node.ask(backup.uuid, archive.size)
        seconds = time.monotonic() - started
        outcome = f"{_count(len(ticket.urls), 'URL')} for {decimal(ticket.part_size)} each"
        self._tell("ask", outcome, f"{seconds * 1000:.0f} ms")

        parts = []
        started = time.monotonic()
        with self._progress("Uploading", archive.size) as advance:
            for size, part in node.upload(archive, ticket):
                parts.append(part)
                advance(size)
        seconds = time.monotonic() - started
        speed = decimal(int(archive.size / seconds))
        figures = f"{decimal(archive.size)}, {seconds:.1f} s, {speed}/s"
        self._tell("upload", f"{_count(len(parts), 'part')} to the store", figures)
        # As the daemon does: from here on the uploaded parts are the only copy.
        archive.path.unlink()
        _expect_state(backup, Backup.State.UPLOADING, "After its upload")

        started = time.monotonic()
        node.report_success(backup.uuid, archive, parts)
        seconds = time.monotonic() - started
        _expect_state(backup, Backup.State.COMPLETED, "After its report")
        _expect(backup.size == archive.size, "The backup's size is not the archive's.")
        _expect(backup.checksum == f"sha1:{archive.sha1}", "The checksum is not the archive's.")
        self._tell("report", "proven whole, completed", f"{seconds * 1000:.0f} ms")
        return backup

    def _download(self, node: Node, backup: Backup, archive: Archive) -> None:
        link = lifecycle.download_link(backup)
        _expect(link is not None, "There is no link to the archive.")
        started = time.monotonic()
        with node.download(link or "") as answer:
            fetched = compare(answer.raw, self.directory)
        seconds = time.monotonic() - started
        _expect(fetched.size == archive.size, "The download has another size.")
        _expect(fetched.sha1 == archive.sha1, "The download has another SHA-1.")
        speed = decimal(int(fetched.size / seconds))
        figures = f"{decimal(fetched.size)}, {seconds:.1f} s, {speed}/s"
        self._tell("download", "SHA-1 and files are the same", figures)

    def _restore(self, node: Node, server: Server, backup: Backup) -> None:
        link = lifecycle.start_restore(backup)
        server.refresh_from_db()
        _expect(server.status == RESTORING, "The server does not show that it is being restored.")
        with contextlib.suppress(RestoreRefused):
            lifecycle.start_restore(backup)
            raise StepFailedError("A second restore was let through during the first.")
        with node.download(link or "") as answer:
            _expect(answer.raw.read(2) == b"\x1f\x8b", "The restore's link serves no archive.")
        node.report_restore(backup.uuid)
        server.refresh_from_db()
        _expect(server.status is None, "The server's status was not cleared.")
        self._tell("restore", "status was set, then cleared", "")

    def _fail(self, node: Node, server: Server) -> None:
        backup = self._begin_half(node, server, "Fails half-way")
        _expect(self._open_uploads() == 1, "The failing backup has no upload to abort.")
        node.report_failure(backup.uuid)
        _expect_state(backup, Backup.State.FAILED, "After a failure report")
        _expect(self._open_uploads() == 0, "The failed backup's upload was not aborted.")
        self._tell("failure", "failed, its upload aborted", "1 part thrown away")

    def _expire(self, node: Node, server: Server) -> None:
        backup = self._begin_half(node, server, "Falls silent")
        _expect(self._open_uploads() == 1, "The silent backup has no upload to expire.")
        started = time.monotonic()
        said = self.panel.manage("expire_stale_uploads", "--older-than", "0s")
        seconds = time.monotonic() - started
        _expect(str(backup.uuid) in said, "The command did not name the silent backup.")
        _expect_state(backup, Backup.State.FAILED, "After expire_stale_uploads")
        self._tell("stale upload", "expired by the command", f"1 part thrown away, {seconds:.1f} s")

    def _look_back(self, node: Node) -> None:
        _expect(self._open_uploads() == 0, "The store still holds unfinished uploads.")
        unfinished = Backup.objects.unfinished().count()
        _expect(unfinished == 0, f"{unfinished} backups have not ended.")
        asked = node.requests
        figures = f"calls: {asked['panel']} panel, {asked['store']} store"
        self._tell("at the end", "nothing unfinished is left", figures)

    def _begin_half(self, node: Node, server: Server, name: str) -> Backup:
        backup = lifecycle.start_backup(server, name=name)
        ticket = node.ask(backup.uuid, _HALF)
        node.put(ticket.urls[0], bytes(ticket.part_size))
        return backup

    def _open_uploads(self) -> int:
        """How many uploads the store itself lists."""
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

    @contextlib.contextmanager
    def _progress(self, what: str, total: int) -> Iterator[Any]:
        columns = (TextColumn("{task.description:9}"), BarColumn(), DownloadColumn())
        with Progress(*columns, TransferSpeedColumn(), console=self.console) as progress:
            task = progress.add_task(what, total=total)
            yield lambda count: progress.advance(task, count)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _expect(holds: object, otherwise: str) -> None:
    if not holds:
        raise StepFailedError(otherwise)


def _expect_state(backup: Backup, state: BackupState, when: str) -> None:
    backup.refresh_from_db()
    _expect(backup.state is state, f"{when} the backup is {backup.state}, not {state}.")
