"""Node, Server and Backup: what is remembered.

A backup's state is derived from its columns (see ``Backup.State``) and changes only through
guarded transitions: one conditional UPDATE whose WHERE names the states that it may leave. A
transition that finds no such row answers False: somebody else was faster, look again.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final, Self, cast

from django.db import models, router
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from backups_remote import crypto
from backups_remote.conf import app_settings
from backups_remote.sql import Guard, update_if

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable
    from uuid import UUID

    from backups_remote.types import Report, StoredObject

#: The word that a server's status shows while a backup is being restored onto it.
RESTORING: Final = "restoring_backup"


class Node(models.Model):
    """A machine that runs the daemon. Creating one makes its token."""

    uuid = models.UUIDField(_("UUID"), default=uuid.uuid4, unique=True)
    name = models.CharField(_("name"), max_length=191, unique=True)
    token_id = models.CharField(
        _("token id"),
        max_length=crypto.TOKEN_ID_LENGTH,
        unique=True,
        default=crypto.new_token_id,
        editable=False,
    )
    encrypted_token = models.TextField(
        _("token, encrypted"), default=crypto.new_encrypted_token, editable=False
    )
    url = models.URLField(_("daemon URL"), blank=True, default="")
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        ordering = ["name"]
        verbose_name = _("node")
        verbose_name_plural = _("nodes")

    def __str__(self) -> str:
        return self.name

    @property
    def token(self) -> str:
        """The 64-character token in the clear.

        Raises:
            TokenUnreadable: it was encrypted under a SECRET_KEY that is gone.

        """
        return crypto.decrypt(self.encrypted_token)

    @property
    def bearer_token(self) -> str:
        """What the daemon sends: ``"<token_id>.<token>"``."""
        return f"{self.token_id}.{self.token}"

    def rotate_token(self) -> str:
        """Replace token and token id at once, save them, and return the new bearer token."""
        self.token_id = crypto.new_token_id()
        self.encrypted_token = crypto.new_encrypted_token()
        self.save(update_fields=["token_id", "encrypted_token", "updated_at"])
        return self.bearer_token


class Server(models.Model):
    """A game server. Its backups stay with the node that made them when it moves."""

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
    backup_limit = models.PositiveIntegerField(
        _("backup limit"), null=True, blank=True, help_text=_("Empty: no limit.")
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        ordering = ["name", "id"]
        verbose_name = _("server")
        verbose_name_plural = _("servers")

    def __str__(self) -> str:
        return self.name

    @classmethod
    def is_restoring(cls, pk: int) -> bool:
        """Whether a restore onto the server is going on."""
        here = cls.objects.using(router.db_for_write(cls))
        return here.filter(pk=pk, status=RESTORING).exists()

    @classmethod
    def begin_restoring(cls, pk: int) -> bool:
        """Show that a restore onto the server is going on, unless something else is."""
        idle = cls.objects.filter(pk=pk, status__isnull=True)
        return bool(idle.update(status=RESTORING, updated_at=timezone.now()))

    @classmethod
    def end_restoring(cls, pk: int) -> bool:
        """Clear the server's status if, and only if, it says that a restore is going on."""
        restoring = cls.objects.filter(pk=pk, status=RESTORING)
        return bool(restoring.update(status=None, updated_at=timezone.now()))


class BackupState(models.TextChoices):
    """Where a backup is in its life.

    ::

        PENDING ──▶ UPLOADING ──▶ REPORTED ──▶ COMPLETED ──▶ DELETING ──▶ (no row)
           │            │             │                          ▲
           └────────────┴─────────────┴──────▶ FAILED ───────────┘

    A backup on the node's own disk goes straight from PENDING to its end, and from FAILED to
    COMPLETED when its node says so after all.
    """

    PENDING = "pending", _("Pending")
    UPLOADING = "uploading", _("Uploading")
    REPORTED = "reported", _("Being completed")
    COMPLETED = "completed", _("Completed")
    FAILED = "failed", _("Failed")
    DELETING = "deleting", _("Being deleted")


_OPEN: Final = Q(completed_at__isnull=True)
_UNREPORTED: Final = _OPEN & Q(reported_at__isnull=True)
_ENDED: Final = Q(completed_at__isnull=False, deletion_started_at__isnull=True)
_STATES: Final = {
    BackupState.PENDING: _UNREPORTED & Q(upload_id=""),
    BackupState.UPLOADING: _UNREPORTED & ~Q(upload_id=""),
    BackupState.REPORTED: _OPEN & Q(reported_at__isnull=False),
    BackupState.COMPLETED: _ENDED & Q(is_successful=True),
    BackupState.FAILED: _ENDED & Q(is_successful=False),
    BackupState.DELETING: Q(deletion_started_at__isnull=False),
}
_UPLOADING, _REPORTED, _COMPLETED, _FAILED = (
    _STATES[state]
    for state in (
        BackupState.UPLOADING,
        BackupState.REPORTED,
        BackupState.COMPLETED,
        BackupState.FAILED,
    )
)

# What a row must be for a transition to take place.
_IF_UNREPORTED: Final = Guard(_UNREPORTED)
_IF_UPLOADING: Final = Guard(_UPLOADING)
_IF_REPORTED: Final = Guard(_REPORTED)
_IF_RECOVERING: Final = Guard(_REPORTED & Q(is_recovered=True))
_IF_FAILED: Final = Guard(_FAILED)
_IF_UPLOADING_OR_FAILED: Final = Guard(_UPLOADING | _FAILED)
_IF_UNREPORTED_OR_FAILED: Final = Guard(_UNREPORTED | _FAILED)
_IF_ENDED_UNLOCKED: Final = Guard(_ENDED & Q(is_locked=False))
_IF_DELETING: Final = Guard(_STATES[BackupState.DELETING])
_IF_LOCKABLE: Final = Guard((_OPEN | _COMPLETED) & Q(is_locked=False))
_IF_LOCKED: Final = Guard(Q(is_locked=True))


class Filled(models.Func):
    """Whether a text is not empty, with the empty one written into the statement.

    SQLite does not take a partial index whose condition it would have to prove from a parameter.
    """

    template = "(%(expressions)s <> '')"
    arity = 1
    output_field = models.BooleanField()


class BackupQuerySet(models.QuerySet["Backup"]):
    """The named sets of backups."""

    def in_state(self, state: BackupState) -> Self:
        """Backups in ``state``."""
        return self.filter(_STATES[state])

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

    def failed(self) -> Self:
        """Backups that ended without an archive."""
        return self.in_state(BackupState.FAILED)

    def deleting(self) -> Self:
        """Backups whose archive is being deleted, or was when the panel died."""
        return self.in_state(BackupState.DELETING)

    def unfinished(self) -> Self:
        """Backups that are neither completed nor failed."""
        return self.filter(_OPEN)

    def counted(self) -> Self:
        """Backups that count towards a server's limit: the whole ones and those under way."""
        return self.filter(_OPEN | _STATES[BackupState.COMPLETED])

    def rotatable(self) -> Self:
        """Whole backups that may give way to newer ones, the oldest first."""
        return self.completed().filter(is_locked=False).order_by("completed_at", "pk")

    def made_by(self, node: Node) -> Self:
        """Backups that ``node`` makes, wherever their server is now."""
        return self.filter(node=node)

    def restorable_on(self, node: Node) -> Self:
        """Backups whose server is on ``node`` now, whoever made them."""
        return self.filter(server__node=node)

    def silent_since(self, moment: dt.datetime) -> Self:
        """Unfinished backups without a report whose last sign of life in the database is older.

        Every such row was created before ``moment``, which is what the partial index holds.
        """
        return self.filter(_UNREPORTED, created_at__lte=moment).filter(
            Q(upload_started_at__isnull=True) | Q(upload_started_at__lte=moment)
        )

    def settleable(self, moment: dt.datetime) -> Self:
        """Reported backups whose claim, if any, is over at ``moment``."""
        return self.reported().filter(Q(claimed_until__isnull=True) | Q(claimed_until__lte=moment))

    def left_behind(self) -> Self:
        """Failed backups whose upload could not be aborted yet."""
        return self.failed().filter(Filled("upload_id"))


class Backup(models.Model):
    """An archive of a server, from the wish for one to its end.

    ``upload_id`` of a failed backup is emptied when its upload is gone from the store, so a
    failed one that still has it is waiting for that.
    """

    State = BackupState

    uuid = models.UUIDField(_("UUID"), default=uuid.uuid4, unique=True, editable=False)
    server = models.ForeignKey(
        Server, on_delete=models.PROTECT, related_name="backups", verbose_name=_("server")
    )
    node = models.ForeignKey(
        Node,
        on_delete=models.PROTECT,
        related_name="backups",
        verbose_name=_("node"),
        help_text=_("The node that makes this backup; kept when the server moves."),
    )
    name = models.CharField(_("name"), max_length=191, blank=True, default="")
    ignored_files = models.JSONField(_("ignored files"), default=list, blank=True)
    disk = models.CharField(_("disk"), max_length=191, blank=True)
    checksum = models.CharField(_("checksum"), max_length=191, blank=True, default="")
    size = models.PositiveBigIntegerField(_("size"), default=0, help_text=_("In bytes."))

    upload_id = models.CharField(_("upload id"), max_length=1024, blank=True, default="")
    upload_size = models.PositiveBigIntegerField(
        _("announced size"), null=True, blank=True, help_text=_("In bytes.")
    )
    part_size = models.PositiveBigIntegerField(
        _("part size"), null=True, blank=True, help_text=_("In bytes.")
    )
    upload_mark = models.CharField(
        _("upload mark"),
        max_length=64,
        blank=True,
        default="",
        help_text=_("Random text in the object's metadata that tells this upload from others."),
    )
    upload_started_at = models.DateTimeField(
        _("upload started"), null=True, blank=True, help_text=_("When URLs were issued last.")
    )
    object_key = models.CharField(_("object key"), max_length=1024, blank=True, default="")
    version_id = models.CharField(_("version id"), max_length=1024, blank=True, default="")

    reported_at = models.DateTimeField(_("reported"), null=True, blank=True)
    reported_etags = models.JSONField(_("reported ETags"), null=True, blank=True, editable=False)
    claimed_until = models.DateTimeField(
        _("claimed until"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("Until when whoever settles this backup has it to itself."),
    )

    is_successful = models.BooleanField(_("successful"), default=False)
    is_recovered = models.BooleanField(
        _("recovered"),
        default=False,
        help_text=_("Completed from its whole upload without a report: the checksum is unknown."),
    )
    is_locked = models.BooleanField(_("locked"), default=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)
    completed_at = models.DateTimeField(_("ended"), null=True, blank=True)
    deletion_started_at = models.DateTimeField(_("deletion started"), null=True, blank=True)

    objects = BackupQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name = _("backup")
        verbose_name_plural = _("backups")
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
            # For the admin's lists of what there is little of among a million rows.
            models.Index(fields=["disk", "-created_at", "-id"], name="backups_remote_disk"),
            models.Index(
                fields=["-created_at", "-id"],
                condition=_STATES[BackupState.FAILED],
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
                    & Q(upload_size__isnull=False)
                    & Q(part_size__isnull=False)
                    & Q(upload_started_at__isnull=False)
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

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a new backup takes its node from its server and its disk from the settings."""
        if self._state.adding:
            # The stubs know no unset foreign key.
            if cast("int | None", self.node_id) is None and cast("int | None", self.server_id):
                self.node_id = self.server.node_id
            if not self.disk:
                self.disk = app_settings.default_disk
        super().save(*args, **kwargs)

    @property
    def state(self) -> BackupState:
        """Where this backup is in its life; the querysets say the same in SQL."""
        if self.deletion_started_at is not None:
            return BackupState.DELETING
        if self.completed_at is not None:
            return BackupState.COMPLETED if self.is_successful else BackupState.FAILED
        if self.reported_at is not None:
            return BackupState.REPORTED
        return BackupState.UPLOADING if self.upload_id else BackupState.PENDING

    @property
    def server_uuid(self) -> UUID:
        """The server's uuid; read along with the row where a node's call looked it up."""
        known: UUID | None = self.__dict__.get("known_server_uuid")
        return self.server.uuid if known is None else known

    @property
    def silent_from(self) -> dt.datetime:
        """The last sign of life that the database knows of."""
        return self.upload_started_at or self.created_at

    def reports_the_same(self, report: Report) -> bool:
        """Whether ``report`` repeats the success that is recorded here."""
        return report.successful and (self.checksum, self.size) == (report.checksum, report.size)

    # Guarded transitions. Each is one UPDATE, committed by itself.

    def start_upload(
        self, *, upload_id: str, mark: str, key: str, size: int, part_size: int
    ) -> bool:
        """PENDING or UPLOADING → UPLOADING, replacing the very upload that this instance saw."""
        return self._move(
            _IF_UNREPORTED,
            {"upload_id": self.upload_id},
            upload_id=upload_id,
            upload_mark=mark,
            object_key=key,
            upload_size=size,
            part_size=part_size,
            upload_started_at=timezone.now(),
        )

    def touch_upload(self) -> bool:
        """UPLOADING → UPLOADING: URLs are issued again, which is a sign of life."""
        same = {"upload_id": self.upload_id}
        return self._move(_IF_UPLOADING, same, upload_started_at=timezone.now())

    def record_success(
        self,
        *,
        checksum: str,
        size: int,
        etags: Iterable[str],
        claimed_until: dt.datetime,
        recovered: bool = False,
    ) -> bool:
        """UPLOADING → REPORTED, claimed at once by whoever recorded it."""
        return self._move(
            _IF_UPLOADING,
            {"upload_id": self.upload_id, "upload_started_at": self.upload_started_at},
            checksum=checksum,
            size=size,
            reported_etags=list(etags),
            reported_at=timezone.now(),
            claimed_until=claimed_until,
            is_recovered=recovered,
        )

    def claim(self, until: dt.datetime, *, by_force: bool = False) -> bool:
        """Take a reported backup for settling, if nobody has it (or ``by_force``)."""
        if by_force:
            return self._move(_IF_REPORTED, claimed_until=until)
        now = timezone.now()
        free = Backup.objects.settleable(now).filter(pk=self.pk)
        claimed = bool(free.update(claimed_until=until, updated_at=now))
        if claimed:
            self.claimed_until = until
        return claimed

    def release(self) -> bool:
        """Let others settle a reported backup, unless the claim is another's by now."""
        return self._move(_IF_REPORTED, self._claimed, claimed_until=None)

    def take_back_report(self) -> bool:
        """REPORTED → UPLOADING: the store refused the parts, another report may be right."""
        return self._move(
            _IF_REPORTED,
            self._claimed,
            checksum="",
            size=0,
            reported_at=None,
            reported_etags=None,
            claimed_until=None,
            is_recovered=False,
        )

    def adopt_checksum(self, report: Report) -> bool:
        """Give a recovery under way the checksum that its node reported after all."""
        return self._move(
            _IF_RECOVERING, {"size": report.size}, checksum=report.checksum, is_recovered=False
        )

    def complete_uploaded(self, proof: StoredObject) -> bool:
        """REPORTED → COMPLETED: ``proof`` is the whole object in the store."""
        same = {"upload_id": self.upload_id}
        return self._complete(_IF_REPORTED, same, version_id=proof.version_id)

    def complete_proven(
        self, proof: StoredObject, *, checksum: str = "", recovered: bool = False
    ) -> bool:
        """UPLOADING or FAILED → COMPLETED: the whole object was in the store all along."""
        return self._complete(
            _IF_UPLOADING_OR_FAILED,
            {"upload_mark": self.upload_mark},
            checksum=checksum,
            size=proof.size,
            version_id=proof.version_id,
            is_recovered=recovered,
        )

    def complete_on_node(self, report: Report) -> bool:
        """PENDING, UPLOADING or FAILED → COMPLETED: the archive lies on the node's own disk."""
        return self._complete(
            _IF_UNREPORTED_OR_FAILED,
            checksum=report.checksum,
            size=report.size,
            reported_at=timezone.now(),
        )

    def fail(self) -> bool:
        """PENDING or UPLOADING → FAILED. The upload, if any, is still to be aborted."""
        seen = {"upload_id": self.upload_id, "upload_started_at": self.upload_started_at}
        return self._fail(_IF_UNREPORTED, seen)

    def fail_reported(self) -> bool:
        """REPORTED → FAILED: the store holds neither the upload nor the object."""
        return self._fail(_IF_REPORTED, self._claimed)

    def forget_upload(self) -> bool:
        """Note that a failed backup's upload is gone from the store."""
        return self._move(_IF_FAILED, {"upload_id": self.upload_id}, upload_id="")

    def begin_deletion(self) -> bool:
        """COMPLETED or FAILED → DELETING, unless locked: from now on it is not whole."""
        return self._move(
            _IF_ENDED_UNLOCKED,
            {"is_successful": self.is_successful},
            is_successful=False,
            deletion_started_at=timezone.now(),
        )

    def cancel_deletion(self) -> bool:
        """DELETING → COMPLETED, by whoever has just begun the deletion of a whole backup."""
        return self._move(
            _IF_DELETING,
            {"deletion_started_at": self.deletion_started_at},
            is_successful=True,
            deletion_started_at=None,
        )

    def set_locked(self, *, locked: bool) -> bool:
        """Lock or unlock; a failed backup has nothing to lock."""
        return self._move(_IF_LOCKABLE if locked else _IF_LOCKED, is_locked=locked)

    @property
    def _claimed(self) -> dict[str, Any]:
        """The upload and the claim that whoever settles this backup has in hand."""
        return {"upload_id": self.upload_id, "claimed_until": self.claimed_until}

    def _complete(
        self, guard: Guard, same: dict[str, Any] | None = None, /, **changes: Any
    ) -> bool:
        return self._move(
            guard,
            same,
            is_successful=True,
            completed_at=timezone.now(),
            reported_etags=None,
            claimed_until=None,
            **changes,
        )

    def _fail(self, guard: Guard, same: dict[str, Any] | None = None, /) -> bool:
        return self._move(
            guard,
            same,
            is_successful=False,
            is_locked=False,
            is_recovered=False,
            completed_at=timezone.now(),
            checksum="",
            size=0,
            reported_etags=None,
            claimed_until=None,
        )

    def _move(self, guard: Guard, same: dict[str, Any] | None = None, /, **changes: Any) -> bool:
        """Change the row if it meets ``guard`` and its fields named in ``same`` are still these."""
        changes["updated_at"] = timezone.now()
        moved = update_if(self, guard, same=same or {}, changes=changes)
        if moved:
            for name, value in changes.items():
                setattr(self, name, value)
        return moved
