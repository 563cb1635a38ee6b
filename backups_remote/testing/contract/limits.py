"""Declared limits: scenarios that a store is known to fail, and how."""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from backups_remote.storage import StorageBackend


@dataclass(frozen=True, slots=True)
class Limit:
    """What a store cannot do.

    ``answer`` is part of the scenario's failure: the store's own message, or that of the failed
    assertion. ``so`` says what follows from the limit.
    """

    answer: str
    so: str = ""


def limited(scenario: Callable[..., None], limit: Limit) -> Callable[..., None]:
    """``scenario`` as an expected failure, which must fail with the answer of ``limit``."""

    @wraps(scenario)
    def run(self: Any, backend: StorageBackend) -> None:
        try:
            scenario(self, backend)
        except (Exception, pytest.fail.Exception) as error:
            message = f"{error} {error.__cause__ or ''}"
            if limit.answer not in message:
                raise
            pytest.xfail(f"{limit.answer}: {limit.so}" if limit.so else limit.answer)
        pytest.fail(f"This is no limit any more: {limit.answer}")

    return run
