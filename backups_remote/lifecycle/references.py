"""Rows of the host project that forbid the deletion of a backup's row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import router
from django.db.models import Model, ProtectedError, RestrictedError
from django.db.models.deletion import Collector

from backups_remote.models import Backup, Server

if TYPE_CHECKING:
    from collections.abc import Iterable

#: How many rows are named.
_NAMED: Final = 3


def why_protected(backup: Backup) -> str:
    """Which rows protect ``backup``; "" if none does.

    They are of a model of the host project with a foreign key whose ``on_delete`` is PROTECT or
    RESTRICT: to the backup, or to a row that would be deleted along with it. Django checks them
    only when the row is deleted, and by then its archive is gone.
    """
    if not _has_foreign_relations():
        return ""
    collector = Collector(using=router.db_for_write(Backup, instance=backup), origin=backup)
    try:
        collector.collect([backup])
    except ProtectedError as error:
        return in_words(error.protected_objects)
    except RestrictedError as error:
        return in_words(error.restricted_objects)
    return ""


def in_words(rows: Iterable[Model]) -> str:
    """The sentence that names a few of these rows."""
    named = sorted(f"{row._meta.verbose_name} {row}" for row in rows)  # noqa: SLF001
    more = f" and {len(named) - _NAMED:,} more" if len(named) > _NAMED else ""
    return f"The backup is protected by {', '.join(named[:_NAMED])}{more}."


def _has_foreign_relations() -> bool:
    """Whether any model but ours refers to backups: most projects have none, and ask nothing."""
    relations = Backup._meta.get_fields(include_hidden=True)  # noqa: SLF001
    return any(
        field.auto_created and not field.concrete and field.related_model is not Server
        for field in relations
    )
