"""What keeps a row from being deleted, in a few lines instead of a million."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.utils.text import capfirst
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from django.db.models import QuerySet

#: How many rows of a kind are named.
_NAMED: Final = 10


def protected_by(
    *relations: QuerySet[Any],
) -> tuple[list[str], dict[str, int], set[str], list[str]] | None:
    """What ``ModelAdmin.get_deleted_objects`` is to return if any of ``relations`` has rows."""
    named: list[str] = []
    for rows in relations:
        first = list(rows.order_by()[: _NAMED + 1])
        kind = capfirst(rows.model._meta.verbose_name)  # noqa: SLF001
        named.extend(f"{kind}: {row}" for row in first[:_NAMED])
        if len(first) > _NAMED:
            more = rows.model._meta.verbose_name_plural  # noqa: SLF001
            named.append(_("and more %(rows)s") % {"rows": more})
    return ([], {}, set(), named) if named else None
