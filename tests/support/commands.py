"""Helpers."""

from __future__ import annotations

from io import StringIO

from django.core.management import call_command


def run(*args, **kwargs):
    out = StringIO()
    call_command(*args, stdout=out, stderr=out, **kwargs)
    return out.getvalue()
