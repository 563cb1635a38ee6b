"""Moments before and after now."""

import datetime as dt

from django.utils import timezone

NO_TIME = dt.timedelta(0)


def ago(age=NO_TIME, **more):
    """When it was ``age`` earlier than now, or as many ``hours=…`` as are named."""
    return timezone.now() - age - dt.timedelta(**more)


def from_now(age=NO_TIME, **more):
    """When it is ``age`` later than now, or as many ``hours=…`` as are named."""
    return timezone.now() + age + dt.timedelta(**more)
