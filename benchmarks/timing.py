"""Times contestants in turns, so that other load of the machine affects all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: Enough for a median.
ROUNDS = 5


class Times(dict[str, float]):
    """The median seconds per call of each contestant."""

    def __init__(self, rounds: Mapping[str, Sequence[float]]) -> None:
        super().__init__({name: statistics.median(times) for name, times in rounds.items()})
        self._rounds = rounds

    def ratio(self, one: str, other: str) -> float:
        """The median of the ratios of the rounds: the clock may change between two of them."""
        pairs = zip(self._rounds[one], self._rounds[other], strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)


def side_by_side(
    contestants: Mapping[str, Callable[[], object]],
    *,
    rounds: int = ROUNDS,
    calls: int = 1,
    on_round: Callable[[], None] = lambda: None,
) -> Times:
    """The times of each, over ``rounds`` turns of ``calls`` calls."""
    seen: dict[str, list[float]] = {name: [] for name in contestants}
    for call in contestants.values():
        call()
    for _ in range(rounds):
        for name, call in contestants.items():
            gc.collect()
            start = time.perf_counter()
            for _ in range(calls):
                call()
            seen[name].append((time.perf_counter() - start) / calls)
        on_round()
    return Times(seen)
