"""Messages that several commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.core.management.base import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db import DatabaseError

#: How many names a message lists.
_NAMED: Final = 10


def first_of(names: Sequence[str]) -> str:
    """The first of ``names``, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def database_failed(error: DatabaseError) -> CommandError:
    """The error to raise for a failed query. Its own message may contain values of rows."""
    return CommandError(f"The database did not answer ({type(error).__name__}).")
