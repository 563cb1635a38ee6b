"""Figures beside their bars."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One measured figure. ``ratio`` is held against ``bar``; at most, or ``at_least``."""

    what: str
    ratio: float
    bar: float
    ours: str = ""
    other: str = ""
    at_least: bool = False
    unit: str = "×"

    @property
    def holds(self) -> bool:
        """Whether the bar is reached."""
        return self.ratio >= self.bar if self.at_least else self.ratio <= self.bar

    @property
    def row(self) -> tuple[str, str, str, str, str, str]:
        """What, ours, beside, figure, bar, verdict."""
        relation = "≥" if self.at_least else "≤"
        return (
            self.what,
            self.ours,
            self.other,
            f"{_short(self.ratio)}{self.unit}",
            f"{relation} {_short(self.bar)}{self.unit}",
            "yes" if self.holds else "NO",
        )


@dataclass
class Section:
    """A benchmark's result: figures, and sentences about what they mean."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def milliseconds(seconds: float) -> str:
    """1.2 ms."""
    return f"{_short(seconds * 1000)} ms"


def _short(number: float) -> str:
    if number == int(number):
        return f"{int(number):,}"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
