"""The daemons, as data: how each of them speaks, and what it does its own way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backups_remote.testing.daemon.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Make:
    """The behaviour of one daemon. The defaults are those of Pterodactyl's."""

    name: str
    #: ``{token_id}`` is filled in.
    user_agent: str
    accept: str = "application/vnd.pterodactyl.v1+json"
    #: It sends a Content-Type on a GET too, which has no body.
    content_type_on_get: bool = True
    #: The kind of its checksums: a name of hashlib's.
    checksum_type: str = "sha1"
    #: Reports name the number of files, and have lists that are empty rather than null.
    detailed_reports: bool = False
    #: The report of a restore names the server.
    restore_names_server: bool = False
    #: Seconds that it waits for the panel's answer to a call.
    panel_timeout: float = 30.0
    #: It repeats a call after that.
    repeats_after_timeout: bool = False
    #: It uploads while it packs, and asks for the URLs of a few parts at a time.
    streams: bool = False
    #: It looks at the status of a link's answer, not only at its content type.
    checks_link_status: bool = True
    #: It accepts every restore, and reports whatever goes wrong.
    accepts_every_restore: bool = False
    #: It answers 202 to a deletion, and reports the end.
    deletes_in_background: bool = False
    #: Where an archive lies below the directory of backups.
    own_disk: str = "{backup}.tar.gz"
    #: The faults that it has by itself.
    faults: frozenset[Fault] = frozenset(
        {Fault.CONSUMES_BODY, Fault.DELETES_ARCHIVE, Fault.TRUNCATES_FIRST}
    )

    @property
    def version(self) -> str:
        """What it says of itself, such as ``"1.12.0"``."""
        return self.user_agent.partition("/v")[2].partition(" ")[0]


MAKES: Final[Mapping[str, Make]] = {
    "pterodactyl": Make(
        "pterodactyl",
        "Pterodactyl Wings/v1.12.0 (id:{token_id})",
        checks_link_status=False,
    ),
    "pelican": Make(
        "pelican",
        "Pelican Wings/v1.0.0 (id:{token_id})",
        accept="application/json",
        own_disk="{server}/{backup}.tar.gz",
    ),
    "calagopus": Make(
        "calagopus",
        "calagopus-rs wings/v1.0.0",
        content_type_on_get=False,
        checksum_type="sha256",
        detailed_reports=True,
        restore_names_server=True,
        panel_timeout=15.0,
        repeats_after_timeout=True,
        streams=True,
        accepts_every_restore=True,
        deletes_in_background=True,
        faults=frozenset({Fault.TRUNCATES_FIRST}),
    ),
}
