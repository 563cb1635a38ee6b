"""Measured figures and the bars that they must reach."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """A figure: ``ratio`` must be at most ``bar``, or at least if ``at_least`` is set."""

    what: str
    ratio: float
    bar: float
    ours: str = ""
    other: str = ""
    at_least: bool = False
    unit: str = "×"

    @property
    def holds(self) -> bool:
        """Whether the figure reaches its bar."""
        return self.ratio >= self.bar if self.at_least else self.ratio <= self.bar

    @property
    def row(self) -> tuple[str, str, str, str, str, str]:
        """The cells of its row in the table."""
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
    """The result of a benchmark: figures, and notes about them."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def milliseconds(seconds: float) -> str:
    """Seconds as text, such as ``1.2 ms``."""
    return f"{_short(seconds * 1000)} ms"


def _short(number: float) -> str:
    if number == int(number):
        return f"{int(number):,}"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
