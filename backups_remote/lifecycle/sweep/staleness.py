"""How long a silence is allowed, and what counts as a sign of life."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from backups_remote.conf import app_settings
from backups_remote.lifecycle.rules.age import aware, is_older_than

if TYPE_CHECKING:
    from backups_remote.models import Backup

#: How long a backup whose report was refused is left alone. Daemons take a refusal for final;
#: the time is for an operator's or a fork's second try.
REFUSAL_GRACE: Final = dt.timedelta(minutes=10)  # safeguard: refusal-grace


class Staleness:
    """The limits of one sweep, and its "now". ``older_than`` replaces the settings' limit."""

    def __init__(self, older_than: dt.timedelta | None) -> None:
        self.older_than = older_than
        self.now = timezone.now()

    @classmethod
    def of_all(cls) -> Staleness:
        """Everything is stale, however young."""
        return cls(dt.timedelta(0))

    def limit(self, issued_size: int) -> dt.timedelta:
        """The longest silence of a backup whose URLs are for this many bytes."""
        if self.older_than is not None:
            return self.older_than
        return app_settings.stale_after + app_settings.url_lifespan(issued_size)

    @property
    def shortest_limit(self) -> dt.timedelta:
        """The longest silence of a backup without URLs."""
        return self.limit(0)

    @property
    def refusal_limit(self) -> dt.timedelta:
        """The longest silence after a report was refused."""
        return min(REFUSAL_GRACE, self.shortest_limit)  # safeguard: shorter-limit-after-refusal

    def is_past(self, moment: dt.datetime, limit: dt.timedelta) -> bool:
        """Whether ``moment`` was at least ``limit`` before this sweep."""
        return is_older_than(moment, limit, now=self.now)

    def is_silent(self, backup: Backup) -> bool:
        """Whether the row of an unreported backup shows no sign of life within the limit."""
        if forgotten_at(backup) is not None:  # safeguard: forgotten-upload-judged
            return True
        refused_at = backup.refused_at
        # safeguard: refusal-shortens-limit
        if refused_at is not None and refused_at >= backup.silent_from:
            return self.is_past(refused_at, self.refusal_limit)
        # safeguard: size-extends-row-limit
        return self.is_past(backup.silent_from, self.limit(backup.issued_size))

    def is_arriving(self, backup: Backup, newest: dt.datetime | None) -> bool:
        """Whether a part of a silent backup arrived within the limit, at ``newest``."""
        if newest is None:
            return False
        # safeguard: refused-parts-not-life
        if backup.refused_at is not None and aware(newest) <= aware(backup.refused_at):
            return False  # these are the parts that the refused report was about
        forgotten = forgotten_at(backup)
        # safeguard: forgotten-parts-not-life
        if forgotten is not None and aware(newest) <= aware(forgotten):
            return False  # these are the parts that the daemon has forgotten
        # safeguard: size-extends-part-limit
        return not self.is_past(newest, self.limit(backup.issued_size))


def forgotten_at(backup: Backup) -> dt.datetime | None:
    """When the backup's daemon has restarted since the row's last sign of life, if it has."""
    restarted_at = backup.node_restarted_at
    if restarted_at is None or aware(backup.silent_from) > aware(restarted_at):
        return None
    return restarted_at
