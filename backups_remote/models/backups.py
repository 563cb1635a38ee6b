"""Backup: an archive of a server, from the request for one to its end."""

from __future__ import annotations

from typing import Any, cast

from django.db import models, router, transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from backups_remote.models.archive_owners import refuse_owners
from backups_remote.models.events import EventKind, Note, record
from backups_remote.models.querysets import BackupQuerySet
from backups_remote.models.states import STATES, BackupState, Filled
from backups_remote.models.transitions import BackupTransitions


class Backup(BackupTransitions):
    """An archive of a server.

    ``backup_fields`` has its columns, ``states`` what they mean, ``transitions`` how they change.
    """

    objects = BackupQuerySet.as_manager()

    class Meta:
        base_manager_name = "written"
        ordering = ["-created_at", "-id"]
        verbose_name = _("backup")
        verbose_name_plural = _("backups")
        # One for each verb. Deleting has Django's own; starting one is a permission on servers.
        permissions = [
            ("download_backup", "Can download backup"),
            ("expire_backup", "Can expire backup"),
            ("forget_backup", "Can forget backup"),
            ("lock_backup", "Can lock backup"),
            ("restore_backup", "Can restore backup"),
            ("unlock_backup", "Can unlock backup"),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="backups_remote_newest"),
            models.Index(
                fields=["completed_at", "created_at"],
                condition=Q(completed_at__isnull=True),
                name="backups_remote_open",
            ),
            models.Index(
                fields=["deletion_started_at", "is_successful", "completed_at"],
                condition=Q(completed_at__isnull=False, is_successful=False)
                & Q(Filled("upload_id")),
                name="backups_remote_left_behind",
            ),
            models.Index(
                fields=["deletion_started_at"],
                condition=Q(deletion_started_at__isnull=False),
                name="backups_remote_deleting",
            ),
            models.Index(
                fields=["rotation_due", "completed_at"],
                condition=Q(rotation_due=True),
                name="backups_remote_rotation",
            ),
            # For the admin's lists of what there is little of among a million rows.
            models.Index(fields=["disk", "-created_at", "-id"], name="backups_remote_disk"),
            models.Index(
                fields=["-created_at", "-id"],
                condition=STATES[BackupState.FAILED],
                name="backups_remote_failed",
            ),
            models.Index(
                fields=["-created_at", "-id"],
                condition=Q(is_locked=True),
                name="backups_remote_locked",
            ),
            models.Index(
                fields=["-created_at", "-id"],
                condition=Q(is_recovered=True),
                name="backups_remote_recovered",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(is_successful=False) | Q(completed_at__isnull=False),
                name="backups_remote_success_has_ended",
            ),
            models.CheckConstraint(
                condition=Q(deletion_started_at__isnull=True)
                | Q(completed_at__isnull=False, is_successful=False),
                name="backups_remote_deleting_is_not_whole",
            ),
            models.CheckConstraint(
                condition=Q(upload_id="")
                | (
                    ~Q(object_key="")
                    & Q(part_size__isnull=False)
                    & Q(upload_started_at__isnull=False)
                    # The size of a streamed archive is not known before its report.
                    & (
                        Q(upload_size__isnull=False)
                        | Q(reported_at__isnull=True, is_successful=False)
                    )
                ),
                name="backups_remote_upload_is_described",
            ),
            models.CheckConstraint(
                condition=Q(part_size__isnull=True) | Q(part_size__gt=0),
                name="backups_remote_part_size_positive",
            ),
            models.CheckConstraint(
                condition=Q(completed_at__isnull=True) | Q(reported_etags__isnull=True),
                name="backups_remote_ended_keeps_no_etags",
            ),
        ]

    def __str__(self) -> str:
        return self.name or str(self.uuid)

    def delete(
        self,
        using: str | None = None,
        keep_parents: bool = False,
    ) -> tuple[int, dict[str, int]]:
        """Delete the row of a backup that owns no archive.

        Raises:
            BackupConflict: it owns one: see ``lifecycle.delete_backup``.

        """
        alias = using or router.db_for_write(type(self), instance=self)
        refuse_owners(Backup.objects.using(alias).filter(pk=self.pk))
        return super().delete(using=using, keep_parents=keep_parents)

    def save(self, **kwargs: Any) -> None:
        """Save what belongs to the host; a new backup takes its node and its disk from its server.

        Raises:
            ValueError: ``update_fields`` names a guarded column.

        """
        if not self._state.adding:
            super().save(**kwargs)
            return
        # The stubs know no unset foreign key.
        if cast("int | None", self.node_id) is None and cast("int | None", self.server_id):
            self.node_id = self.server.node_id
        if not self.disk:
            self.disk = self.server.disk_for_backups
        alias = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=alias):  # safeguard: event-with-creation
            super().save(**{**kwargs, "using": alias})
            record(alias, Note(EventKind.CREATED, f"on the disk {self.disk}"), self.subject)
