"""``manage.py expire_stale_uploads``: finish or throw away what nobody else will."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from backups_remote import lifecycle
from backups_remote.conf import LONGEST_SILENCE
from backups_remote.management.progress import ProgressLine
from backups_remote.types import SweepAction

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator

    from backups_remote.types import SweepOutcome

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
#: How many failures the last line names.
_NAMED: Final = 10


def duration(text: str) -> dt.timedelta:
    """Read ``6h``, ``30m``, ``0s`` or ``2d``."""
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


class Command(BaseCommand):
    """Expires stale uploads."""

    help = (
        "Settles reported backups, completes or aborts stale uploads, repeats aborts and deletions "
        "that failed before, and aborts uploads under our keys that no backup owns."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument(
            "--older-than",
            metavar="AGE",
            help="Counts as stale after this silence (6h, 30m, 0s) instead of the setting's.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Change nothing.")
        parser.add_argument("--disk", metavar="ALIAS", help="Only this disk.")
        parser.add_argument(
            "--no-recover",
            action="store_true",
            help="Abort stale uploads even if all their parts are there.",
        )
        parser.add_argument(
            "--workers",
            type=int,
            default=lifecycle.DEFAULT_WORKERS,
            help="How many store calls may run at once (default: %(default)s).",
        )

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
        """Sweep, a line each; exits non-zero naming what could not be done."""
        if workers < 1:
            raise CommandError("--workers: at least one is needed.")
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
        for done, outcome in enumerate(self._unless_the_database_fails(outcomes), start=1):
            counts[outcome.action] += 1
            progress.clear()
            detail = f": {outcome.detail}" if outcome.detail else ""
            line = f"{outcome.subject} on {outcome.disk}"
            if outcome.action is SweepAction.ERROR:
                failures.append(outcome.subject)
                self.stderr.write(self.style.ERROR(f"error: {line}{detail}"))
            else:
                self.stdout.write(f"{would}{outcome.action}: {line}{detail}")
            progress.show(done)
        progress.clear()
        done = sum(counts.values()) - counts[SweepAction.ERROR]
        parts = [f"{n} {action}" for action, n in counts.items() if action != SweepAction.ERROR]
        summary = f" ({', '.join(parts)})" if parts else ""
        errors = f"{len(failures)} error{'' if len(failures) == 1 else 's'}"
        self.stdout.write(f"{done} {would}expired{summary}, {errors}.")
        if failures:
            named = ", ".join(failures[:_NAMED])
            more = f" and {len(failures) - _NAMED} more" if len(failures) > _NAMED else ""
            raise CommandError(f"{len(failures)} could not be expired: {named}{more}")

    def _count(self, older_than: dt.timedelta | None, disk: str | None) -> int:
        if not self.stderr.isatty():
            return 0
        try:
            return lifecycle.count_stale(older_than=older_than, disk=disk)
        except DatabaseError:
            return 0

    def _unless_the_database_fails(
        self, outcomes: Iterator[SweepOutcome]
    ) -> Iterator[SweepOutcome]:
        try:
            yield from outcomes
        except DatabaseError as error:
            raise CommandError(f"The database did not answer ({type(error).__name__}).") from error
