"""The settings, one typed property a key, read from Django's settings at every access."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final, cast

from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MIB: Final = 1024**2
GIB: Final = 1024**3

#: The narrowest and widest part that every S3-compatible store takes, in bytes
#: (Amazon S3 user guide, "Amazon S3 multipart upload limits").
MIN_PART_SIZE: Final = 5 * MIB
LARGEST_PART_SIZE: Final = 5 * GIB
LARGEST_PART_NUMBER: Final = 10_000

#: The word for the node's own disk, where other disks are aliases of STORAGES.
WINGS_DISK: Final = "wings"

SHORTEST_URL_LIFESPAN: Final = dt.timedelta(hours=1)
#: SigV4 refuses a longer one.
LONGEST_URL_LIFESPAN: Final = dt.timedelta(days=7)
#: No panel waits longer for a node; it keeps date arithmetic within the calendar.
LONGEST_SILENCE: Final = dt.timedelta(days=3650)
#: The slowest upload that a growing lifespan still leaves time for, in bytes a second.
SLOWEST_UPLOAD: Final = MIB

DEFAULTS: Final[Mapping[str, Any]] = {
    "AUTHENTICATION_CLASSES": ["backups_remote.authentication.NodeAuthentication"],
    "BACKENDS": {},
    "DEFAULT_DISK": WINGS_DISK,
    "MAX_CONCURRENT_UPLOADS": None,
    "MAX_PARTS": LARGEST_PART_NUMBER,
    "MAX_PART_SIZE": 128 * MIB,
    "RECOVER_UPLOADS": True,
    "REPORT_REPLAY_WINDOW": 0,
    "STALE_AFTER": dt.timedelta(hours=6),
    "URL_LIFESPAN": None,
}


def as_timedelta(value: dt.timedelta | float) -> dt.timedelta:
    """A duration setting: a timedelta, or a number of seconds."""
    return value if isinstance(value, dt.timedelta) else dt.timedelta(seconds=value)


class AppSettings:
    """``BACKUPS_REMOTE`` with its defaults filled in. Values are judged in ``checks``."""

    @property
    def user_settings(self) -> Mapping[str, Any]:
        """The dict as the project wrote it."""
        return cast("Mapping[str, Any]", getattr(settings, "BACKUPS_REMOTE", {}))

    def _get(self, key: str) -> Any:
        return self.user_settings.get(key, DEFAULTS[key])

    @property
    def authentication_classes(self) -> Sequence[str]:
        """Dotted paths of DRF authentication classes that put a Node into ``request.auth``."""
        return cast("Sequence[str]", self._get("AUTHENTICATION_CLASSES"))

    @property
    def backends(self) -> Mapping[str, str]:
        """Disk alias → dotted path of a StorageBackend, for disks of another kind."""
        return cast("Mapping[str, str]", self._get("BACKENDS"))

    @property
    def default_disk(self) -> str:
        """The disk of a backup that names none."""
        return cast("str", self._get("DEFAULT_DISK"))

    @property
    def max_concurrent_uploads(self) -> int | None:
        """How many parts a daemon may upload at once, where it reads that; None says nothing."""
        return cast("int | None", self._get("MAX_CONCURRENT_UPLOADS"))

    @property
    def max_parts(self) -> int:
        """The most parts that an upload may have (some stores take 1,000 only)."""
        return cast("int", self._get("MAX_PARTS"))

    @property
    def max_part_size(self) -> int:
        """A part's size in bytes, kept between 5 MiB and 5 GiB."""
        return cast("int", self._get("MAX_PART_SIZE"))

    @property
    def largest_size(self) -> int:
        """The largest archive that can be uploaded, in bytes."""
        return self.max_parts * LARGEST_PART_SIZE

    @property
    def recover_uploads(self) -> bool:
        """Whether a whole upload that nobody reported is completed instead of aborted."""
        return cast("bool", self._get("RECOVER_UPLOADS"))

    @property
    def report_replay_window(self) -> dt.timedelta:
        """How long after completion an identical success report is answered 204."""
        return as_timedelta(self._get("REPORT_REPLAY_WINDOW"))

    @property
    def stale_after(self) -> dt.timedelta:
        """How long past its URLs' life a silent upload is left alone."""
        return as_timedelta(self._get("STALE_AFTER"))

    def url_lifespan(self, size: int) -> dt.timedelta:
        """How long the URLs for an archive of ``size`` bytes live."""
        fixed = self._get("URL_LIFESPAN")
        if fixed is not None:
            return as_timedelta(fixed)
        grown = SHORTEST_URL_LIFESPAN + dt.timedelta(seconds=size // SLOWEST_UPLOAD)
        return min(grown, LONGEST_URL_LIFESPAN)


app_settings = AppSettings()
