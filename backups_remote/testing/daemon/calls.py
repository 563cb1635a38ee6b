"""The log of a stand-in's calls. Nothing in it is secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Call:
    """One call that the daemon made, or got. Queries that are signed are left out."""

    #: Who was called: "panel", "store" or "daemon".
    to: str
    method: str
    path: str
    #: None: there was no answer.
    status: int | None
    #: What was sent as JSON.
    body: Any = None


#: Takes the fields of a call.
Record: TypeAlias = Callable[[str, str, str, int | None, Any], None]
