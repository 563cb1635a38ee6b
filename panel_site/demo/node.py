"""A node's daemon: HTTP and nothing else. It knows the panel's address and its own token."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import requests
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from panel_site.demo.world import Archive

_ARCHIVES: Final = frozenset({"application/x-gzip", "application/gzip"})
#: A daemon waits 30 s for the panel; a part may take it two hours.
_TIMEOUT: Final = 30
_PART_TIMEOUT: Final = 7200


class CallFailedError(Exception):
    """A call had another answer than it should. The message holds no URL: those are signed."""


class Ticket(NamedTuple):
    """Where the parts go, and how large each is in bytes."""

    urls: list[str]
    part_size: int


class Node:
    """Speaks as the daemon does, and counts what it asks of the panel and of the store."""

    def __init__(self, panel: str, bearer_token: str) -> None:
        self._backups = f"{panel}/api/remote/backups"
        self._headers = {
            "User-Agent": f"Pterodactyl Wings/v1.12.0 (id:{bearer_token.partition('.')[0]})",
            "Accept": "application/vnd.pterodactyl.v1+json",
            "Content-Type": "application/json",
            "Authorization": f"Bearer {bearer_token}",
        }
        self._session = requests.Session()
        # Everything is on this machine: no proxy, no .netrc.
        self._session.trust_env = False
        self.requests: Counter[str] = Counter()

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    def ask(self, backup: UUID, size: int) -> Ticket:
        """Where to put an archive of ``size`` bytes."""
        said = self._panel("GET", f"{backup}", 200, params={"size": size}).json()
        return Ticket(said["parts"], said["part_size"])

    def upload(self, archive: Archive, ticket: Ticket) -> Iterator[tuple[int, dict[str, Any]]]:
        """PUT one part after another; each one's size and its entry in the report."""
        with archive.path.open("rb") as file:
            for number, url in enumerate(ticket.urls, start=1):
                part = file.read(ticket.part_size)
                yield len(part), {"etag": self.put(url, part), "part_number": number}

    def put(self, url: str, part: bytes) -> str:
        """PUT a part; its ETag."""
        headers = {"Content-Type": "application/x-gzip"}
        answer = self._call("store", "PUT", url, 200, data=part, headers=headers)
        return answer.headers.get("ETag", "")

    def report_success(self, backup: UUID, archive: Archive, parts: list[dict[str, Any]]) -> None:
        """POST that the archive is uploaded."""
        body = {
            "checksum": archive.sha1,
            "checksum_type": "sha1",
            "size": archive.size,
            "successful": True,
            "parts": parts,
        }
        self._panel("POST", f"{backup}", 204, json=body)

    def report_failure(self, backup: UUID) -> None:
        """POST that there is no archive, as empty as the daemon says it."""
        body = {"checksum": "", "checksum_type": "", "size": 0, "successful": False, "parts": None}
        self._panel("POST", f"{backup}", 204, json=body)

    def report_restore(self, backup: UUID) -> None:
        """POST that the archive is unpacked."""
        self._panel("POST", f"{backup}/restore", 204, json={"successful": True})

    @contextlib.contextmanager
    def download(self, link: str) -> Iterator[requests.Response]:
        """GET an archive as a stream; ``raw`` of what it yields is to be read."""
        answer = self._call("store", "GET", link, 200, stream=True)
        with contextlib.closing(answer):
            if answer.headers.get("Content-Type") not in _ARCHIVES:
                raise CallFailedError("The link does not serve a gzip archive.")
            try:
                yield answer
            except HTTPError as error:
                name = type(error).__name__
                raise CallFailedError(f"The store broke off a download ({name}).") from None

    def _panel(self, method: str, path: str, expected: int, **kwargs: Any) -> requests.Response:
        return self._call(
            "panel", method, f"{self._backups}/{path}", expected, headers=self._headers, **kwargs
        )

    def _call(
        self, whom: str, method: str, url: str, expected: int, **kwargs: Any
    ) -> requests.Response:
        self.requests[whom] += 1
        timeout = _TIMEOUT if whom == "panel" else _PART_TIMEOUT
        try:
            answer = self._session.request(
                method, url, allow_redirects=False, timeout=timeout, **kwargs
            )
        except requests.RequestException as error:
            name = type(error).__name__
            raise CallFailedError(f"The {whom} did not answer a {method} ({name}).") from None
        if answer.status_code != expected:
            answer.close()
            said = f"{answer.status_code} instead of {expected}"
            raise CallFailedError(f"The {whom} answered {said} to a {method}.")
        return answer
