"""The one optimistic loop: decide, move the row, and decide again if a concurrent writer won."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

from backups_remote.exceptions import TryAgain
from backups_remote.lifecycle.lookup import reload

if TYPE_CHECKING:
    from collections.abc import Callable

    from backups_remote.models import Backup

_ATTEMPTS: Final = 8

T = TypeVar("T")


class Race(enum.Enum):
    """How a step lost against a concurrent writer."""

    #: The row was moved first: nothing was changed, reload it and decide again.
    OVERTAKEN = enum.auto()


OVERTAKEN: Final = Race.OVERTAKEN
Overtaken: TypeAlias = Literal[Race.OVERTAKEN]


def decide_until_settled(
    backup: Backup,
    step: Callable[[], T | Overtaken],
    *,
    exhausted: type[TryAgain] = TryAgain,
) -> T:
    """Run ``step`` until it is not overtaken; ``backup`` is reloaded before each further try.

    ``backup`` is current at the first one: ``lookup.make_current`` sees to that.

    Raises:
        BackupNotFound: the backup was deleted meanwhile.
        TryAgain: concurrent writers won every time; ``exhausted`` names another kind.

    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            reload(backup)
        answer = step()
        if answer is not OVERTAKEN:
            return answer
    raise exhausted
