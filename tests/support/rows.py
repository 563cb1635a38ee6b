"""Rows that go without their archives, as no function of this package lets them go."""

from django.db import models


def remove(rows):
    """Remove an instance's row, or those of a queryset, whatever they own."""
    if isinstance(rows, models.Model):
        models.Model.delete(rows)
    else:
        rows._raw_delete(rows.db)
