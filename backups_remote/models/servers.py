"""Server: what is backed up and restored, one restore at a time."""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from django.db import models, router, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from backups_remote.conf import app_settings
from backups_remote.database import retrying
from backups_remote.exceptions import StatusChanged
from backups_remote.models.disks import choose_disk, validate_disk
from backups_remote.models.events import EventKind, Note, Subject, in_words, record
from backups_remote.models.nodes import Node
from backups_remote.models.saving import GuardedModel, GuardedQuerySet
from backups_remote.sql import Guard, update_if

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable

    from backups_remote.models.backups import Backup

#: The status of a server while a backup is being restored onto it.
RESTORING: Final = "restoring_backup"
#: The columns of a restore on a server without one.
NOT_RESTORING: Final = {
    "restoring_backup": None,
    "restore_started_at": None,
    "restore_calling_since": None,
}
_IF_RESTORING: Final = Guard(Q(status=RESTORING))  # safeguard: restore-clears-own-status


class ServerQuerySet(GuardedQuerySet["Server"]):
    """Servers, whose status never changes without the restore that it stands for."""

    def update(self, **kwargs: Any) -> int:
        """Update; a status that is set without its backup forgets which one was being restored."""
        if "status" in kwargs:  # safeguard: updated-status-clears-restore
            kwargs = {**NOT_RESTORING, **kwargs}
        return super().update(**kwargs)


class Server(GuardedModel):
    """A game server. Its backups stay with the node that made them when it moves."""

    GUARDED: ClassVar = {
        "restoring_backup": "a restore",
        "restore_started_at": "a restore",
        "restore_calling_since": "a restore",
    }

    uuid = models.UUIDField(_("UUID"), default=uuid.uuid4, unique=True)
    name = models.CharField(_("name"), max_length=191)
    node = models.ForeignKey(
        Node, on_delete=models.PROTECT, related_name="servers", verbose_name=_("node")
    )
    status = models.CharField(  # noqa: DJ001 - null says that nothing is going on
        _("status"),
        max_length=64,
        null=True,
        blank=True,
        default=None,
        help_text=_("Empty when nothing is going on."),
    )
    restoring_backup = models.ForeignKey(
        "Backup",
        on_delete=models.SET_NULL,
        related_name="+",
        null=True,
        blank=True,
        editable=False,
        verbose_name=_("backup being restored"),
        help_text=_("Empty while the status says that a restore is going on: it is not known."),
    )
    restore_started_at = models.DateTimeField(
        _("restore started"), null=True, blank=True, editable=False
    )
    restore_calling_since = models.DateTimeField(
        _("daemon called for the restore"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("Empty once its node's daemon has answered."),
    )
    disk = models.CharField(
        _("disk"),
        max_length=191,
        blank=True,
        default="",
        db_default="",
        validators=[validate_disk],
        help_text=_("The disk of new backups. Empty: that of its node."),
    )
    backup_limit = models.PositiveIntegerField(
        _("backup limit"), null=True, blank=True, help_text=_("Empty: no limit.")
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    objects = ServerQuerySet.as_manager()

    #: The status that the row had when it was read or saved last.
    _loaded_status: str | None = None

    class Meta:
        base_manager_name = "written"
        ordering = ["name", "id"]
        verbose_name = _("server")
        verbose_name_plural = _("servers")
        permissions = [("back_up_server", "Can back up server")]
        indexes = [
            # For the few that are being restored among all servers.
            models.Index(fields=["status", "restore_started_at"], name="backups_remote_restoring"),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *, using: str | None = None, **kwargs: Any) -> None:
        """Save what belongs to the host; the status only if it was changed on this instance.

        A status that is set here replaces the one that was read, with the backup that was being
        restored, and no other: a restore that began since is not ended.

        Raises:
            ValueError: ``update_fields`` names a guarded column.
            StatusChanged: a status was set, and the row has another than the one that was read.

        """
        if self._state.adding:
            super().save(using=using, **kwargs)
            self._loaded_status = self.status
        else:
            self._update(using or router.db_for_write(type(self), instance=self), **kwargs)

    def _update(
        self, alias: str, update_fields: Iterable[str] | None = None, **kwargs: Any
    ) -> None:
        names = self.fields_to_save(update_fields)
        # safeguard: unchanged-status-not-saved
        sets_status = "status" in names and self.status != self._loaded_status
        others = [name for name in names if name != "status"]
        with transaction.atomic(using=alias):
            if sets_status:
                self._set_status(alias)
            super().save(using=alias, update_fields=others, **kwargs)
        if sets_status:
            self._loaded_status = self.status

    def _set_status(self, alias: str) -> None:
        changed = (
            Server.objects.using(alias)
            .filter(
                Q(status=self._loaded_status),
                pk=self.pk,  # safeguard: saved-status-replaces-the-read
            )
            .update(status=self.status)
        )
        if not changed:
            raise StatusChanged
        self._restores_nothing()

    def _restores_nothing(self) -> None:
        for name, value in NOT_RESTORING.items():
            setattr(self, name, value)

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        """Remember the status as it was loaded."""
        server = super().from_db(*args, **kwargs)
        server._loaded_status = server.__dict__.get("status")  # noqa: SLF001
        return server

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        """Remember the status as it was loaded."""
        super().refresh_from_db(*args, **kwargs)
        self._loaded_status = self.__dict__.get("status")

    @property
    def disk_for_backups(self) -> str:
        """The disk of a new backup that names none: the server's, its node's, or the default."""
        return choose_disk(server=self.disk, node=self.node.disk)

    @property
    def is_restoring(self) -> bool:
        """Whether a restore onto this server is going on and has not overrun its time limit."""
        # safeguard: overdue-restore-allows-deletion
        return self.status == RESTORING and not self.is_restore_overdue

    @property
    def is_restore_overdue(self) -> bool:
        """Whether a restore is shown that began longer than ``RESTORE_TIMEOUT`` ago."""
        if self.status != RESTORING or self.restore_started_at is None:
            return False
        return timezone.now() - self.restore_started_at >= app_settings.restore_timeout

    def is_restoring_from(self, backup: Backup) -> bool:
        """Whether ``backup`` may be the one that is being restored onto this server now.

        Where the row does not say which one it is, it may be any.
        """
        # safeguard: restore-protects-backup
        return self.is_restoring and self.restoring_backup_id in {None, backup.pk}

    def end_overdue_restore(self, reason: str = "") -> bool:
        """End the restore that this instance saw, and no other that has begun since, as failed."""
        seen = Server.objects.using(router.db_for_write(Server)).filter(
            pk=self.pk,
            status=RESTORING,
            restoring_backup=self.restoring_backup_id,
            restore_started_at=self.restore_started_at,
        )
        about = self.restoring_backup
        began = self.restore_started_at
        silence = "" if began is None else f" for {in_words(timezone.now() - began)}"
        note = Note(EventKind.RESTORE_FAILED, reason or f"no end was reported{silence}")
        # safeguard: overdue-restore-guard
        end = partial(seen.update, status=None, updated_at=timezone.now())
        ended = _changed(seen.db, note, lambda: self._subject(about), lambda: bool(end()))
        if ended:
            self.status = self._loaded_status = None
            self._restores_nothing()
        return ended

    def begin_restore(self, backup: Backup, *, calling: bool = False) -> bool:
        """Show that ``backup`` is being restored onto this server, unless it is busy.

        ``calling`` says that its node's daemon is called next; ``end_restore_call`` ends that.
        """
        # safeguard: restore-needs-idle-server
        idle = Server.objects.using(self._state.db).filter(pk=self.pk, status__isnull=True)
        now = timezone.now()
        begin = partial(  # safeguard: restore-recorded
            idle.update,
            status=RESTORING,
            restoring_backup=backup,
            restore_started_at=now,
            restore_calling_since=now if calling else None,
            updated_at=now,
        )
        note = Note(EventKind.RESTORE_STARTED, backup.archive_in_words)
        began = _changed(idle.db, note, lambda: self._subject(backup), lambda: bool(begin()))
        if began:
            backup.restore_began_at = now
        return began

    @classmethod
    def end_restore_call(cls, backup: Backup) -> None:
        """Note that the daemon's answer to the restore that ``backup`` began is there."""
        alias = router.db_for_write(cls)
        called = cls.objects.using(alias).filter(
            pk=backup.server_id, restore_calling_since=backup.restore_began_at
        )
        retrying(alias, lambda: called.update(restore_calling_since=None))

    @classmethod
    def end_restore(
        cls,
        pk: int,
        backup: Backup,
        kind: EventKind,
        detail: str = "",
        *,
        began_at: dt.datetime | None = None,
    ) -> bool:
        """Clear the status "restoring" of the server if it is ``backup`` that is being restored.

        With ``began_at``, only if that very restore is going on, and not a later one of the same
        backup. If the row does not say which backup it is, any backup will do. ``kind``
        and ``detail`` are those of the event.
        """
        changes = {
            "status": None,
            **NOT_RESTORING,
            "updated_at": timezone.now(),
        }

        def end() -> bool:
            # safeguard: unknown-restore-any-report
            seen = (backup.pk, None)
            # safeguard: restore-report-matches-backup
            restoring: list[dict[str, Any]] = [{"restoring_backup": key} for key in seen]
            if began_at is not None:  # safeguard: cancelled-restore-matches-start
                restoring[0]["restore_started_at"] = began_at
            return any(
                update_if(cls(pk=pk), _IF_RESTORING, same=same, changes=changes)
                for same in restoring
            )

        alias = router.db_for_write(cls)
        return _changed(alias, Note(kind, detail), lambda: backup.subject_on_server, end)

    def _subject(self, backup: Backup | None) -> Subject:
        """What an event of a restore onto this server is about."""
        uuid = None if backup is None else backup.uuid
        return Subject(uuid, self.uuid, self.name, self.node.name)


def _changed(
    alias: str, note: Note, subject: Callable[[], Subject], change: Callable[[], bool]
) -> bool:
    """Whether ``change`` changed a row, committed together with the event that tells of it."""

    def change_and_tell() -> bool:
        with transaction.atomic(using=alias):  # safeguard: event-with-restore
            changed = change()
            if changed:  # safeguard: event-of-restore-only
                record(alias, note, subject())
        return changed

    return retrying(alias, change_and_tell)
