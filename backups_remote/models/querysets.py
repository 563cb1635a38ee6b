"""The named sets of backups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.db.models import F, Q

from backups_remote.models.archive_owners import refuse_owners
from backups_remote.models.saving import GuardedQuerySet
from backups_remote.models.states import (
    COMPLETED,
    OPEN,
    STATES,
    UNREPORTED,
    BackupState,
    Filled,
)

if TYPE_CHECKING:
    import datetime as dt

    from backups_remote.models.backups import Backup  # noqa: F401 - named in a string
    from backups_remote.models.nodes import Node


class BackupQuerySet(GuardedQuerySet["Backup"]):
    """The named sets of backups."""

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete rows that own no archive.

        Raises:
            BackupConflict: some own one; nothing is deleted.

        """
        refuse_owners(self)  # safeguard: owned-archive-keeps-rows
        return super().delete()

    delete.queryset_only = True  # type: ignore[attr-defined]

    def in_state(self, state: BackupState) -> Self:
        """Backups in ``state``."""
        return self.filter(STATES[state])

    def pending(self) -> Self:
        """Backups whose node has neither asked for URLs nor reported."""
        return self.in_state(BackupState.PENDING)

    def uploading(self) -> Self:
        """Backups whose upload was started and not reported yet."""
        return self.in_state(BackupState.UPLOADING)

    def reported(self) -> Self:
        """Backups whose success is recorded and not yet proven by the store."""
        return self.in_state(BackupState.REPORTED)

    def completed(self) -> Self:
        """Backups that are whole."""
        return self.in_state(BackupState.COMPLETED)

    def verified(self) -> Self:
        """Whole backups that an accepted report vouches for, as ``Backup.is_verified`` says."""
        return self.completed().filter(is_recovered=False).exclude(checksum="")

    def failed(self) -> Self:
        """Backups that ended without an archive."""
        return self.in_state(BackupState.FAILED)

    def deleting(self) -> Self:
        """Backups whose archive is being deleted, or was when the panel died."""
        return self.in_state(BackupState.DELETING)

    def unreported(self) -> Self:
        """Backups that a node may still ask URLs for: neither reported nor ended."""
        return self.filter(UNREPORTED)

    def unfinished(self) -> Self:
        """Backups that are neither completed nor failed."""
        return self.filter(OPEN)

    def counted(self) -> Self:
        """Backups that count towards a server's limit: the whole ones and those under way."""
        return self.filter(OPEN | COMPLETED)

    def with_names(self) -> Self:
        """The names that a backup's events carry, read along with each row."""
        return self.annotate(
            known_server_uuid=F("server__uuid"),
            known_server_name=F("server__name"),
            known_node_name=F("node__name"),
        )

    def made_by(self, node: Node) -> Self:
        """Backups that ``node`` makes, wherever their server is now."""
        return self.filter(node=node)

    def restorable_on(self, node: Node) -> Self:
        """Backups whose server is on ``node`` now, whichever node made them."""
        return self.filter(server__node=node)

    def silent_since(self, moment: dt.datetime) -> Self:
        """Unfinished backups without a report whose last sign of life in the database is older.

        Every such row was created before ``moment``, which is what the partial index holds.
        """
        return self.filter(UNREPORTED, created_at__lte=moment).filter(
            Q(upload_started_at__isnull=True) | Q(upload_started_at__lte=moment)
        )

    def refused_since(self, moment: dt.datetime) -> Self:
        """Unfinished backups whose last report was refused at ``moment`` or before.

        Their daemons never call again after a refusal. Every such row was created before
        ``moment``, which is what the partial index holds.
        """
        return self.filter(UNREPORTED, created_at__lte=moment, refused_at__lte=moment).filter(
            Q(upload_started_at__isnull=True) | Q(upload_started_at__lte=F("refused_at"))
        )

    def forgotten_after(self, moment: dt.datetime) -> Self:
        """Backups without a report whose daemon has restarted since their last sign of life.

        Those alone that ``silent_since`` does not name for the same ``moment``.
        """
        restarted_at = F("node__restarted_at")
        return (
            self.filter(UNREPORTED, created_at__lte=restarted_at)
            # safeguard: work-after-restart-kept
            .filter(Q(upload_started_at__isnull=True) | Q(upload_started_at__lte=restarted_at))
            .filter(Q(created_at__gt=moment) | Q(upload_started_at__gt=moment))
        )

    def claimable(self, moment: dt.datetime) -> Self:
        """Reported backups without a claim at ``moment``, whose quiet period is over."""
        return (  # safeguard: claim-guard
            self.reported()
            .filter(Q(claimed_until__isnull=True) | Q(claimed_until__lte=moment))
            .filter(Q(quiet_until__isnull=True) | Q(quiet_until__lte=moment))
        )

    def rotation_due_since(self, moment: dt.datetime) -> Self:
        """Whole backups that older ones should have given way to since ``moment`` or before."""
        return self.completed().filter(rotation_due=True, completed_at__lte=moment)

    def left_behind(self) -> Self:
        """Failed backups whose upload is not known to be gone from the store yet."""
        return self.failed().filter(Filled("upload_id"))
