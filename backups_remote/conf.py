"""The app's settings: a typed property per key, read from Django's settings at every access."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final, cast

from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MIB: Final = 1024**2
GIB: Final = 1024**3

#: The smallest and largest part that every S3-compatible store accepts, in bytes
#: (Amazon S3 user guide, "Amazon S3 multipart upload limits").
MIN_PART_SIZE: Final = 5 * MIB
LARGEST_PART_SIZE: Final = 5 * GIB
LARGEST_PART_NUMBER: Final = 10_000

#: The name of the node's own disk. Other disks are aliases of STORAGES.
WINGS_DISK: Final = "wings"

SHORTEST_URL_LIFESPAN: Final = dt.timedelta(hours=1)
#: The limit of SigV4.
LONGEST_URL_LIFESPAN: Final = dt.timedelta(days=7)
#: An upper bound for durations, which keeps date arithmetic within the calendar.
LONGEST_SILENCE: Final = dt.timedelta(days=3650)
#: How many parts of an archive of unknown size get their URLs in one call, at most.
PARTS_PER_CALL: Final = 50
#: The upload speed that the URLs' lifespan allows for, in bytes per second.
SLOWEST_UPLOAD: Final = MIB

DEFAULTS: Final[Mapping[str, Any]] = {
    "AUTHENTICATION_CLASSES": ["backups_remote.authentication.NodeAuthentication"],
    "BACKENDS": {},
    "BACKUP_OVERDUE_AFTER": dt.timedelta(hours=24),
    "DAEMON": None,
    "DEFAULT_DISK": WINGS_DISK,
    "EVENTS_KEPT": dt.timedelta(days=365),
    "MAX_CONCURRENT_UPLOADS": None,
    "MAX_PARTS": LARGEST_PART_NUMBER,
    "MAX_PART_SIZE": 128 * MIB,
    "PUBLIC_ENDPOINTS": {},
    "RECOVER_UPLOADS": True,
    "REPORT_REPLAY_WINDOW": 0,
    "RESTORE_TIMEOUT": dt.timedelta(hours=24),
    "STALE_AFTER": dt.timedelta(hours=6),
    "URL_LIFESPAN": None,
}


def as_timedelta(value: dt.timedelta | float) -> dt.timedelta:
    """A duration setting: a timedelta, or a number of seconds."""
    return value if isinstance(value, dt.timedelta) else dt.timedelta(seconds=value)


def issued_size(upload_size: int | None, part_size: int | None) -> int:
    """How many bytes the URLs that were issued last are for: all, or those of one call's parts."""
    return PARTS_PER_CALL * (part_size or 0) if upload_size is None else upload_size


class AppSettings:
    """``BACKUPS_REMOTE`` with its defaults. Values are validated in ``checks``."""

    @property
    def user_settings(self) -> Mapping[str, Any]:
        """The dict of the host project."""
        return cast("Mapping[str, Any]", getattr(settings, "BACKUPS_REMOTE", {}))

    def _get(self, key: str) -> Any:
        return self.user_settings.get(key, DEFAULTS[key])

    @property
    def authentication_classes(self) -> Sequence[str]:
        """Dotted paths of authentication classes that set ``request.auth`` to a Node."""
        return cast("Sequence[str]", self._get("AUTHENTICATION_CLASSES"))

    @property
    def backends(self) -> Mapping[str, str]:
        """Disk alias → dotted path of its StorageBackend, for disks that are not S3Storage."""
        return cast("Mapping[str, str]", self._get("BACKENDS"))

    @property
    def backup_overdue_after(self) -> dt.timedelta | None:
        """How old a server's newest whole backup may become before the admin counts the server."""
        after = self._get("BACKUP_OVERDUE_AFTER")
        return None if after is None else as_timedelta(after)

    @property
    def daemon(self) -> str | None:
        """Dotted path of the Daemon class that calls nodes; None: the project calls them."""
        return cast("str | None", self._get("DAEMON"))

    @property
    def default_disk(self) -> str:
        """The disk of a backup that names none."""
        return cast("str", self._get("DEFAULT_DISK"))

    @property
    def events_kept(self) -> dt.timedelta:
        """How long the events of a backup that is gone are kept."""
        return as_timedelta(self._get("EVENTS_KEPT"))

    @property
    def max_concurrent_uploads(self) -> int | None:
        """How many parts a daemon may upload at once, if it supports that; None: not sent."""
        return cast("int | None", self._get("MAX_CONCURRENT_UPLOADS"))

    @property
    def max_parts(self) -> int:
        """The most parts of an upload (some stores accept 1,000 only)."""
        return cast("int", self._get("MAX_PARTS"))

    @property
    def max_part_size(self) -> int:
        """The size of a part in bytes. An archive of too many parts gets larger ones."""
        return cast("int", self._get("MAX_PART_SIZE"))

    @property
    def largest_size(self) -> int:
        """The largest archive that can be uploaded, in bytes."""
        return self.max_parts * LARGEST_PART_SIZE

    @property
    def public_endpoints(self) -> Mapping[str, str]:
        """Disk alias → the base URL at which nodes reach its store, if not the panel's own."""
        return cast("Mapping[str, str]", self._get("PUBLIC_ENDPOINTS"))

    @property
    def recover_uploads(self) -> bool:
        """Whether a stale upload with all its parts is completed instead of aborted."""
        return cast("bool", self._get("RECOVER_UPLOADS"))

    @property
    def report_replay_window(self) -> dt.timedelta:
        """How long after completion an identical success report is answered 204."""
        return as_timedelta(self._get("REPORT_REPLAY_WINDOW"))

    @property
    def restore_timeout(self) -> dt.timedelta:
        """How long a restore may take before it ends without its node's report."""
        return as_timedelta(self._get("RESTORE_TIMEOUT"))

    @property
    def stale_after(self) -> dt.timedelta:
        """How long after its URLs have expired a silent upload counts as stale."""
        return as_timedelta(self._get("STALE_AFTER"))

    def url_lifespan(self, size: int) -> dt.timedelta:
        """The lifespan of the URLs for an archive of ``size`` bytes."""
        fixed = self._get("URL_LIFESPAN")
        if fixed is not None:
            return as_timedelta(fixed)
        grown = SHORTEST_URL_LIFESPAN + dt.timedelta(seconds=size // SLOWEST_UPLOAD)
        return min(grown, LONGEST_URL_LIFESPAN)


app_settings = AppSettings()
