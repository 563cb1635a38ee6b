"""Rows that forbid the deletion of a backup, and rows that go with it."""

from django.db import models

from backups_remote.models import Backup


class LegalHold(models.Model):
    reason = models.CharField(max_length=50)
    backup = models.ForeignKey("backups_remote.Backup", on_delete=models.PROTECT)

    class Meta:
        verbose_name = "legal hold"

    def __str__(self):
        return self.reason


class Offer(models.Model):
    """Sold with a backup: it goes along, unless an invoice needs it."""

    backup = models.ForeignKey("backups_remote.Backup", on_delete=models.CASCADE)

    def __str__(self):
        return str(self.pk)


class Invoice(models.Model):
    offer = models.ForeignKey(Offer, on_delete=models.RESTRICT)

    def __str__(self):
        return f"of offer {self.offer_id}"


class SignedBackup(Backup):
    """A backup with a column of the host project's, in a table of its own."""

    signature = models.CharField(max_length=50, blank=True)
