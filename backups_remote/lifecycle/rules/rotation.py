"""Which backups give way to newer ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backups_remote.models import Backup


def choose_rotated(
    whole: Sequence[Backup],
    limit: int,
    may_go: Callable[[Backup], bool],
    *,
    expected: int = 0,
) -> list[Backup]:
    """Which of a server's ``whole`` backups, oldest first, give way so that ``limit`` are left.

    Unverified backups go first, and verified ones only as far as there are too many of them
    alone: what is verified never gives way to what is not. The newest backup and the newest
    verified one never go, and neither do locked ones nor those that ``may_go`` says no to.
    ``expected`` more backups, newer and verified, are counted as if they were there already.
    """
    verified = [backup for backup in whole if backup.is_verified]
    # safeguard: newest-backup-kept
    kept = set() if expected else {backups[-1] for backups in (whole, verified) if backups}
    # safeguard: locked-backup-not-rotated
    movable = [b for b in whole if b not in kept and not b.is_locked and may_go(b)]
    surplus = max(len(whole) + expected - limit, 0)
    # safeguard: unverified-rotated-first
    going = [backup for backup in movable if not backup.is_verified][:surplus]
    surplus = max(len(verified) + expected - limit, 0)  # safeguard: verified-kept-over-unverified
    return going + [backup for backup in movable if backup.is_verified][:surplus]
