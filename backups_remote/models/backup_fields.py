"""The columns of a backup, and what follows from them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, ClassVar, Final

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from backups_remote.conf import issued_size
from backups_remote.models.events import BackupEvent, Subject
from backups_remote.models.nodes import Node
from backups_remote.models.saving import GuardedModel
from backups_remote.models.servers import Server
from backups_remote.models.states import BackupState

if TYPE_CHECKING:
    import datetime as dt
    from uuid import UUID

    from backups_remote.models.events import BackupEventQuerySet
    from backups_remote.types import Report

#: Characters of the reason of a refusal, or of a failure, that are kept.
LONGEST_REASON: Final = 1024


_QUERYSET: Final = "an update() of a queryset"
_UPLOAD: Final = "lifecycle.request_upload()"
_REPORT: Final = "lifecycle.record_report()"
_LOCK: Final = "lifecycle.lock_backup() or unlock_backup()"


class BackupFields(GuardedModel):
    """The columns, in the order of a backup's life.

    ``upload_id`` of a failed backup is emptied once its upload is gone from the store: a failed
    backup that still has one is waiting for that.
    """

    State = BackupState

    GUARDED: ClassVar = {
        **dict.fromkeys(["uuid", "server", "node", "disk", "created_at"], _QUERYSET),
        **dict.fromkeys(
            [
                *("upload_id", "upload_size", "part_size", "upload_mark", "upload_started_at"),
                "object_key",
            ],
            _UPLOAD,
        ),
        **dict.fromkeys(
            [
                *("checksum", "size", "reported_at", "reported_etags", "claimed_until"),
                *("claimed_by", "quiet_until", "completion_sent_at", "refused_at", "refusal"),
                *("failure", "failed_in_silence", "is_successful", "is_recovered", "completed_at"),
            ],
            _REPORT,
        ),
        **dict.fromkeys(["object_etag", "version_id"], "lifecycle.accept_copies()"),
        **dict.fromkeys(["is_locked", "was_locked"], _LOCK),
        **dict.fromkeys(
            ["deletion_started_at", "deletion_refused_at", "deletion_refusal", "retained_until"],
            "lifecycle.delete_backup()",
        ),
        "rotation_due": "lifecycle.rotate_backups()",
    }

    # What a look-up for a node knows beforehand.
    known_node_name: str
    known_server_node_name: str
    #: Until when an earlier call that erases may be under way; set by ``begin_erasing``.
    earlier_call_until: dt.datetime | None = None
    #: When the restore began that this instance was used for; set by ``Server.begin_restore``.
    restore_began_at: dt.datetime | None = None

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
        _("announced size"),
        null=True,
        blank=True,
        help_text=_("In bytes. Empty while an archive is streamed: its report tells the size."),
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
    object_etag = models.CharField(
        _("object ETag"),
        max_length=1024,
        blank=True,
        default="",
        db_default="",
        help_text=_("Of the object that proved this backup whole, without quotes."),
    )
    version_id = models.CharField(_("version id"), max_length=1024, blank=True, default="")

    reported_at = models.DateTimeField(_("reported"), null=True, blank=True)
    reported_etags = models.JSONField(_("reported ETags"), null=True, blank=True, editable=False)
    claimed_until = models.DateTimeField(
        _("claimed until"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("Until when its holder alone completes this backup; a living one renews it."),
    )
    claimed_by = models.CharField(
        _("claimed by"), max_length=32, blank=True, default="", db_default="", editable=False
    )
    quiet_until = models.DateTimeField(
        _("quiet until"),
        null=True,
        blank=True,
        editable=False,
        help_text=_(
            "Until when the upload is neither completed nor aborted, after a completion that the "
            "store did not answer in time and may still be working on."
        ),
    )
    completion_sent_at = models.DateTimeField(
        _("completion sent"),
        null=True,
        blank=True,
        editable=False,
        help_text=_(
            "When a completion was sent to the store whose outcome is not known: its object may "
            "still appear."
        ),
    )
    refused_at = models.DateTimeField(_("report refused"), null=True, blank=True, editable=False)
    refusal = models.CharField(
        _("reason of the refusal"),
        max_length=LONGEST_REASON,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text=_("Why the last report was not accepted. An accepted one clears it."),
    )

    failure = models.CharField(
        _("reason of the failure"),
        max_length=LONGEST_REASON,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text=_("Why the backup failed. Empty if that was before reasons were kept."),
    )
    failed_in_silence = models.BooleanField(
        _("failed in silence"),
        default=False,
        db_default=False,
        editable=False,
        help_text=_(
            "Failed only because its node never called. It is opened again if the node asks for "
            "URLs after all."
        ),
    )
    is_successful = models.BooleanField(_("successful"), default=False)
    is_recovered = models.BooleanField(
        _("recovered"),
        default=False,
        help_text=_("Completed from its whole upload without a report: the checksum is unknown."),
    )
    is_locked = models.BooleanField(_("locked"), default=False)
    was_locked = models.BooleanField(
        _("locked before it failed"),
        default=False,
        db_default=False,
        editable=False,
        help_text=_("The lock returns if the backup is completed after all."),
    )
    rotation_due = models.BooleanField(
        _("rotation due"),
        default=False,
        db_default=False,
        editable=False,
        help_text=_("Once it is whole, older backups of its server give way down to the limit."),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)
    completed_at = models.DateTimeField(_("ended"), null=True, blank=True)
    deletion_started_at = models.DateTimeField(_("deletion started"), null=True, blank=True)
    deletion_refused_at = models.DateTimeField(
        _("deletion refused"), null=True, blank=True, editable=False
    )
    deletion_refusal = models.CharField(
        _("why the deletion was refused"),
        max_length=LONGEST_REASON,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text=_("What the store answered when the archive was to be deleted last."),
    )
    retained_until = models.DateTimeField(
        _("retained until"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("The store keeps the archive until then (Object Lock)."),
    )

    class Meta:
        abstract = True

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
    def is_verified(self) -> bool:
        """Whether an accepted report vouches for a whole backup.

        It was borne out by what the store shows; on the node's own disk, the node's word with its
        checksum is all there is. A backup that was recovered without a report is not verified.
        """
        is_whole = self.state is BackupState.COMPLETED
        # safeguard: recovered-not-verified
        return is_whole and not self.is_recovered and bool(self.checksum)

    @property
    def server_uuid(self) -> UUID:
        """The server's uuid; read along with the row where a node's call looked it up."""
        known: UUID | None = self.__dict__.get("known_server_uuid")
        return self.server.uuid if known is None else known

    @property
    def server_name(self) -> str:
        """The server's name, read along likewise."""
        known: str | None = self.__dict__.get("known_server_name")
        return self.server.name if known is None else known

    @property
    def node_name(self) -> str:
        """The name of the node that makes the backup, read along likewise."""
        known: str | None = self.__dict__.get("known_node_name")
        return self.node.name if known is None else known

    @property
    def subject(self) -> Subject:
        """What an event of this backup is about."""
        return Subject(self.uuid, self.server_uuid, self.server_name, self.node_name)

    @property
    def subject_on_server(self) -> Subject:
        """What an event of its restore is about: the node is the one that the server is on."""
        known: str | None = self.__dict__.get("known_server_node_name")
        node_name = self.server.node.name if known is None else known
        return Subject(self.uuid, self.server_uuid, self.server_name, node_name)

    @property
    def events(self) -> BackupEventQuerySet:
        """What happened to this backup, oldest first; also after its row is gone."""
        return BackupEvent.objects.of_backup(self.uuid)

    @property
    def archive_in_words(self) -> str:
        """What there is of the archive, and where."""
        what = [self.object_key, f"{self.size:,} bytes"] if self.size else ["no whole archive"]
        return f"{', '.join(filter(None, what))} on the disk {self.disk}"

    @property
    def node_restarted_at(self) -> dt.datetime | None:
        """When its node's daemon restarted last; read along with the row by a sweep, else None."""
        known: dt.datetime | None = self.__dict__.get("known_restart")
        return known

    @property
    def silent_from(self) -> dt.datetime:
        """The last sign of life that the database knows of."""
        return self.upload_started_at or self.created_at

    @property
    def issued_size(self) -> int:
        """How many bytes the URLs that were issued last are for; 0 if there are none."""
        return issued_size(self.upload_size, self.part_size)

    def reports_the_same(self, report: Report) -> bool:
        """Whether ``report`` repeats the success that is recorded here."""
        # safeguard: replay-identical
        return report.successful and (self.checksum, self.size) == (report.checksum, report.size)
