"""One verb over many backups: what was done, and what was not and why."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from backups_remote import lifecycle
from backups_remote.exceptions import (
    BackupConflict,
    BackupNotFound,
    BackupsRemoteError,
    DiskNotConfigured,
)
from backups_remote.lifecycle.finding import look_again
from backups_remote.models import Backup
from backups_remote.storage import get_backend
from backups_remote.types import SweepAction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: How many backups one action takes: each may mean several calls to a store, within one request.
#: It also keeps a confirmation below Django's DATA_UPLOAD_MAX_NUMBER_FIELDS.
AT_ONCE: Final = 500
#: How long an action goes on, in seconds: less than web servers wait for an answer.
PATIENCE: Final = 20.0
#: How many backups a message names.
_NAMED: Final = 10
_ENDS: Final = {
    SweepAction.COMPLETED: gettext_lazy("completed"),
    SweepAction.RECOVERED: gettext_lazy("recovered"),
    SweepAction.FAILED: gettext_lazy("failed"),
    SweepAction.UPLOAD_ABORTED: gettext_lazy("upload aborted"),
    SweepAction.DELETED: gettext_lazy("deleted"),
}


@dataclass
class Tally:
    """What came of an action."""

    done: list[Backup] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)
    outcomes: Counter[SweepAction] = field(default_factory=Counter)

    def refuse(self, backup: Backup, why: str) -> None:
        """Note that ``backup`` was left as it is."""
        self.refused.setdefault(why, []).append(str(backup))

    def in_words(self) -> str:
        """How many came to which end, of a sweep's outcomes."""
        return ", ".join(f"{count} {_ENDS[action]}" for action, count in self.outcomes.items())

    def complaints(self) -> Iterator[str]:
        """A sentence for each reason, naming the backups that it kept back."""
        for why, names in self.refused.items():
            named = ", ".join(names[:_NAMED])
            if len(names) > _NAMED:
                more = len(names) - _NAMED
                named += ngettext(" and %d more", " and %d more", more) % more
            yield _("Not done: %(backups)s. %(reason)s") % {"backups": named, "reason": why}


def lock(backups: Sequence[Backup]) -> Tally:
    """Lock them."""
    return _each(backups, _lock)


def unlock(backups: Sequence[Backup]) -> Tally:
    """Unlock them."""
    return _each(backups, _unlock)


def delete(backups: Sequence[Backup]) -> Tally:
    """Delete them, archive and row."""
    return _each(backups, lifecycle.delete_backup)


def expire(backups: Sequence[Backup]) -> Tally:
    """Bring them to their end, a few at a time so as to stop in between."""
    tally = Tally()
    give_up = time.monotonic() + PATIENCE
    step = lifecycle.DEFAULT_WORKERS
    for start in range(0, len(backups), step):
        few = {str(backup.uuid): backup for backup in backups[start : start + step]}
        if time.monotonic() > give_up:
            for backup in few.values():
                tally.refuse(backup, _out_of_time())
            continue
        rows = Backup.objects.filter(pk__in=[backup.pk for backup in few.values()])
        heard = set()
        for outcome in lifecycle.expire(rows):
            backup = few[outcome.subject]
            heard.add(outcome.subject)
            if outcome.action is SweepAction.ERROR:
                tally.refuse(backup, outcome.detail)
            else:
                tally.done.append(backup)
                tally.outcomes[outcome.action] += 1
        for uuid in few.keys() - heard:
            tally.refuse(few[uuid], _("There is nothing to expire."))
    return tally


def why_not_deletable(backup: Backup) -> str:
    """Why ``delete`` would refuse ``backup`` as it is now; empty if it would not."""
    state = backup.state
    if state is Backup.State.DELETING:
        return ""
    if state not in {Backup.State.COMPLETED, Backup.State.FAILED}:
        return _("The backup has not ended yet.")
    return _("The backup is locked.") if backup.is_locked else ""


def stays_on_node(backup: Backup) -> bool:
    """Whether deleting ``backup`` leaves its archive where it is: on its node's own disk."""
    try:
        return not get_backend(backup.disk).presigned_uploads
    except DiskNotConfigured:
        return False


def _each(backups: Sequence[Backup], verb: Callable[[Backup], None]) -> Tally:
    tally = Tally()
    give_up = time.monotonic() + PATIENCE
    for backup in backups:
        if time.monotonic() > give_up:
            tally.refuse(backup, _out_of_time())
            continue
        try:
            verb(backup)
        except BackupsRemoteError as error:
            tally.refuse(backup, _reason(backup, error))
        else:
            tally.done.append(backup)
    return tally


def _reason(backup: Backup, error: BackupsRemoteError) -> str:
    if isinstance(error, BackupNotFound):
        return _("It was deleted meanwhile.")
    if backup.state is Backup.State.DELETING:
        return _("%(error)s The deletion has begun; the next sweep goes on with it.") % {
            "error": error
        }
    return str(error)


def _out_of_time() -> str:
    return _("There was no time left: repeat the action for these.")


def _lock(backup: Backup) -> None:
    if lifecycle.lock_backup(backup):
        return
    look_again(backup)
    if backup.is_locked:
        raise BackupConflict(_("It is locked already."))
    raise BackupConflict(_("There is no archive to protect."))


def _unlock(backup: Backup) -> None:
    if lifecycle.unlock_backup(backup):
        return
    look_again(backup)
    raise BackupConflict(_("It is not locked."))
