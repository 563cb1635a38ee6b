"""Names some of the rows that prevent a deletion, where there may be a million."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.utils.text import capfirst
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from django.db.models import QuerySet

#: How many rows of each kind are named.
_NAMED: Final = 10


def protected_by(
    *relations: QuerySet[Any],
) -> tuple[list[str], dict[str, int], set[str], list[str]] | None:
    """The result for ``ModelAdmin.get_deleted_objects`` if any relation has rows, else None."""
    named: list[str] = []
    for rows in relations:
        first = list(rows.order_by()[: _NAMED + 1])
        kind = capfirst(rows.model._meta.verbose_name)  # noqa: SLF001
        named.extend(f"{kind}: {row}" for row in first[:_NAMED])
        if len(first) > _NAMED:
            more = rows.model._meta.verbose_name_plural  # noqa: SLF001
            named.append(_("and more %(rows)s") % {"rows": more})
    return ([], {}, set(), named) if named else None
