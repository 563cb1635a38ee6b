"""A node's daemon as the panel and the store see it: its headers, its bodies, its uploads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import requests

PTERODACTYL = "application/vnd.pterodactyl.v1+json"
PELICAN = "application/json"


@dataclass
class Daemon:
    """Speaks as pterodactyl's daemon does unless told otherwise."""

    panel: str
    bearer: str
    accept: str = PTERODACTYL
    session: requests.Session = field(default_factory=requests.Session)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.session.close()

    @property
    def headers(self):
        return {
            "User-Agent": f"Pterodactyl Wings/v1.12.0 (id:{self.bearer.partition('.')[0]})",
            "Accept": self.accept,
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self.bearer}",
        }

    def call(self, method, path, *, headers=None, **kwargs):
        """One call; ``headers`` replaces single ones, None removes one."""
        sent = {**self.headers, **(headers or {})}
        return self.session.request(
            method,
            f"{self.panel}/api/remote/backups/{path}",
            headers={k: v for k, v in sent.items() if v is not None},
            allow_redirects=False,
            timeout=60,
            **kwargs,
        )

    def ask(self, backup, size, **kwargs):
        """GET the URLs for ``size`` bytes."""
        return self.call("GET", f"{backup.uuid}", params={"size": size}, **kwargs)

    def ask_parts(self, backup, from_part, **kwargs):
        """GET the URLs of the next parts of an archive of unknown size."""
        query = {"from_part": from_part}
        return self.call("GET", f"{backup.uuid}/s3/parts", params=query, **kwargs)

    def stream(self, backup, archive):
        """Ask and upload, a call's parts at a time; the list for the report."""
        said = []
        while True:
            answer = self.ask_parts(backup, len(said) + 1)
            assert answer.status_code == 200, answer.text
            ticket = answer.json()
            rest = archive[len(said) * ticket["part_size"] :]
            for url, part in zip(ticket["parts"], cut(rest, ticket["part_size"]), strict=False):
                etag = self.put(url, part).headers["ETag"]
                said.append({"etag": etag, "part_number": len(said) + 1})
            if len(said) * ticket["part_size"] >= len(archive):
                return said

    def upload(self, urls, archive, part_size):
        """PUT every part as the daemon does; the list for the report."""
        return [
            {"etag": self.put(url, part).headers["ETag"], "part_number": number}
            for number, (url, part) in enumerate(
                zip(urls, cut(archive, part_size), strict=True), start=1
            )
        ]

    def put(self, url, part):
        """PUT one part; 200 expected."""
        answer = self.session.put(
            url, data=part, headers={"Content-Type": "application/x-gzip"}, timeout=60
        )
        assert answer.status_code == 200, answer.text
        return answer

    def report(self, backup, archive, parts, **changes):
        """POST a success."""
        body = {**success(archive, parts), **changes}
        return self.call("POST", f"{backup.uuid}", json=body)

    def report_failure(self, backup):
        """POST a failure, its fields empty as the daemon sends them."""
        body = {"checksum": "", "checksum_type": "", "size": 0, "successful": False, "parts": None}
        return self.call("POST", f"{backup.uuid}", json=body)

    def report_restore(self, backup, successful=True, **more):
        body = {"successful": successful, **more}
        return self.call("POST", f"{backup.uuid}/restore", json=body)

    def report_deletion(self, backup, successful=True):
        return self.call("POST", f"{backup.uuid}/deletion", json={"successful": successful})

    def reset(self, **kwargs):
        """POST what a daemon calls at its start."""
        return self.call("POST", "../servers/reset", **kwargs)

    def back_up(self, backup, archive):
        """The whole job: ask, upload, report."""
        answer = self.ask(backup, len(archive))
        assert answer.status_code == 200, answer.text
        ticket = answer.json()
        parts = self.upload(ticket["parts"], archive, ticket["part_size"])
        return self.report(backup, archive, parts)


def cut(archive, part_size):
    return [archive[start : start + part_size] for start in range(0, len(archive), part_size)]


def success(archive, parts):
    return {
        "checksum": hashlib.sha1(archive).hexdigest(),
        "checksum_type": "sha1",
        "size": len(archive),
        "successful": True,
        "parts": parts,
    }
