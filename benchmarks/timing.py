"""Times contestants in turns, so that other load of the machine affects all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Enough for a median.
ROUNDS = 5


def side_by_side(
    contestants: Mapping[str, Callable[[], object]],
    *,
    rounds: int = ROUNDS,
    calls: int = 1,
    on_round: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """The median seconds per call of each, over ``rounds`` turns of ``calls`` calls."""
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
    return {name: statistics.median(times) for name, times in seen.items()}
