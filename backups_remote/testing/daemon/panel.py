"""Calls to the panel, repeated as the daemons repeat them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from backups_remote.testing.daemon.backoff import Backoff
from backups_remote.testing.daemon.transport import Answer, NoAnswer, TimedOut, call

if TYPE_CHECKING:
    from uuid import UUID

    from backups_remote.testing.daemon.calls import Record
    from backups_remote.testing.daemon.makes import Make
    from backups_remote.testing.daemon.work import Work

#: Seconds before each repeat of the first call of an upload that streams, after a 404.
_WAITS_AFTER_404: Final = (2.0, 4.0, 10.0)

_OK: Final = range(200, 300)
_SERVER_ERRORS: Final = range(500, 600)
_NOT_FOUND: Final = 404


class PanelFailed(Exception):
    """The panel refused a call (``status``), or could not be asked (None)."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Ticket(NamedTuple):
    """The URLs of parts, and the size of a part in bytes."""

    urls: list[str]
    part_size: int


class Archived(NamedTuple):
    """What a success report says. ``parts`` is None on the node's own disk."""

    checksum: str
    size: int
    files: int
    parts: list[dict[str, Any]] | None = None
    streaming: bool = False


class Panel:
    """One panel, as a node of make ``make`` calls it."""

    def __init__(
        self,
        make: Make,
        url: str,
        bearer: tuple[str, str],
        *,
        timeout: float,
        record: Record,
    ) -> None:
        self._make = make
        self._url = url.rstrip("/")
        token_id, token = bearer
        self._headers = {
            "User-Agent": make.user_agent.format(token_id=token_id),
            "Accept": make.accept,
            "Authorization": f"Bearer {token_id}.{token}",
        }
        self._timeout = timeout
        self._record = record

    def request_upload(self, work: Work, backup: UUID, size: int) -> Ticket:
        """Ask where an archive of ``size`` bytes goes."""
        return _ticket(self._call(work, "GET", f"backups/{backup}?size={size}"))

    def request_parts(self, work: Work, backup: UUID, from_part: int) -> Ticket:
        """Ask where the next parts of an archive go whose size is not known yet."""
        path = f"backups/{backup}/s3/parts?from_part={from_part}"
        for wait in _WAITS_AFTER_404:
            try:
                return _ticket(self._call(work, "GET", path))
            except PanelFailed as error:
                if error.status != _NOT_FOUND:
                    raise
            work.sleep(wait)
        return _ticket(self._call(work, "GET", path))

    def report_success(self, work: Work, backup: UUID, archived: Archived) -> None:
        """Report an archive."""
        self._report(work, backup, archived, self._make.checksum_type, successful=True)

    def report_failure(self, work: Work, backup: UUID) -> None:
        """Report that there is none."""
        self._report(work, backup, Archived("", 0, 0), "", successful=False)

    def report_restore(self, work: Work, backup: UUID, server: UUID, *, successful: bool) -> None:
        """Report that a restore has ended."""
        body: dict[str, Any] = {"successful": successful}
        if self._make.restore_names_server:
            body = {"server_uuid": str(server), **body}
        self._call(work, "POST", f"backups/{backup}/restore", body)

    def report_deletion(self, work: Work, backup: UUID, *, successful: bool) -> None:
        """Report that a deletion on the node's own disk has ended."""
        self._call(work, "POST", f"backups/{backup}/deletion", {"successful": successful})

    def reset_servers(self, work: Work) -> None:
        """Tell the panel, at the start, that all work is forgotten."""
        self._call(work, "POST", "servers/reset")

    def _report(
        self, work: Work, backup: UUID, archived: Archived, checksum_type: str, *, successful: bool
    ) -> None:
        parts = archived.parts
        body: dict[str, Any] = {
            "checksum": archived.checksum,
            "checksum_type": checksum_type,
            "size": archived.size,
            "successful": successful,
            "parts": parts,
        }
        if self._make.detailed_reports:
            body = {
                "checksum": archived.checksum,
                "checksum_type": checksum_type,
                "size": archived.size,
                "files": archived.files,
                "successful": successful,
                "browsable": False,
                "streaming": archived.streaming,
                "parts": parts or [],
            }
        self._call(work, "POST", f"backups/{backup}", body)

    def _call(
        self, work: Work, method: str, path: str, body: dict[str, Any] | None = None
    ) -> Answer:
        """Call until there is an answer below 500, or no time is left.

        Raises:
            PanelFailed: the panel refused, or could not be asked.
            Forgotten: the daemon was restarted meanwhile.

        """
        backoff = Backoff(work)
        while True:
            work.check()
            began = time.monotonic()
            answer, is_repeated = self._try(method, path, body)
            if answer is not None and answer.status in _OK:
                return answer
            if not is_repeated or not backoff.wait(time.monotonic() - began):
                status = None if answer is None else answer.status
                raise PanelFailed(f"The panel's answer to a {method}: {status}.", status)

    def _try(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> tuple[Answer | None, bool]:
        """Call once: the answer, if there is one, and whether another try may follow."""
        headers = dict(self._headers)
        if method != "GET" or self._make.content_type_on_get:
            headers["Content-Type"] = "application/json"
        sent = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        path = f"/api/remote/{path}"
        answer: Answer | None = None
        try:
            answer = call(
                method, f"{self._url}{path}", headers=headers, body=sent, timeout=self._timeout
            )
            is_repeated = answer.status in _SERVER_ERRORS
        except TimedOut:
            is_repeated = self._make.repeats_after_timeout
        except NoAnswer:
            is_repeated = True
        self._record("panel", method, path, None if answer is None else answer.status, body)
        return answer, is_repeated


def _ticket(answer: Answer) -> Ticket:
    try:
        said = json.loads(answer.body)
        return Ticket([str(url) for url in said["parts"]], int(said["part_size"]))
    except (ValueError, KeyError, TypeError):
        raise PanelFailed("The panel's answer has no URLs.") from None
