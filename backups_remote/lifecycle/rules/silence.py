"""When a backup failed for silence alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backups_remote.lifecycle.rules.deletion import has_nothing_stored

if TYPE_CHECKING:
    from backups_remote.models import Backup


def is_only_silent(backup: Backup) -> bool:
    """Whether the only thing wrong with ``backup`` is that its node never called.

    Until it asks for URLs, a node that is archiving gives no sign of life. A refused report is one.
    """
    return has_nothing_stored(backup) and backup.refused_at is None
