"""BackupTotals: what a sweep has counted, for tables that are too large to count on every page."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class BackupTotals(models.Model):
    """What the last count found, in the form of ``lifecycle.totals``. There is one row at most."""

    #: The primary key of the only row.
    ONLY = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY, editable=False)
    counted_at = models.DateTimeField(_("counted"), default=timezone.now, editable=False)
    totals = models.JSONField(_("totals"), default=dict, editable=False)

    class Meta:
        default_permissions = ()
        verbose_name = _("totals of the backups")
        verbose_name_plural = _("totals of the backups")
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="backups_remote_one_row_of_totals"),
        ]

    def __str__(self) -> str:
        return str(self.counted_at)
