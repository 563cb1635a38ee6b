"""The states of a backup: as an enum and as conditions on its columns.

States are not stored: each follows from the columns.
"""

from __future__ import annotations

from typing import Final

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class BackupState(models.TextChoices):
    """Where a backup is in its life.

    ::

        PENDING ──▶ UPLOADING ──▶ REPORTED ──▶ COMPLETED ──▶ DELETING ──▶ (no row)
           │            │             │                          ▲
           └────────────┴─────────────┴──────▶ FAILED ───────────┘

    A backup on the node's own disk goes straight from PENDING to its end, and from FAILED to
    COMPLETED if its node reports a success later.
    """

    PENDING = "pending", _("Pending")
    UPLOADING = "uploading", _("Uploading")
    REPORTED = "reported", _("Being completed")
    COMPLETED = "completed", _("Completed")
    FAILED = "failed", _("Failed")
    DELETING = "deleting", _("Being deleted")


OPEN: Final = Q(completed_at__isnull=True)
ENDED: Final = Q(completed_at__isnull=False, deletion_started_at__isnull=True)
UNREPORTED: Final = OPEN & Q(reported_at__isnull=True)
UPLOADING: Final = UNREPORTED & ~Q(upload_id="")
REPORTED: Final = OPEN & Q(reported_at__isnull=False)
COMPLETED: Final = ENDED & Q(is_successful=True)
FAILED: Final = ENDED & Q(is_successful=False)
FAILED_IN_SILENCE: Final = FAILED & Q(failed_in_silence=True, upload_id="", refused_at__isnull=True)
STATES: Final = {
    BackupState.PENDING: UNREPORTED & Q(upload_id=""),
    BackupState.UPLOADING: UPLOADING,
    BackupState.REPORTED: REPORTED,
    BackupState.COMPLETED: COMPLETED,
    BackupState.FAILED: FAILED,
    BackupState.DELETING: Q(deletion_started_at__isnull=False),
}


class Filled(models.Func):
    """Whether a text is not empty, with the empty one written into the statement.

    SQLite does not take a partial index whose condition it would have to prove from a parameter.
    """

    template = "(%(expressions)s <> '')"
    arity = 1
    output_field = models.BooleanField()
