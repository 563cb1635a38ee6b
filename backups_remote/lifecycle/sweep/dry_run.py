"""A dry run of the sweep says what would be done, and can do none of it.

``Effects`` is what a sweep may do: ``CarryOut`` does it, ``DryRun`` says it.

The rest of the sweep reads, decides, and calls one of the two: only ``CarryOut`` moves a row or
changes anything in a store, so that a dry run cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from backups_remote.lifecycle.event_history import prunable
from backups_remote.lifecycle.references import why_protected
from backups_remote.lifecycle.rotate import plan_rotation
from backups_remote.lifecycle.sweep.outcomes import (
    aborted,
    failed,
    found_whole,
    outcome,
    pruned,
    unverified,
)
from backups_remote.types import SweepAction, SweepOutcome

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from backups_remote.models import Backup, Server
    from backups_remote.storage import StorageBackend
    from backups_remote.types import OpenUpload, StoredObject


class Effects(Protocol):
    """One method for each thing that a sweep does; each yields what came of it."""

    @property
    def held(self) -> Sequence[int]:
        """Primary keys of reported backups that another claim holder completes."""

    def end_restores(self, disk: str | None) -> Iterator[SweepOutcome]:
        """End the restores that overran their time limit."""

    def complete_reported(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        """Complete reported backups in the store."""

    def complete_found(self, backup: Backup, proof: StoredObject) -> Iterator[SweepOutcome]:
        """Complete a backup whose whole object is in the store without an accepted report."""

    def recover(self, batch: list[tuple[Backup, tuple[str, ...]]]) -> Iterator[SweepOutcome]:
        """Complete silent uploads whose parts, with these ETags, are all there."""

    def fail(
        self, batch: list[tuple[Backup, str]], unseen: Collection[int] = ()
    ) -> Iterator[SweepOutcome]:
        """Fail silent backups, for these reasons, and abort their uploads.

        Those with the primary keys ``unseen`` are looked for again, as long as they may appear.
        """

    def abort(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        """Abort the uploads of backups that have failed before."""

    def delete(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        """Finish deletions that have begun."""

    def rotate(self, server: Server) -> Iterator[SweepOutcome]:
        """Rotate the backups of a server whose rotation is due."""

    def close_silence(self, backup: Backup) -> bool:
        """Keep a backup that failed in silence from being reopened; False if it already was."""

    def abort_orphan(self, orphan: OpenUpload, backend: StorageBackend) -> None:
        """Abort an upload that no row owns. Runs in any thread."""

    def prune_events(self) -> Iterator[SweepOutcome]:
        """Delete the events that are old enough."""

    def count_backups(self) -> Iterator[SweepOutcome]:
        """Count all backups for the admin, whatever the disk of the sweep; report only a fault."""


class DryRun:
    """Says what would be done."""

    held: Sequence[int] = ()

    def end_restores(self, disk: str | None) -> Iterator[SweepOutcome]:
        """Restores are not shown."""
        del disk
        yield from ()

    def complete_reported(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        """They would be completed if the store can."""
        yield from (outcome(SweepAction.COMPLETED, backup, "reported") for backup in batch)

    def complete_found(self, backup: Backup, proof: StoredObject) -> Iterator[SweepOutcome]:
        """It would be completed as it is."""
        del proof
        yield found_whole(backup)

    def recover(self, batch: list[tuple[Backup, tuple[str, ...]]]) -> Iterator[SweepOutcome]:
        """They would be recovered if the store can."""
        for backup, _ in batch:
            why = unverified("its parts are all there", backup)
            yield outcome(SweepAction.RECOVERED, backup, why)

    def fail(
        self, batch: list[tuple[Backup, str]], unseen: Collection[int] = ()
    ) -> Iterator[SweepOutcome]:
        """They would be failed."""
        for backup, reason in batch:
            yield failed(backup, reason, is_unseen=backup.pk in unseen)

    def abort(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        """Their uploads would be aborted."""
        yield from (aborted(backup) for backup in batch)

    def delete(self, batch: list[Backup]) -> Iterator[SweepOutcome]:
        """They would be deleted, but for those that are protected."""
        for backup in batch:
            reason = why_protected(backup)
            yield outcome(SweepAction.NOTICE if reason else SweepAction.DELETED, backup, reason)

    def rotate(self, server: Server) -> Iterator[SweepOutcome]:
        """They would be deleted."""
        yield from self.delete(plan_rotation(server))

    def close_silence(self, backup: Backup) -> bool:
        """It is left as it is."""
        del backup
        return True

    def abort_orphan(self, orphan: OpenUpload, backend: StorageBackend) -> None:
        """Nothing is done to it."""

    def prune_events(self) -> Iterator[SweepOutcome]:
        """They are counted."""
        yield from pruned(len(prunable()))

    def count_backups(self) -> Iterator[SweepOutcome]:
        """The totals are left as they are."""
        yield from ()
