"""Calls a verb of the lifecycle for many backups: what was done, what was not, and why."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from backups_remote import lifecycle
from backups_remote.admin.reasons import translated
from backups_remote.exceptions import (
    BackupNotFound,
    BackupsRemoteError,
    DiskNotConfigured,
)
from backups_remote.lifecycle.lookup import reload
from backups_remote.lifecycle.references import why_protected
from backups_remote.lifecycle.rules.deletion import (
    can_be_erased,
    has_its_disk,
    is_configured,
    is_gone,
    obstacle_to_deletion,
    obstacle_to_forgetting,
)
from backups_remote.models import Backup
from backups_remote.types import SweepAction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: How many backups one action accepts: each may need several store calls within one request. It
#: also keeps a confirmation below Django's DATA_UPLOAD_MAX_NUMBER_FIELDS.
MAX_SELECTED: Final = 500
#: After how many seconds an action stops: less than web servers wait for an answer.
TIME_LIMIT: Final = 20.0
#: How many backups a message names.
_NAMED: Final = 10
_LABELS: Final = {
    SweepAction.COMPLETED: gettext_lazy("completed"),
    SweepAction.RECOVERED: gettext_lazy("recovered"),
    SweepAction.FAILED: gettext_lazy("failed"),
    SweepAction.UPLOAD_ABORTED: gettext_lazy("upload aborted"),
    SweepAction.DELETED: gettext_lazy("deleted"),
}


@dataclass
class ActionResult:
    """The backups for which an action was done, and those for which it was not, by reason."""

    done: list[Backup] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)
    outcomes: Counter[SweepAction] = field(default_factory=Counter)
    #: Keys of objects that were left in the store, because they are not the backups' own.
    left: list[str] = field(default_factory=list)

    def refuse(self, backup: Backup, reason: str) -> None:
        """Record that nothing was done for ``backup``."""
        self.refused.setdefault(reason, []).append(str(backup))

    def summary(self) -> str:
        """The number of backups per outcome of a sweep."""
        return ", ".join(f"{count} {_LABELS[action]}" for action, count in self.outcomes.items())

    def warnings(self) -> Iterator[str]:
        """A message for each reason, naming the backups to which it applies."""
        for reason, names in self.refused.items():
            yield _("Not done: %(backups)s. %(reason)s") % {
                "backups": _first_of(names),
                "reason": reason,
            }
        if self.left:
            yield _("Left in the store, because it is not the deleted backup's own: %(keys)s.") % {
                "keys": _first_of(self.left)
            }


def lock(backups: Sequence[Backup]) -> ActionResult:
    """Protect backups from deletion."""
    return _each(backups, _lock)


def unlock(backups: Sequence[Backup]) -> ActionResult:
    """Allow backups to be deleted again."""
    return _each(backups, _unlock)


def delete(backups: Sequence[Backup]) -> ActionResult:
    """Delete archives and rows."""
    left: list[str] = []

    def verb(backup: Backup) -> str:
        if lifecycle.delete_backup(backup) is not None:
            left.append(backup.object_key)
        return ""

    result = _each(backups, verb)
    result.left = left
    return result


def expire(backups: Sequence[Backup]) -> ActionResult:
    """Expire ``backups``, a few at a time so that the time limit is kept."""
    result = ActionResult()
    give_up = time.monotonic() + TIME_LIMIT
    step = lifecycle.DEFAULT_WORKERS
    for start in range(0, len(backups), step):
        few = {str(backup.uuid): backup for backup in backups[start : start + step]}
        if time.monotonic() > give_up:
            for backup in few.values():
                result.refuse(backup, _out_of_time())
            continue
        rows = Backup.objects.filter(pk__in=[backup.pk for backup in few.values()])
        reported = set()
        for outcome in lifecycle.expire(rows):
            if outcome.subject not in few:
                continue  # about a disk that is not configured: reported per backup below
            backup = few[outcome.subject]
            reported.add(outcome.subject)
            if outcome.action in {SweepAction.ERROR, SweepAction.NOTICE}:
                result.refuse(backup, outcome.detail)
            else:
                result.done.append(backup)
                result.outcomes[outcome.action] += 1
        for uuid in few.keys() - reported:
            result.refuse(few[uuid], why_not_expired(few[uuid]))
    return result


def why_not_usable(disk: str) -> str:
    """Why nothing can be done on a backup's disk; "" if it is configured."""
    if is_gone(disk):
        return _("Its disk is not configured.")
    if not is_configured(disk):
        return _("Its disk cannot be set up: correct its options first.")
    return ""


def why_not_deleted(backup: Backup) -> str:
    """Why ``delete`` would refuse ``backup`` now; "" if it would not."""
    if not has_its_disk(backup):
        return _why_not_erasable(backup)
    obstacle = obstacle_to_deletion(backup, backup.server)
    return why_protected(backup) if obstacle is None else translated(obstacle.value)


def why_not_forgotten(backup: Backup) -> str:
    """Why ``lifecycle.forget_backup`` would refuse ``backup`` now; "" if it would not."""
    if not is_gone(backup.disk):
        return why_not_usable(backup.disk) or _("Its disk is configured: delete it instead.")
    obstacle = obstacle_to_forgetting(backup, backup.server)
    return why_protected(backup) if obstacle is None else translated(obstacle.value)


def why_not_expired(backup: Backup) -> str:
    """Why ``expire`` would do nothing for ``backup``."""
    if not has_its_disk(backup):
        return why_not_usable(backup.disk)
    if backup.state is Backup.State.REPORTED:
        return _("The store is completing it; try again in a few minutes.")
    return _("There is nothing to expire.")


def stays_on_node(backup: Backup) -> bool:
    """Whether a deletion of ``backup`` leaves its archive on its node's own disk."""
    return is_configured(backup.disk) and not can_be_erased(backup)


def _first_of(names: Sequence[str]) -> str:
    """The first of ``names``, and how many more there are."""
    named = ", ".join(names[:_NAMED])
    if len(names) > _NAMED:
        more = len(names) - _NAMED
        named += ngettext(" and %d more", " and %d more", more) % more
    return named


def _each(backups: Sequence[Backup], verb: Callable[[Backup], str]) -> ActionResult:
    """Call ``verb`` for each backup; it returns why it did nothing, "" if it did."""
    result = ActionResult()
    give_up = time.monotonic() + TIME_LIMIT
    for backup in backups:
        if time.monotonic() > give_up:
            result.refuse(backup, _out_of_time())
            continue
        try:
            reason = verb(backup)
        except BackupsRemoteError as error:
            reason = _reason(backup, error)
        if reason:
            result.refuse(backup, reason)
        else:
            result.done.append(backup)
    return result


def _reason(backup: Backup, error: BackupsRemoteError) -> str:
    if isinstance(error, BackupNotFound):
        return _("It was deleted in the meantime.")
    if isinstance(error, DiskNotConfigured) and is_gone(backup.disk):
        return _why_not_erasable(backup)
    if backup.state is Backup.State.DELETING:
        return _("%(error)s The deletion has begun; the next sweep will continue it.") % {
            "error": translated(error)
        }
    return translated(error)


def _why_not_erasable(backup: Backup) -> str:
    if is_gone(backup.disk):
        return _("Its disk is not configured, so its archive cannot be deleted.")
    return why_not_usable(backup.disk)


def _out_of_time() -> str:
    return _("The time limit was reached: repeat the action for these.")


def _lock(backup: Backup) -> str:
    if lifecycle.lock_backup(backup):
        return ""
    reload(backup)
    return _("It is already locked.") if backup.is_locked else _("There is no archive to lock.")


def _unlock(backup: Backup) -> str:
    if lifecycle.unlock_backup(backup):
        return ""
    reload(backup)
    return _("It is not locked.")
