"""``manage.py expire_stale_uploads``: complete or abort stale uploads, and clean up."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError
from django.db import DatabaseError

from backups_remote import lifecycle
from backups_remote.actors import ActorKind, acting_as
from backups_remote.conf import LONGEST_SILENCE
from backups_remote.management.messages import database_failed, first_of
from backups_remote.management.output import WorkCommand
from backups_remote.management.progress import ProgressLine
from backups_remote.types import SweepAction

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator

    from backups_remote.types import SweepOutcome

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
#: Actions that are not counted as expired.
_NOT_EXPIRED: Final = frozenset({SweepAction.ERROR, SweepAction.NOTICE, SweepAction.EVENTS_PRUNED})


def duration(text: str) -> dt.timedelta:
    """Parse ``6h``, ``30m``, ``0s`` or ``2d``."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise CommandError(f"--older-than: {text!r} is not a duration such as 6h, 30m or 0s.")
    try:
        age = dt.timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        age = dt.timedelta.max
    if age > LONGEST_SILENCE:
        raise CommandError(f"--older-than: {text!r} is more than {LONGEST_SILENCE.days} days.")
    return age


class Command(WorkCommand):
    """Expires stale uploads."""

    help = (
        "Completes reported backups, completes or aborts stale uploads, repeats aborts and "
        "deletions that failed before, ends restores that overran their time limit, aborts "
        "uploads under our keys that no backup owns, and deletes old events of backups that are "
        "gone."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--older-than",
            metavar="AGE",
            help="Expire uploads silent for this long (6h, 30m, 0s) instead of STALE_AFTER.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Change nothing.")
        parser.add_argument("--disk", metavar="ALIAS", help="Expire on this disk only.")
        parser.add_argument(
            "--no-recover",
            action="store_true",
            help="Abort stale uploads even if all their parts were uploaded.",
        )
        parser.add_argument(
            "--workers",
            type=int,
            default=lifecycle.DEFAULT_WORKERS,
            help="How many store calls may run at once (default: %(default)s).",
        )

    @acting_as(ActorKind.SWEEP, "expire_stale_uploads")
    def handle(
        self,
        *,
        older_than: str | None,
        dry_run: bool,
        disk: str | None,
        no_recover: bool,
        workers: int,
        **_options: Any,
    ) -> None:
        """Print a line per outcome of the sweep.

        Raises:
            CommandError: some could not be expired; the message names them.

        """
        if workers < 1:
            raise CommandError("--workers: at least one is required.")
        would = "would be " if dry_run else ""
        counts: Counter[SweepAction] = Counter()
        failures: list[str] = []
        age = None if older_than is None else duration(older_than)
        outcomes = lifecycle.sweep(
            older_than=age,
            disk=disk,
            dry_run=dry_run,
            recover=False if no_recover else None,
            workers=workers,
        )
        progress = ProgressLine(self.stderr, self._count(age, disk))
        for done, outcome in enumerate(self._translate_database_errors(outcomes), start=1):
            counts[outcome.action] += 1
            progress.clear()
            detail = f": {outcome.detail}" if outcome.detail else ""
            line = f"{outcome.subject} on {outcome.disk}" if outcome.disk else outcome.subject
            if outcome.action is SweepAction.NOTICE:
                self.stderr.write(self.style.WARNING(f"notice: {outcome.subject}{detail}"))
            elif outcome.action is SweepAction.ERROR:
                failures.append(outcome.subject)
                self.stderr.write(self.style.ERROR(f"error: {line}{detail}"))
            else:
                self.stdout.write(f"{would}{outcome.action}: {line}{detail}")
            progress.show(done)
        progress.clear()
        ends = {action: n for action, n in counts.items() if action not in _NOT_EXPIRED}
        done = sum(ends.values())
        parts = [f"{n} {action}" for action, n in ends.items()]
        summary = f" ({', '.join(parts)})" if parts else ""
        errors = f"{len(failures)} error{'' if len(failures) == 1 else 's'}"
        self.stdout.write(f"{done} {would}expired{summary}, {errors}.")
        if failures:
            raise CommandError(f"{len(failures)} could not be expired: {first_of(failures)}")

    def _count(self, older_than: dt.timedelta | None, disk: str | None) -> int:
        if not self.stderr.isatty():
            return 0
        try:
            return lifecycle.count_stale(older_than=older_than, disk=disk)
        except DatabaseError:
            return 0

    def _translate_database_errors(
        self, outcomes: Iterator[SweepOutcome]
    ) -> Iterator[SweepOutcome]:
        try:
            yield from outcomes
        except DatabaseError as error:
            raise database_failed(error) from error
