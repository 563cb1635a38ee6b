"""BackupEvent: what happened to a backup, when, why and by whom. Events are only ever added.

``record`` writes one with the compiled INSERT of the hot path, in the transaction of the change.
"""

from __future__ import annotations

import json
import logging
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Self

from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from backups_remote.actors import LONGEST_NAME, ActorKind, current_actor
from backups_remote.sql import insert

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable
    from uuid import UUID

logger = logging.getLogger("backups_remote.events")

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR

#: What stands in a log line without quotes.
_BARE: Final = re.compile(r"[\w.:/+-]+", re.ASCII)


class EventKind(models.TextChoices):
    """What happened. The values are stable."""

    CREATED = "created", _("Created")
    UPLOAD_STARTED = "upload_started", _("Upload started")
    UPLOAD_REPLACED = "upload_replaced", _("Upload replaced")
    REPORTED = "reported", _("Success reported")
    REPORT_REFUSED = "report_refused", _("Report refused")
    REPORT_TAKEN_BACK = "report_taken_back", _("Report taken back")
    RECOVERY_STARTED = "recovery_started", _("Recovery started")
    COMPLETED = "completed", _("Completed")
    RECOVERED = "recovered", _("Recovered")
    FAILED = "failed", _("Failed")
    UPLOAD_ABORTED = "upload_aborted", _("Upload aborted")
    LOCKED = "locked", _("Locked")
    UNLOCKED = "unlocked", _("Unlocked")
    COPY_ACCEPTED = "copy_accepted", _("Copy accepted")
    DOWNLOAD_LINK_ISSUED = "download_link_issued", _("Download link issued")
    RESTORE_STARTED = "restore_started", _("Restore started")
    RESTORE_COMPLETED = "restore_completed", _("Restore completed")
    RESTORE_FAILED = "restore_failed", _("Restore failed")
    RESTORE_CANCELLED = "restore_cancelled", _("Restore cancelled")
    DELETION_STARTED = "deletion_started", _("Deletion started")
    DELETION_REFUSED = "deletion_refused", _("Deletion refused")
    DELETED = "deleted", _("Deleted")
    FORGOTTEN = "forgotten", _("Forgotten")


class Note(NamedTuple):
    """What a change writes down beside itself; ``detail`` is in words and holds no secret."""

    kind: EventKind
    detail: str = ""


class Subject(NamedTuple):
    """What an event is about, by names that outlive the rows."""

    backup_uuid: UUID | None
    server_uuid: UUID
    server_name: str
    node_name: str


class BackupEventQuerySet(models.QuerySet["BackupEvent"]):
    """Events. They can be read and added."""

    def of_backup(self, uuid: UUID) -> Self:
        """The events of one backup, oldest first.

        By key, not by time: each is added under the lock of the row that it is about, while its
        time is told by the clock of whichever panel made the change.
        """
        return self.filter(backup_uuid=uuid).order_by("pk")

    def update(self, **kwargs: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: events are not changed."""
        raise TypeError(_APPEND_ONLY)

    def delete(self) -> NoReturn:
        """Refuse: only the sweep deletes events, once they are old."""
        raise TypeError(_APPEND_ONLY)

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: events are not changed."""
        raise TypeError(_APPEND_ONLY)

    def bulk_create(self, *args: Any, **kwargs: Any) -> list[BackupEvent]:
        """Add events; none that is there is overwritten."""
        if kwargs.get("update_conflicts"):
            raise TypeError(_APPEND_ONLY)
        return super().bulk_create(*args, **kwargs)

    def _prune(self, keys: Iterable[int]) -> int:
        """Delete the events with these keys, for the sweep alone; how many there were."""
        return models.QuerySet.delete(self.filter(pk__in=keys).order_by())[0]


class BackupEvent(models.Model):
    """Something that happened to a backup. It refers to no row, so that it outlives them all."""

    Kind = EventKind

    at = models.DateTimeField(_("at"), default=timezone.now, editable=False)
    kind = models.CharField(_("kind"), max_length=32, choices=EventKind.choices, editable=False)
    actor = models.CharField(
        _("actor"),
        max_length=16,
        choices=ActorKind.choices,
        default=ActorKind.CODE,
        editable=False,
    )
    actor_name = models.CharField(
        _("name of the actor"), max_length=LONGEST_NAME, blank=True, default="", editable=False
    )
    detail = models.TextField(_("detail"), blank=True, default="", editable=False)
    backup_uuid = models.UUIDField(
        _("UUID of the backup"),
        null=True,
        editable=False,
        help_text=_("Empty for a restore that ended without it being known of which backup."),
    )
    server_uuid = models.UUIDField(_("UUID of the server"), editable=False)
    server_name = models.CharField(_("server"), max_length=191, editable=False)
    node_name = models.CharField(
        _("node"),
        max_length=191,
        editable=False,
        help_text=_(
            "The node that makes the backup; for a restore, the one that the server is on."
        ),
    )

    objects = BackupEventQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)
        verbose_name = _("backup event")
        verbose_name_plural = _("backup events")
        indexes = [
            models.Index(fields=["backup_uuid", "-id"], name="backups_remote_events"),
            # For what the sweep prunes.
            models.Index(fields=["at"], name="backups_remote_events_at"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} ({self.backup_uuid or self.server_uuid})"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add the event; one that is there is not changed."""
        if not self._state.adding:  # safeguard: events-not-changed
            raise TypeError(_APPEND_ONLY)
        # An UPDATE of the row with this key is never tried.
        kwargs["force_insert"] = True
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: only the sweep deletes events, once they are old."""
        raise TypeError(_APPEND_ONLY)


_APPEND_ONLY: Final = "Events are only ever added: they are neither changed nor deleted."


def in_words(duration: dt.timedelta) -> str:
    """A duration in whole units, such as ``"7 h"``; in days from 48 hours on."""
    seconds = max(int(duration.total_seconds()), 0)
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min"
    return f"{seconds // _HOUR} h" if seconds < 2 * _DAY else f"{seconds // _DAY} days"


def record(alias: str, note: Note, subject: Subject) -> None:
    """Add an event within the transaction that is open on ``alias``; it is logged on commit."""
    actor = current_actor()
    insert(
        BackupEvent,
        alias,
        {
            "at": timezone.now(),
            "kind": note.kind.value,
            "actor": actor.kind.value,
            "actor_name": actor.name,
            "detail": note.detail,
            **subject._asdict(),
        },
    )
    if logger.isEnabledFor(logging.INFO):
        by = f"{actor.kind.value}:{actor.name}" if actor.name else actor.kind.value
        # safeguard: event-logged-on-commit
        transaction.on_commit(partial(_log, note, subject, by), using=alias, robust=True)


def _log(note: Note, subject: Subject, by: str) -> None:
    fields = {
        "event": note.kind.value,
        "backup": str(subject.backup_uuid or ""),
        "server": str(subject.server_uuid),
        "server_name": subject.server_name,
        "node": subject.node_name,
        "actor": by,
        "detail": note.detail,
    }
    line = " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())
    logger.info("%s", line, extra=fields)


def _quoted(value: str) -> str:
    """``value`` on one line, in quotes unless it is one plain word."""
    # safeguard: log-values-quoted
    return value if _BARE.fullmatch(value) else json.dumps(value)
