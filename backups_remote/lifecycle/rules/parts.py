"""Which parts an upload must consist of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backups_remote.storage import ceil_div

if TYPE_CHECKING:
    from backups_remote.models import Backup


def planned_parts(backup: Backup) -> list[tuple[int, int]]:
    """Number and size in bytes of every part that the backup's upload consists of."""
    if not backup.upload_size or not backup.part_size:
        return []
    count = ceil_div(backup.upload_size, backup.part_size)
    last = backup.upload_size - (count - 1) * backup.part_size
    return [
        (number, backup.part_size if number < count else last) for number in range(1, count + 1)
    ]
