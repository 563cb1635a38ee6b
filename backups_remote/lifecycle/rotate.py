"""Rotation: the oldest backups of a server give way to newer ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import router

from backups_remote.database import in_order
from backups_remote.exceptions import DaemonError, StorageError
from backups_remote.lifecycle import erase
from backups_remote.lifecycle.delete import remove
from backups_remote.lifecycle.references import why_protected
from backups_remote.lifecycle.rules.deletion import can_be_erased, is_kept_by_store
from backups_remote.lifecycle.rules.rotation import choose_rotated
from backups_remote.lifecycle.transactions import locked_server, refuse_open_transaction
from backups_remote.models import Backup
from backups_remote.storage import get_backend

if TYPE_CHECKING:
    from uuid import UUID

    from backups_remote.models import BackupQuerySet, Server


def rotate_backups(server: Server) -> list[UUID]:
    """Delete a server's oldest whole, unlocked backups down to its limit.

    Only whole backups are counted, so that none gives way to one that may still fail, and
    ``rules.choose_rotated`` says why none that is verified gives way to one that is not. The backup
    that is being restored is left out, and so are those that rows of the host project protect, that
    the store refuses to delete, or that lie on a node whose daemon the panel does not call.

    Call it when ``backup_completed`` is sent. If the backup was started with ``rotating``, the
    sweep makes up for a call that did not happen, and for one that left the server above its limit.

    Returns:
        The uuids of the backups that were deleted, and of those that a daemon deletes in the
        background.

    Raises:
        StorageUnavailable: the store could not be asked about one of them; the others are
            deleted, and named in its ``deleted``, and the sweep finishes this one.
        DaemonError: the same about a node's daemon.
        RuntimeError: a transaction is open.

    """
    refuse_open_transaction("rotate_backups")  # safeguard: rotate-outside-transaction
    deleted: list[UUID] = []
    problem: StorageError | DaemonError | None = None
    # Once more after a refusal: the next one gives way instead.
    while going := begin_rotation(server):
        for backup in going:
            try:
                if _delete(backup):
                    deleted.append(backup.uuid)
            except (StorageError, DaemonError) as error:
                problem = problem or error  # safeguard: rotation-survives-store-error
    if problem is not None:
        problem.deleted = tuple(deleted)
        raise problem
    return deleted


def _delete(backup: Backup) -> bool:
    """Whether the archive of a backup in DELETING is gone, or goes; False if the store refused."""
    if not erase.begin(backup):
        return True  # another process deletes it
    erasure = erase.erase(backup, get_backend(backup.disk))
    if erasure.refusal:  # safeguard: rotation-goes-on-after-refusal
        erase.take_back(backup, erasure)
        return False
    if not erasure.is_under_way:  # safeguard: rotation-under-way-keeps-row
        remove(backup, erasure.left)
    return True


def count_giving_way(server: Server, limit: int) -> int:
    """How many backups rotation would delete once one more of this server is verified."""
    return len(choose_rotated(_whole(server), limit, _may_go, expected=1))


def begin_rotation(server: Server) -> list[Backup]:
    """Choose the backups and move their rows to DELETING under one lock: rotations agree."""
    return in_order(router.db_for_write(Backup), lambda: _begin_rotation(server))


def _begin_rotation(server: Server) -> list[Backup]:
    with locked_server(server.pk) as row:  # safeguard: rotation-under-server-lock
        reason = f"rotated out at a limit of {row.backup_limit}"
        # safeguard: rotation-moves-rows
        begun = [backup for backup in plan_rotation(row) if backup.begin_deletion(reason)]
        if not _is_above_limit(row):  # safeguard: incomplete-rotation-stays-due
            _all_of(row).completed().filter(rotation_due=True).update(rotation_due=False)
    return begun


def plan_rotation(server: Server) -> list[Backup]:
    """Which backups rotation would delete now."""
    if server.backup_limit is None:
        return []
    going = choose_rotated(_whole(server), server.backup_limit, _may_go)
    # safeguard: restoring-backup-not-rotated
    return [backup for backup in going if not server.is_restoring_from(backup)]


def _is_above_limit(server: Server) -> bool:
    """Whether it has too many, those in deletion included: the store may refuse that."""
    limit = server.backup_limit
    if limit is None:
        return False
    rows = _all_of(server)
    # safeguard: refused-rotation-stays-due
    return rows.completed().count() + rows.deleting().count() > limit


def _all_of(server: Server) -> BackupQuerySet:
    # safeguard: rotation-from-primary
    return Backup.objects.using(router.db_for_write(Backup)).filter(server=server)


def _whole(server: Server) -> list[Backup]:
    whole = _all_of(server).completed().with_names().select_related("node")
    # In the order of their creation, as their keys tell it: clocks are set back, and those of two
    # panels differ.
    return list(whole.order_by("pk"))  # safeguard: rotation-by-creation


def _may_go(backup: Backup) -> bool:
    if why_protected(backup):  # safeguard: protected-backup-not-rotated
        return False
    if is_kept_by_store(backup):  # safeguard: kept-backup-not-rotated
        return False
    return can_be_erased(backup)  # safeguard: undeletable-makes-no-room
