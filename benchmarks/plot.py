"""Draws docs/images/request-time.svg: request time by part count, on logarithmic axes."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

PATH = Path(__file__).resolve().parent.parent / "docs" / "images" / "request-time.svg"
_STYLES = {
    "plain DRF + boto3": {"color": "#c2410c", "marker": "o"},
    "ours": {"color": "#1d4ed8", "marker": "o"},
    "floor": {"color": "#64748b", "marker": ".", "linestyle": "--"},
}


def write(curve: dict[int, dict[str, float]], path: Path = PATH) -> None:
    """Draw the seconds per part count."""
    mpl.use("svg")
    counts = sorted(curve)
    with mpl.rc_context({"svg.hashsalt": "request-time", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(figsize=(7.6, 4.4), layout="constrained")
        for name, style in _STYLES.items():
            times = [curve[count][name] for count in counts]
            label = f"{name}: {_duration(times[-1])} for {counts[-1]:,} parts"
            axes.loglog(counts, times, label=label, linewidth=2, **style)
        axes.set_title("Time to answer a node that asks for upload URLs", loc="left")
        axes.set_xlabel("parts")
        axes.xaxis.set_major_locator(FixedLocator(counts))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _duration(seconds)))
        axes.grid(visible=True, which="major", color="#e2e8f0")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="upper left")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
